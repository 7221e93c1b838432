// Package output is how the commands print: tables, JSON and YAML, with colours where a person looks at them.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// Format is how a result is printed; it is a flag.
type Format string

const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
	// Wide is a table with more columns. Only flags of AddWideFlag take it.
	Wide Format = "wide"
)

var formats = []string{string(Table), string(JSON), string(YAML)}

// AddFlag adds -o to a command, with completion; the default is Table.
func AddFlag(command *cobra.Command) *Format {
	f := Table
	command.Flags().VarP(&f, "output", "o", "output format: table, json or yaml")
	complete(command, formats)
	return &f
}

// AddWideFlag is AddFlag for a command that prints a wider table, too.
func AddWideFlag(command *cobra.Command) *Format {
	f := Table
	command.Flags().VarP(wideValue{&f}, "output", "o", "output format: table, wide, json or yaml")
	complete(command, append([]string{string(Wide)}, formats...))
	return &f
}

func complete(command *cobra.Command, formats []string) {
	// It fails only for flags that do not exist.
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// wideValue is a Format that may be Wide.
type wideValue struct{ *Format }

// Set takes what the command line says.
func (v wideValue) Set(value string) error {
	if Format(value) == Wide {
		*v.Format = Wide
		return nil
	}
	if err := v.Format.Set(value); err != nil {
		return fmt.Errorf("%w or %s", err, Wide)
	}
	return nil
}

func (f *Format) String() string { return string(*f) }

// Type is what usage texts call it.
func (f *Format) Type() string { return "format" }

// Set takes what the command line says.
func (f *Format) Set(value string) error {
	switch Format(value) {
	case Table, JSON, YAML:
		*f = Format(value)
		return nil
	}
	return fmt.Errorf("choose one of %s", strings.Join(formats, ", "))
}

// Print writes v as JSON or YAML. It is for every Format but Table and Wide.
func (f Format) Print(w io.Writer, v any) error {
	out, err := json.MarshalIndent(v, "", "  ")
	if err == nil && f == YAML {
		out, err = yaml.JSONToYAML(out)
	} else if err == nil {
		out = append(out, '\n')
	}
	if err != nil {
		return fmt.Errorf("printing as %s: %w", f, err)
	}
	_, err = w.Write(out)
	return err
}

// Style colours words, or does not.
type Style bool

// StyleFor is colours for a terminal, unless NO_COLOR is set (https://no-color.org) or TERM is dumb.
func StyleFor(w io.Writer) Style {
	return Style(IsTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

// IsTerminal says whether a person looks at what is written there.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Bold, Red, Green, Yellow and Faint are SGR sequences of ECMA-48.
func (s Style) Bold(text string) string   { return s.in("1", text) }
func (s Style) Red(text string) string    { return s.in("31", text) }
func (s Style) Green(text string) string  { return s.in("32", text) }
func (s Style) Yellow(text string) string { return s.in("33", text) }
func (s Style) Faint(text string) string  { return s.in("2", text) }

func (s Style) in(code, text string) string {
	if !bool(s) || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Count is a number of things: "1 warning", "2 warnings". It takes words whose plural ends in s.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Rows writes a table as kubectl does: columns padded with at least three spaces, and none after the last. Colours
// take no room. A cell without text is shown as <none>.
func Rows(w io.Writer, header []string, rows [][]string) error {
	all := append([][]string{header}, rows...)
	widths := make([]int, len(header))
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], width(shown(cell)))
		}
	}
	var b strings.Builder
	for _, row := range all {
		for i, cell := range row {
			b.WriteString(shown(cell))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-width(shown(cell))+3))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func shown(cell string) string {
	if cell == "" {
		return "<none>"
	}
	return cell
}

// width is how many columns a text takes: one for each character, none for colours.
func width(text string) int {
	n := 0
	for {
		before, after, found := strings.Cut(text, "\x1b[")
		n += utf8.RuneCountInString(before)
		if !found {
			return n
		}
		_, text, _ = strings.Cut(after, "m")
	}
}
