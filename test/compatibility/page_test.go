package compatibility

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUpdate(t *testing.T) {
	const page = `# Page

<!-- kernels: written by make test-kernels -->
| kernel | result |
|---|---|
| a 1 | old |
| a 11 | stays |
<!-- end of kernels -->

More.
`
	got, err := update(page, "kernels", []Row{{"b", "two\nlines | a bar"}, {"a 1", "new"}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `# Page

<!-- kernels: written by make test-kernels -->
| kernel | result |
|---|---|
| a 1 | new |
| a 11 | stays |
| b | two lines \| a bar |
<!-- end of kernels -->

More.
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := update(page, "runtimes", nil); err == nil {
		t.Error("a page without the table was changed")
	}
	if _, err := update("<!-- kernels: written by make test-kernels -->\n<!-- end of kernels -->\n", "kernels", nil); err == nil {
		t.Error("a table without heads was changed")
	}
}
