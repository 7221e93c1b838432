// Command slowest reads what "go test -json" writes. It prints what go test prints without -json, and then which packages and
// tests took longest, so that the inner loop stays short.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// shown is how many packages and tests are named.
const shown = 5

func main() {
	if err := report(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "slowest:", err)
		os.Exit(1)
	}
}

// event is a line of "go test -json" (go doc test2json, go help buildjson).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64 // seconds
}

// took is a package or a test, and how long it took, in seconds of the clock.
type took struct {
	name    string
	seconds float64
}

// report copies what is of interest, and lists what was slow. What is no event, such as a message of go itself, is copied.
func report(from io.Reader, to io.Writer) error {
	out := bufio.NewWriter(to)
	defer out.Flush()
	var packages, tests []took
	output := map[[2]string]*strings.Builder{} // of each test that runs
	for lines := bufio.NewReader(from); ; {
		line, err := lines.ReadString('\n')
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			out.WriteString(line)
		} else if e.Test == "" {
			packages = ofPackage(out, packages, e)
		} else {
			key := [2]string{e.Package, e.Test}
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			switch e.Action {
			case "output":
				if !strings.HasPrefix(e.Output, "=== ") {
					output[key].WriteString(e.Output)
				}
			case "pass", "fail", "skip":
				if e.Action == "fail" {
					out.WriteString(output[key].String())
				}
				delete(output, key)
				if !strings.Contains(e.Test, "/") {
					tests = append(tests, took{e.Test + " of " + e.Package, e.Elapsed})
				}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	for _, unfinished := range output { // the program ended in between
		out.WriteString(unfinished.String())
	}
	list(out, "packages", packages)
	list(out, "tests", tests)
	return nil
}

func ofPackage(out *bufio.Writer, packages []took, e event) []took {
	switch e.Action {
	case "output", "build-output":
		if e.Output != "PASS\n" {
			out.WriteString(e.Output)
			out.Flush() // a line a package, as they end
		}
	case "pass", "fail":
		return append(packages, took{e.Package, e.Elapsed})
	}
	return packages
}

func list(out *bufio.Writer, what string, all []took) {
	slices.SortStableFunc(all, func(a, b took) int { return cmp.Compare(b.seconds, a.seconds) })
	fmt.Fprintf(out, "the slowest %s:\n", what)
	for _, one := range all[:min(shown, len(all))] {
		fmt.Fprintf(out, "  %5.1f s  %s\n", one.seconds, one.name)
	}
}
