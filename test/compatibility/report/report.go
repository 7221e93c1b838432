// Package report is what becomes of checks on another kernel or in another runtime. A virtual machine of test/kernels says it on its
// console, in lines of JSON among those of the kernel.
package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Prefix begins every line of a report.
const Prefix = "PODINIT-REPORT "

// Line is one line of a report; one of its fields is set.
type Line struct {
	Machine *Machine `json:",omitempty"`
	Result  *Result  `json:",omitempty"`
	// Broken says what kept the machine from its work.
	Broken string `json:",omitempty"`
	// Done is the last line.
	Done bool `json:",omitempty"`
}

// Machine is what the kernel says about itself.
type Machine struct {
	Release, Architecture string
	PageSize, Processors  int
	// Controllers are those of cgroup v2.
	Controllers string
}

// Result is what became of one check.
type Result struct {
	// Name is suite/check, such as conformance/signals/order.
	Name  string
	Holds bool
	// Why is empty where it holds; Figures are what was measured.
	Why, Figures string
	Seconds      float64
	// Again says that it held only when it was tried a second time, alone.
	Again bool
}

// Read takes the report out of a console, up to its last line, and calls each with each result as it comes. It returns an error
// if the report has no end, or is broken.
func Read(console io.Reader, each func(Result)) (Machine, error) {
	var machine Machine
	lines := bufio.NewReader(console)
	for {
		text, err := lines.ReadString('\n')
		if _, found, ok := strings.Cut(text, Prefix); ok {
			var line Line
			if err := json.Unmarshal([]byte(found), &line); err != nil {
				return machine, fmt.Errorf("a line of the report: %w: %q", err, found)
			}
			switch {
			case line.Broken != "":
				return machine, fmt.Errorf("in the machine: %s", line.Broken)
			case line.Done:
				return machine, nil
			case line.Machine != nil:
				machine = *line.Machine
			case line.Result != nil:
				each(*line.Result)
			}
		}
		if err != nil {
			return machine, fmt.Errorf("the report has no end: %w", err)
		}
	}
}

// Conformance begins the names of the checks of test/conformance.
const Conformance = "conformance/"

// ReadConformance reads what test/conformance prints with -json, and calls each with each result as it comes.
func ReadConformance(output io.Reader, each func(Result)) error {
	lines := json.NewDecoder(output)
	for {
		var line struct {
			Check, Doc, Verdict, Why, Figures string
			Seconds                           float64
		}
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("what the conformance suite prints: %w", err)
		}
		r := Result{Name: Conformance + line.Check, Holds: line.Verdict == "yes", Figures: line.Figures, Seconds: line.Seconds}
		if !r.Holds {
			r.Why = strings.TrimSpace(fmt.Sprintf("%s: %s %s", line.Verdict, line.Doc, line.Why))
		}
		each(r)
	}
}
