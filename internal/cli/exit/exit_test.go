package exit_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/podinit/podinit/internal/cli/exit"
)

func TestCode(t *testing.T) {
	plain := errors.New("plain")
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, exit.OK},
		{plain, exit.Failed},
		{exit.With(exit.Usage, plain), exit.Usage},
		{exit.With(exit.Usage, nil), exit.OK},
		{fmt.Errorf("more: %w", exit.With(exit.Found, plain)), exit.Found},
		{exit.Silently(exit.Found), exit.Found},
	} {
		if got := exit.Code(test.err); got != test.want {
			t.Errorf("Code(%v) = %d, want %d", test.err, got, test.want)
		}
	}
	if exit.Said(plain) || !exit.Said(exit.Silently(exit.Found)) {
		t.Error("only Silently has nothing left to print")
	}
	if !errors.Is(exit.With(exit.Usage, plain), plain) {
		t.Error("the error inside is lost")
	}
}
