package manifest

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// style is how a document indents.
type style struct {
	// mapping and sequence are how many columns a mapping's and a sequence's entries are to the right of their key.
	mapping, sequence int
}

// entry is a member of a block mapping, line by line, without the mapping's own indentation.
func (s style) entry(key string, v value) []string {
	key = scalar(value{scalar: key})
	if v.kind == 0 || len(v.elements) == 0 {
		return []string{key + ": " + scalar(v)}
	}
	return append([]string{key + ":"}, s.below(v)...)
}

// below are the lines of a mapping or sequence that begins on the line after its key.
func (s style) below(v value) []string {
	if v.kind == '[' {
		return indent(s.block(v), s.sequence)
	}
	return indent(s.block(v), s.mapping)
}

// block are the lines of any value.
func (s style) block(v value) (lines []string) {
	if v.kind == 0 || len(v.elements) == 0 {
		return []string{scalar(v)}
	}
	for i, element := range v.elements {
		if v.kind == '{' {
			lines = append(lines, s.entry(v.keys[i], element)...)
		} else {
			lines = append(lines, s.item(element)...)
		}
	}
	return lines
}

// item is an element of a block sequence.
func (s style) item(v value) []string {
	lines := indent(s.block(v), len("- "))
	lines[0] = "- " + lines[0][len("- "):]
	return lines
}

func indent(lines []string, by int) []string {
	indented := make([]string, len(lines))
	for i, line := range lines {
		indented[i] = strings.Repeat(" ", by) + line
	}
	return indented
}

// plain are words that mean themselves in every version of YAML, also where a colon follows. Others are quoted.
var plain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9._/@-]*(:[A-Za-z0-9._/@-]+)*$`)

// meant are words that mean something else than themselves (YAML 1.1 and 1.2).
var meant = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)

// scalar is what has no parts, in YAML; also {} and [].
func scalar(v value) string {
	text, ok := v.scalar.(string)
	switch {
	case !ok:
		return string(v.json())
	case plain.MatchString(text) && !meant.MatchString(text):
		return text
	case strings.ContainsAny(text, `"\`) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }):
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return quoted(text)
}

// quoted is a text in double quotes, which JSON and YAML read alike: what YAML does not take as it is, is escaped.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r != ' ' && r <= 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// flow is a value on one line, in JSON, which is also YAML's flow style.
func flow(v value) string {
	switch v.kind {
	case '{', '[':
		var b strings.Builder
		b.WriteByte(v.kind)
		for i, element := range v.elements {
			if i > 0 {
				b.WriteString(", ")
			}
			if v.kind == '{' {
				b.WriteString(quoted(v.keys[i]) + ": ")
			}
			b.WriteString(flow(element))
		}
		b.WriteByte(v.kind + 2) // ] and } are two after [ and { in ASCII
		return b.String()
	}
	if text, ok := v.scalar.(string); ok {
		return quoted(text)
	}
	return string(v.json())
}
