package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/podinit/podinit/internal/rawjson"
)

// value is JSON whose members keep their order.
type value struct {
	// kind is '{' for an object, '[' for an array, and 0 for anything else.
	kind byte
	// keys of an object; elements has what belongs to each. Of an array, elements alone is set.
	keys     []string
	elements []value
	// scalar is a string, a json.Number, a bool or nil.
	scalar any
}

// maxDepth bounds how deep values are nested, as encoding/json does.
const maxDepth = 10000

// parse reads one JSON value, and nothing after it.
func parse(raw []byte) (value, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := next(d, 0)
	if err != nil {
		return value{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return value{}, errors.New("text follows the value")
	}
	return v, nil
}

func next(d *json.Decoder, depth int) (value, error) {
	token, err := d.Token()
	if err != nil {
		return value{}, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return value{scalar: token}, nil
	}
	if depth > maxDepth {
		return value{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	v := value{kind: byte(delim)}
	for d.More() {
		if v.kind == '{' {
			key, err := d.Token()
			if err != nil {
				return value{}, err
			}
			v.keys = append(v.keys, key.(string)) // the decoder has seen to that
		}
		element, err := next(d, depth+1)
		if err != nil {
			return value{}, err
		}
		v.elements = append(v.elements, element)
	}
	_, err = d.Token()
	return v, err
}

// json is the value as compact JSON.
func (v value) json() []byte { return v.appendJSON(nil) }

func (v value) appendJSON(out []byte) []byte {
	switch v.kind {
	case '{', '[':
		out = append(out, v.kind)
		for i, element := range v.elements {
			if i > 0 {
				out = append(out, ',')
			}
			if v.kind == '{' {
				out = append(rawjson.AppendString(out, v.keys[i]), ':')
			}
			out = element.appendJSON(out)
		}
		return append(out, v.kind+2) // ] and } are two after [ and { in ASCII
	}
	switch scalar := v.scalar.(type) {
	case string:
		return rawjson.AppendString(out, scalar)
	case json.Number:
		return append(out, scalar...)
	case bool:
		return fmt.Append(out, scalar)
	}
	return append(out, "null"...)
}

// get is the member of a name; not ok if there is none.
func (v value) get(key string) (value, bool) {
	if v.kind == '{' {
		for i, k := range v.keys {
			if k == key {
				return v.elements[i], true
			}
		}
	}
	return value{}, false
}

// at is what is at a path of member names, or an empty value.
func (v value) at(path ...string) value {
	for _, key := range path {
		v, _ = v.get(key)
	}
	return v
}

// text is a string, or "".
func (v value) text() string {
	s, _ := v.scalar.(string)
	return s
}

// null says whether the value is null, or was never set.
func (v value) null() bool { return v.kind == 0 && v.scalar == nil }

// with is a copy that has something else at a member; where there is none it is added.
func (v value) with(key string, member value) value {
	changed := value{kind: '{', keys: append([]string(nil), v.keys...), elements: append([]value(nil), v.elements...)}
	for i, k := range changed.keys {
		if k == key {
			changed.elements[i] = member
			return changed
		}
	}
	changed.keys, changed.elements = append(changed.keys, key), append(changed.elements, member)
	return changed
}

// equal says whether both mean the same; the order of members means nothing.
func (v value) equal(w value) bool {
	if v.kind != w.kind || len(v.elements) != len(w.elements) {
		return false
	}
	switch v.kind {
	case '[':
		for i := range v.elements {
			if !v.elements[i].equal(w.elements[i]) {
				return false
			}
		}
		return true
	case '{':
		var index map[string]int
		for i, key := range v.keys {
			other, ok := value{}, false
			if i < len(w.keys) && w.keys[i] == key { // usually they are in the same order
				other, ok = w.elements[i], true
			} else {
				if index == nil {
					index = make(map[string]int, len(w.keys))
					for j, k := range w.keys {
						index[k] = j
					}
				}
				if j, found := index[key]; found {
					other, ok = w.elements[j], true
				}
			}
			if !ok || !v.elements[i].equal(other) {
				return false
			}
		}
		return true
	}
	if a, ok := v.scalar.(json.Number); ok {
		b, ok := w.scalar.(json.Number)
		return ok && sameNumber(string(a), string(b))
	}
	return v.scalar == w.scalar
}

// sameNumber says whether two JSON numbers are the same: written alike, or the same as a floating point number where
// one is written as such.
func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	if !strings.ContainsAny(a+b, ".eE") {
		return false
	}
	x, errX := json.Number(a).Float64()
	y, errY := json.Number(b).Float64()
	return errX == nil && errY == nil && x == y
}

// inOrderOf is a copy whose members are in the order of another value; those that are not there come last.
func (v value) inOrderOf(other value) value {
	ordered := value{kind: v.kind, scalar: v.scalar}
	switch {
	case v.kind == '{' && other.kind == '{':
		for i, key := range other.keys {
			if member, ok := v.get(key); ok {
				ordered.keys, ordered.elements = append(ordered.keys, key), append(ordered.elements, member.inOrderOf(other.elements[i]))
			}
		}
		for i, key := range v.keys {
			if _, ok := other.get(key); !ok {
				ordered.keys, ordered.elements = append(ordered.keys, key), append(ordered.elements, v.elements[i])
			}
		}
	case v.kind == '[' && other.kind == '[':
		for _, s := range align(other.elements, v.elements) {
			element := s.want
			if s.from >= 0 {
				element = element.inOrderOf(other.elements[s.from])
			}
			ordered.elements = append(ordered.elements, element)
		}
	default:
		return v
	}
	return ordered
}
