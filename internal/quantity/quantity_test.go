package quantity_test

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podinit/podinit/internal/quantity"
)

func TestDecode(t *testing.T) {
	for raw, want := range map[string]string{
		`"16Mi"`: "16Mi", `"100m"`: "100m", `7`: "7", `1.5`: "1500m", `"2E"`: "2E", `"2Ei"`: "2Ei", `"1e3"`: "1e3", `"1E+09"`: "1E+09", `"1e99"`: "1e99", `"1e-3"`: "1e-3",
		`"9999999999999999999999"`: "9999999999999999999999",
	} {
		if q, ok := quantity.Decode(json.RawMessage(raw)); !ok || q.String() != want {
			t.Errorf("%s: %s, %v; want %s", raw, q.String(), ok, want)
		}
	}
	for _, raw := range []string{
		``, `null`, `""`, `"x"`, `{}`, `"1e2000000000"`, `1e2000000000`, `"1E+2000000000"`, `"1e-2000000000"`, `"1e100"`, `"1e0000000001"`, `" 1e2000000000 "`,
		`"1111111111111111111e2000000000"`, `"` + strings.Repeat("1", 100) + `"`,
	} {
		if q, ok := quantity.Decode(json.RawMessage(raw)); ok {
			t.Errorf("%s: %v, want none", raw, &q)
		}
	}
}

func TestBounded(t *testing.T) {
	for text, want := range map[string]bool{
		"0": true, "100m": true, "1n": true, "64Mi": true, "9Ei": true, "1e99": true, "1111111111111111111111e99": true,
		"1e1000": false, "1e2000000000": false, "-1e2000000000": false, "1111111111111111111e100000": false,
	} {
		if got := quantity.Bounded(resource.MustParse(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
