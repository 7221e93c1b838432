package compatibility

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

type kernel string

func (k kernel) String() string { return string(k) }

func TestSelect(t *testing.T) {
	all := []kernel{"amd64/old", "amd64/new", "arm64/new"}
	selected, err := Select("kernels", "new", all)
	if err != nil || !slices.Equal(selected, []kernel{"amd64/new", "arm64/new"}) {
		t.Errorf("selected %v, %v", selected, err)
	}
	for expression, want := range map[string]string{"(": "-kernels: error parsing regexp", "s390x": "-kernels s390x matches none of [amd64/old amd64/new arm64/new]"} {
		if _, err := Select("kernels", expression, all); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", expression, err, want)
		}
	}
}

// One that fails keeps no other from its turn, but the end of the program does.
func TestTryEach(t *testing.T) {
	all := []kernel{"a", "b", "c"}
	var out strings.Builder
	var tried []kernel
	err := TryEach(t.Context(), &out, "kernels", all, func(k kernel) error {
		tried = append(tried, k)
		if k == "b" {
			return errors.New("no console")
		}
		return nil
	})
	if err == nil || err.Error() != "1 of 3 kernels failed: b" || !slices.Equal(tried, all) || out.String() != "=== a\n=== b\nb: no console\n=== c\n" {
		t.Errorf("%v, tried %v, printed %q", err, tried, out.String())
	}
	if err := TryEach(t.Context(), &out, "kernels", all, func(kernel) error { return nil }); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tried = nil
	err = TryEach(ctx, &out, "kernels", all, func(k kernel) error {
		tried = append(tried, k)
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(tried) != 1 {
		t.Errorf("%v, tried %v", err, tried)
	}
}
