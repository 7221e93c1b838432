package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
)

// suite is a package of tests.
type suite struct {
	// name is what the page calls it.
	name, path string
	// run selects tests; all if it is empty. Those that skip matches are left out, if it is not empty.
	run, skip string
	args      []string
}

func (s suite) String() string { return s.name }

// test runs the suite, and again, alone, what has failed. It returns how many tests hold, and which do not.
func (s suite) test(ctx context.Context, w io.Writer) (passed int, failed []string, err error) {
	passed, failed, err = s.once(ctx, w)
	if err != nil || failed == nil {
		return passed, failed, err
	}
	var again []string
	for _, test := range failed {
		again = append(again, regexp.QuoteMeta(test))
	}
	s.run = "^(" + strings.Join(again, "|") + ")$"
	held, failed, err := s.once(ctx, w)
	return passed + held, failed, err
}

func (s suite) once(ctx context.Context, w io.Writer) (passed int, failed []string, err error) {
	args := []string{"test", "-json", "-count=1", "-timeout=1h", "-run", s.run, "-skip", s.skip, s.path, "-args"}
	command := exec.CommandContext(ctx, "go", append(args, s.args...)...)
	out, err := command.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	command.Stderr = w
	fmt.Fprintln(w, strings.Join(command.Args, " "))
	if err := command.Start(); err != nil {
		return 0, nil, err
	}
	passed, failed, readErr := readTests(out, w)
	err = command.Wait()
	if readErr != nil {
		return 0, nil, readErr
	}
	if err != nil && failed == nil || passed+len(failed) == 0 {
		return 0, nil, errors.Join(errors.New("the tests could not be run"), err)
	}
	return passed, failed, ctx.Err()
}

// readTests reads what "go test -json" writes, prints the output of failed tests and what is outside of tests, and counts tests,
// without those in them.
func readTests(from io.Reader, w io.Writer) (passed int, failed []string, err error) {
	output := map[string]*strings.Builder{}
	lines := bufio.NewReader(from)
	for {
		line, readErr := lines.ReadString('\n')
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if json.Unmarshal([]byte(line), &e) != nil {
			fmt.Fprint(w, line)
		}
		top, _, inner := strings.Cut(e.Test, "/")
		if output[top] == nil {
			output[top] = &strings.Builder{}
		}
		switch {
		case e.Action == "output" && top == "":
			fmt.Fprint(w, e.Output)
		case e.Action == "output":
			output[top].WriteString(e.Output)
		case inner || top == "":
		case e.Action == "pass":
			passed++
			fmt.Fprintf(w, "ok   %s (%.0f s)\n", top, e.Elapsed)
		case e.Action == "fail":
			failed = append(failed, top)
			fmt.Fprintf(w, "%sFAIL %s (%.0f s)\n", output[top], top, e.Elapsed)
		}
		if errors.Is(readErr, io.EOF) {
			return passed, failed, nil
		} else if readErr != nil {
			return passed, failed, readErr
		}
	}
}
