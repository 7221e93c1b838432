package options

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Each flag's field has the type that its kind reads and writes, and each field of Options is some flag's, or one that
// only a name sets.
func TestFlagsFitOptions(t *testing.T) {
	types := map[kind][]string{
		kindConstant: {"Target", "Show", "bool"}, kindChoice: {"Target", "bool"}, kindCount: {"uint8"}, kindDuration: {"Duration"},
		kindSignal: {"Signal"}, kindExitCode: {"Codes"}, kindRewrite: {"Rewrites"},
		kindPath: {"string"}, kindDigest: {"string"}, kindFile: {"string"},
	}
	byFlag := map[string]bool{"OwnSession": true, "ShellFallback": true, "AtEnd": true}
	for _, f := range flags {
		if f.kind == kindSingleChild || f.kind == kindPlatform {
			continue
		}
		found := false
		for _, field := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
			if field.Offset != f.field {
				continue
			}
			found, byFlag[field.Name] = true, true
			fits := false
			for _, name := range types[f.kind] {
				fits = fits || field.Type.Name() == name
			}
			if !fits {
				t.Errorf("--%s is of kind %d, and Options.%s is a %v", f.name, f.kind, field.Name, field.Type)
			}
			if f.kind == kindChoice && field.Type.Kind() == reflect.Bool && len(f.choices) != 2 {
				t.Errorf("--%s has %d choices for a bool", f.name, len(f.choices))
			}
		}
		if !found {
			t.Errorf("--%s sets no field of Options", f.name)
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
		if !byFlag[field.Name] {
			t.Errorf("no flag sets Options.%s", field.Name)
		}
	}
}

// The table has no flag twice, and the rows are whole.
func TestFlagsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range flags {
		if f.name == "" || f.help == "" || !slices.Contains(sections[:], f.section) || seen[f.name] || f.letter != "" && seen[f.letter] || len(f.letter) > 1 {
			t.Errorf("the row %+v lacks something, or another is for the same flag", f)
		}
		seen[f.name], seen[f.letter] = true, true
		if takes := f.kind != kindConstant && f.kind != kindCount && f.kind != kindSingleChild; takes != (f.value != "") {
			t.Errorf("--%s: its value is %q in the help", f.name, f.value)
		}
		if (f.kind == kindChoice) != (f.want != "" && len(f.choices) > 1) {
			t.Errorf("--%s: choices %q, of which a problem says %q", f.name, f.choices, f.want)
		}
	}
}

// The help has each flag once, below its section, and a terminal's width or so.
func TestHelp(t *testing.T) {
	var help strings.Builder
	Help(func(part string) { help.WriteString(part) })
	for _, f := range flags {
		if n := strings.Count(help.String(), f.help+"\n"); n != 1 {
			t.Errorf("--%s is in the help %d times", f.name, n)
		}
	}
	for _, want := range []string{
		"\nEnding\n  --grace=45s                       the time between",
		"\n  -e, --remap-exit-code=CODE        exit with 0",
		"\nSignals\n  --signal-target=auto              which",
		"\n  -g, --group                       the same as",
	} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("the help lacks %q:\n%s", want, help.String())
		}
	}
	for line := range strings.Lines(help.String()) {
		if len(line) > 121 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}

// docs/init.md explains every flag.
func TestFlagsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/init.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## Flags\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, f := range flags {
		for _, written := range []string{"--" + f.name, "-" + f.letter} {
			if written != "-" && !strings.Contains(table, "`"+written+"`") && !strings.Contains(table, "`"+written+"=") && !strings.Contains(table, "`"+written+" ") {
				t.Errorf("the table of flags in docs/init.md lacks %s", written)
			}
		}
	}
}
