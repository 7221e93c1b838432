// Package compatibility writes down, in docs/compatibility.md, what the suites for kernels and runtimes have seen.
package compatibility

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Row is a line of a table: its cells. The first names what was run, and no two rows of a table have the same.
type Row []string

// Update puts rows into a table of the page. The table stands between two comments, and its heads are the page's own:
//
//	<!-- TABLE: written by make test-TABLE -->
//	| machine | kernel | … |
//	|---|---|…
//	| amd64, trixie | 6.12 | … |
//	<!-- end of TABLE -->
//
// A row takes the place of the one with the same first cell; the others stay as they are, so a run of one machine changes one row.
// Without a path nothing is written.
func Update(path, table string, rows []Row) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the page to write results to: %w", err)
	}
	changed, err := update(string(text), table, rows)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}

func update(page, table string, rows []Row) (string, error) {
	begin, end := fmt.Sprintf("<!-- %s: written by make test-%s -->\n", table, table), fmt.Sprintf("<!-- end of %s -->", table)
	before, rest, found := strings.Cut(page, begin)
	old, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return "", fmt.Errorf("there is no %q with %q after it", begin, end)
	}
	lines := strings.Split(strings.TrimSuffix(old, "\n"), "\n")
	if len(lines) < 2 || !strings.HasPrefix(lines[1], "|---") {
		return "", fmt.Errorf("there are no heads of a table after %q", begin)
	}
	heads, lines := lines[:2], slices.Clone(lines[2:])
	for _, row := range rows {
		line := row.String()
		name := line[:strings.Index(line[1:], "|")+2]
		if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name) }); i >= 0 {
			lines[i] = line
		} else {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return before + begin + strings.Join(slices.Concat(heads, lines, []string{end}), "\n") + after, nil
}

// String is the row in Markdown.
func (r Row) String() string {
	var b strings.Builder
	b.WriteString("|")
	for _, cell := range r {
		cell = strings.NewReplacer("\n", " ", "|", `\|`).Replace(strings.TrimSpace(cell))
		b.WriteString(" " + cell + " |")
	}
	return b.String()
}
