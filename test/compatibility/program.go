package compatibility

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// Main runs a suite's program, named as its folder, until it is done or is to end, and exits with 1 if it fails.
func Main(name string, run func(context.Context, io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		stop()
		os.Exit(1)
	}
}

// Select is what matches the expression of the flag that is named as the suite. It is an error if nothing does.
func Select[T fmt.Stringer](suite, expression string, all []T) (selected []T, err error) {
	match, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", suite, err)
	}
	for _, one := range all {
		if match.MatchString(one.String()) {
			selected = append(selected, one)
		}
	}
	if selected == nil {
		return nil, fmt.Errorf("-%s %s matches none of %v", suite, expression, all)
	}
	return selected, nil
}

// TryEach tries one after the other, prints what went wrong with any, and returns which failed.
func TryEach[T fmt.Stringer](ctx context.Context, w io.Writer, suite string, selected []T, try func(T) error) error {
	var failed []string
	for _, one := range selected {
		fmt.Fprintf(w, "=== %s\n", one)
		if err := try(one); err != nil {
			failed = append(failed, one.String())
			fmt.Fprintf(w, "%s: %v\n", one, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if failed != nil {
		return fmt.Errorf("%d of %d %s failed: %s", len(failed), len(selected), suite, strings.Join(failed, "; "))
	}
	return nil
}

// VersionOf takes the version out of what a container runtime prints, of several lines: "runc version 1.1.5+ds1".
func VersionOf(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	words := strings.Fields(first)
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}
