// Package reference writes the pages of docs/reference from what the programs themselves say: flags from their help,
// metrics from their registry, InitProfile from the schema that the apiserver has, everything else from the constants.
package reference

import (
	"fmt"
	"strings"
)

// Pages by the name of their file. Each is made from the repository at root.
func Pages() map[string]func(root string) (string, error) {
	return map[string]func(root string) (string, error){
		"flags.md":       flags,
		"annotations.md": annotations,
		"initprofile.md": initProfile,
		"metrics.md":     metrics,
	}
}

// head is how each page begins.
func head(title, source, intro string) string {
	return fmt.Sprintf("# %s\n\n<!-- Written by \"make generate\" from %s. -->\n\n%s\n", title, source, intro)
}

// table of Markdown.
type table struct{ b strings.Builder }

func newTable(columns ...string) *table {
	t := &table{}
	t.row(columns...)
	t.b.WriteString("|" + strings.Repeat("---|", len(columns)) + "\n")
	return t
}

func (t *table) row(cells ...string) {
	for _, cell := range cells {
		t.b.WriteString("| " + cell + " ")
	}
	t.b.WriteString("|\n")
}

func (t *table) String() string { return t.b.String() }

// code is text as it is written; none of it for no text.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

// prose is text in which Markdown and HTML mean nothing, in one line.
func prose(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(strings.Join(strings.Fields(text), " "))
}
