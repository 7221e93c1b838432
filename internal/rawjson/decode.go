// Package rawjson decodes of a JSON document what somebody looks at, and no more.
//
// A Decoder is made once, of a struct with the tags of encoding/json. It reads a document in one pass: members that
// the struct has are stored, everything else is checked and skipped. It takes and refuses the same documents as
// sigs.k8s.io/json does when that refuses duplicate fields, and makes the same struct of them: that is how the
// apiserver reads its objects. Names are matched by case; a field of the struct that is there twice is an error, as is
// a key of a map; what Kubernetes calls unknown fields may be there as often as they like. There is one difference: a
// document whose arrays and maps would take more than 8 MiB is an error.
package rawjson

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Decoder decodes documents into values of type T. It is safe for concurrent use.
type Decoder[T any] struct{ read reader }

// For is the Decoder of T: a struct of strings, booleans, signed integers, json.RawMessage, maps from string to string
// or json.RawMessage, and of slices, pointers and structs of these. Every exported field needs a name in its tag; T
// does not contain itself. Other types panic, so it is called for package variables.
func For[T any]() Decoder[T] {
	return Decoder[T]{read: readerOf(reflect.TypeFor[T]())}
}

// Decode reads a document. A json.RawMessage in the result is part of raw, not a copy.
func (d Decoder[T]) Decode(raw []byte) (*T, error) {
	into := new(T)
	c := cursor{raw: raw}
	err := d.read(&c, reflect.ValueOf(into).Elem())
	if err == nil && (c.peek() != 0 || c.at < len(raw)) {
		err = c.unexpected("the end of the document")
	}
	if err != nil {
		err.Path = strings.TrimPrefix(err.Path, ".")
		return nil, err
	}
	return into, nil
}

// reader reads the value at the cursor into a zero value.
type reader func(*cursor, reflect.Value) *Error

// readerOf is the reader of a type.
func readerOf(t reflect.Type) reader {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return readRaw
	case t == reflect.TypeFor[map[string]string]():
		return mapReader[string](readString)
	case t == reflect.TypeFor[map[string]json.RawMessage]():
		return mapReader[json.RawMessage](readRaw)
	}
	switch t.Kind() {
	case reflect.String:
		return readString
	case reflect.Bool:
		return readBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return readInt
	case reflect.Pointer:
		return pointerReader(t)
	case reflect.Slice:
		return sliceReader(t)
	case reflect.Struct:
		return structReader(t)
	}
	panic(fmt.Sprintf("rawjson: type %v is not supported", t))
}

func readRaw(c *cursor, v reflect.Value) *Error {
	c.peek()
	start := c.at
	if err := c.skip(); err != nil {
		return err
	}
	v.SetBytes(c.raw[start:c.at:c.at])
	return nil
}

func readString(c *cursor, v reflect.Value) *Error {
	switch c.peek() {
	case '"':
	case 'n':
		return c.word("null")
	default:
		return c.unexpected("a string")
	}
	content, escaped, err := c.text()
	if err != nil {
		return err
	}
	v.SetString(meaning(content, escaped))
	return nil
}

func readBool(c *cursor, v reflect.Value) *Error {
	switch c.peek() {
	case 't':
		v.SetBool(true)
		return c.word("true")
	case 'f':
		return c.word("false")
	case 'n':
		return c.word("null")
	}
	return c.unexpected("true or false")
}

func readInt(c *cursor, v reflect.Value) *Error {
	switch b := c.peek(); {
	case b == 'n':
		return c.word("null")
	case b != '-' && (b < '0' || b > '9'):
		return c.unexpected("an integer")
	}
	start := c.at
	digits, err := c.number()
	if err != nil {
		return err
	}
	n, parsing := strconv.ParseInt(string(digits), 10, v.Type().Bits())
	if parsing != nil {
		c.at = start
		return c.fail("a number that is not an integer of %d bits", v.Type().Bits())
	}
	v.SetInt(n)
	return nil
}

func pointerReader(t reflect.Type) reader {
	read := readerOf(t.Elem())
	return func(c *cursor, v reflect.Value) *Error {
		if c.peek() == 'n' {
			return c.word("null")
		}
		v.Set(reflect.New(t.Elem()))
		return read(c, v.Elem())
	}
}

func sliceReader(t reflect.Type) reader {
	read := readerOf(t.Elem())
	return func(c *cursor, v reflect.Value) *Error {
		if null, err := c.begin('[', "an array"); null || err != nil {
			return err
		}
		for i := 0; ; i++ {
			done, err := c.next(i == 0, ']')
			switch {
			case err != nil:
				return err
			case done && i == 0:
				v.Set(reflect.MakeSlice(t, 0, 0))
				return nil
			case done:
				return nil
			}
			if err := c.store(t.Elem().Size()); err != nil {
				return err
			}
			if i == v.Cap() {
				v.Grow(1)
			}
			v.SetLen(i + 1)
			if err := read(c, v.Index(i)); err != nil {
				return within("["+strconv.Itoa(i)+"]", err)
			}
		}
	}
}

// mapReader is the reader of a map from string to what read reads.
func mapReader[T any](read reader) reader {
	size := reflect.TypeFor[string]().Size() + reflect.TypeFor[T]().Size()
	return func(c *cursor, v reflect.Value) *Error {
		if null, err := c.begin('{', "an object"); null || err != nil {
			return err
		}
		entries, value := map[string]T{}, new(T)
		v.Set(reflect.ValueOf(entries))
		for first := true; ; first = false {
			if done, err := c.next(first, '}'); done || err != nil {
				return err
			}
			if err := c.store(size); err != nil {
				return err
			}
			start := c.at
			content, escaped, err := c.name()
			if err != nil {
				return err
			}
			key := meaning(content, escaped)
			if _, twice := entries[key]; twice {
				return duplicate(start, key)
			}
			*value = *new(T)
			if err := read(c, reflect.ValueOf(value).Elem()); err != nil {
				return within(fmt.Sprintf("[%.60q]", key), err)
			}
			entries[key] = *value
		}
	}
}

// field of a struct.
type field struct {
	name  string
	index int
	read  reader
}

func structReader(t reflect.Type) reader {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || len(fields) == 64 {
			panic(fmt.Sprintf("rawjson: field %s of %v has no name in its tag or is one too many", f.Name, t))
		}
		fields = append(fields, field{name: name, index: i, read: readerOf(f.Type)})
	}
	return func(c *cursor, v reflect.Value) *Error {
		if null, err := c.begin('{', "an object"); null || err != nil {
			return err
		}
		seen := uint64(0)
		for first := true; ; first = false {
			if done, err := c.next(first, '}'); done || err != nil {
				return err
			}
			start := c.at
			name, escaped, err := c.name()
			if err != nil {
				return err
			}
			if escaped {
				name = []byte(meaning(name, escaped))
			}
			i := 0
			for i < len(fields) && fields[i].name != string(name) {
				i++
			}
			if i == len(fields) {
				if err := c.skip(); err != nil {
					return err
				}
				continue
			}
			f := &fields[i]
			if seen&(1<<i) != 0 {
				return duplicate(start, f.name)
			}
			seen |= 1 << i
			if err := f.read(c, v.Field(f.index)); err != nil {
				return within("."+f.name, err)
			}
		}
	}
}

// within is the error of an element, as one of what it is in.
func within(step string, err *Error) *Error {
	err.Path = step + err.Path
	return err
}

func duplicate(at int, name string) *Error {
	return &Error{Offset: at, Problem: fmt.Sprintf("duplicate field %.60q", name)}
}
