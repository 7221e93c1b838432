package rawjson

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become the replacement character; <, > and & stay
// as they are.
func AppendString(to []byte, s string) []byte {
	for i := range len(s) {
		if !ordinary[s[i]] || s[i] >= utf8.RuneSelf {
			return appendEscaped(to, s)
		}
	}
	to = append(to, '"')
	to = append(to, s...)
	return append(to, '"')
}

func appendEscaped(to []byte, s string) []byte {
	b := bytes.NewBuffer(to)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a string into memory: cannot fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
