// Package exit holds the exit codes of the command line, and errors that carry them.
package exit

import "errors"

// Exit codes. They are the same for every command, so that a pipeline can tell a finding from a failure.
const (
	// OK: done, and nothing to report.
	OK = 0
	// Found: done, and something was found: a difference, a failed check, a pod to look at.
	Found = 1
	// Usage: the command line or a file named by it is wrong. Nothing was done.
	Usage = 2
	// Failed: it could not be done: a cluster or registry does not answer or refuses, a file cannot be read or written.
	Failed = 3
)

// Help is what usage texts and documentation say about the codes.
const Help = `Exit codes:
  0  done, and nothing to report
  1  done, and something was found: a difference, a failed check, a pod to look at
  2  the command line, or a file that it names, is wrong; nothing was done
  3  not done: a cluster or registry does not answer or refuses, or a file cannot be read`

// coded is an error with an exit code; without an error the code says it all, and nothing is printed.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

// With gives an error an exit code; nil stays nil.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return coded{error: err, code: code}
}

// errSaid stands where everything has been printed already.
var errSaid = errors.New("see above")

// Silently is an error of which nothing but the exit code is left to say.
func Silently(code int) error { return coded{error: errSaid, code: code} }

// Said says whether nothing of the error is left to print.
func Said(err error) bool { return errors.Is(err, errSaid) }

// Code is the exit code of an error: OK for nil, Failed for one that has none.
func Code(err error) int {
	var c coded
	switch {
	case err == nil:
		return OK
	case errors.As(err, &c):
		return c.code
	}
	return Failed
}
