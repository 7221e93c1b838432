package rawjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/podinit/podinit/internal/rawjson"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a", "a b<>&'", "<é\n>&", `"`, `\`, "\n\r\t\b\f\x00\x1f\x7f", "é\u2028😀", "\xff", "a\xc3", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		before := "before"
		out := string(rawjson.AppendString([]byte(before), s))
		var got string
		if err := json.Unmarshal([]byte(strings.TrimPrefix(out, before)), &got); err != nil || !strings.HasPrefix(out, before) {
			t.Fatalf("%q became %s: %v", s, out, err)
		}
		// json.Marshal replaces every byte that is not UTF-8 by its own character.
		var want string
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &want); err != nil || got != want {
			t.Errorf("%q became %s, which means %q, want %q", s, out, got, want)
		}
		if strings.ContainsAny(s, "<>&") && strings.Contains(out, `\u003`) {
			t.Errorf("%q became %s", s, out)
		}
	})
}
