package output_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/podinit/podinit/internal/cli/output"
)

func TestFlag(t *testing.T) {
	command := &cobra.Command{}
	format, flags := output.AddFlag(command), command.Flags()
	if err := flags.Parse(nil); err != nil || *format != output.Table {
		t.Errorf("without -o: %q, %v", *format, err)
	}
	if err := flags.Parse([]string{"-oyaml"}); err != nil || *format != output.YAML {
		t.Errorf("-oyaml: %q, %v", *format, err)
	}
	if err := flags.Parse([]string{"-o", "xml"}); err == nil || !strings.Contains(err.Error(), "table, json, yaml") {
		t.Errorf("-o xml: %v", err)
	}
}

func TestPrint(t *testing.T) {
	value := map[string]any{"a": 1, "b": []string{"c"}}
	for format, want := range map[output.Format]string{
		output.JSON: "{\n  \"a\": 1,\n  \"b\": [\n    \"c\"\n  ]\n}\n",
		output.YAML: "a: 1\nb:\n- c\n",
	} {
		var b bytes.Buffer
		if err := format.Print(&b, value); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v; want %q", format, b.String(), err, want)
		}
	}
}

func TestRows(t *testing.T) {
	var b bytes.Buffer
	err := output.Rows(&b, []string{"NAME", "STATE", "NOTE"}, [][]string{
		{"a", output.Style(true).Green("good"), "x"}, {"longer-é", "bad", ""},
	})
	want := "NAME       STATE   NOTE\n" +
		"a          \x1b[32mgood\x1b[0m    x\n" +
		"longer-é   bad     <none>\n"
	if err != nil || b.String() != want {
		t.Errorf("%v\ngot\n%swant\n%s", err, b.String(), want)
	}
}

// Nothing but a terminal gets colours. That a terminal does, unless NO_COLOR is set, is seen where a command runs on one.
func TestStyleFor(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if output.StyleFor(file) || output.StyleFor(&bytes.Buffer{}) {
		t.Error("colours, though it is not a terminal")
	}
	if got := output.Style(false).Red("x"); got != "x" {
		t.Errorf("got %q", got)
	}
}
