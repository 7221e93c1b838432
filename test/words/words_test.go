package words

import (
	"slices"
	"testing"
)

// What users read contains no pattern.
func TestText(t *testing.T) {
	texts, err := Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(texts) < 1000 {
		t.Fatalf("only %d texts", len(texts))
	}
	findings, unused := Find(texts, Patterns, Exceptions)
	for _, f := range findings {
		t.Errorf("%s:%d: %q: %s; write: %s", f.File, f.Line, f.Match, f.Pattern.Reason, f.Pattern.Instead)
	}
	for _, e := range unused {
		t.Errorf("no text needs the exception for %q (%s): remove it", e.Words, e.File)
	}
}

// Every pattern finds its bad example and not its good one.
func TestPatterns(t *testing.T) {
	for _, p := range Patterns {
		if found, _ := Find([]Text{{Text: p.Bad}}, []Pattern{p}, nil); len(found) == 0 {
			t.Errorf("%s: nothing found in %q", p.Match, p.Bad)
		}
		if found, _ := Find([]Text{{Text: p.Good}}, Patterns, nil); len(found) != 0 {
			t.Errorf("%s: %q found in %q", found[0].Pattern.Match, found[0].Match, p.Good)
		}
		if p.Reason == "" || p.Instead == "" {
			t.Errorf("%s: no reason, or nothing to write instead", p.Match)
		}
	}
}

func TestFind(t *testing.T) {
	pattern := []Pattern{{Match: "is no", Allowed: "there is no"}}
	for name, test := range map[string]struct {
		text       Text
		exceptions []Exception
		lines      []int
		unused     int
	}{
		"found with its line":        {text: Text{Line: 5, Text: "a\nb is no c\nd is no e"}, lines: []int{6, 7}},
		"letter case":                {text: Text{Line: 1, Text: "It Is No c"}, lines: []int{1}},
		"over the end of a line":     {text: Text{Line: 1, Text: "b is\nno c"}, lines: []int{1}},
		"over the end of a comment":  {text: Text{Line: 1, Text: "  # b is\n  # no c"}, lines: []int{1}},
		"not over an empty line":     {text: Text{Line: 1, Text: "what it is\n\nNo c"}},
		"not within words":           {text: Text{Line: 1, Text: "this is north of it"}},
		"allowed":                    {text: Text{Line: 1, Text: "there is no c"}},
		"allowed only there":         {text: Text{Line: 1, Text: "there is no c, b is no d"}, lines: []int{1}},
		"an exception":               {text: Text{File: "f", Line: 1, Text: "b is no c"}, exceptions: []Exception{{File: "f", Words: "b is no"}}},
		"an exception in every file": {text: Text{File: "f", Line: 1, Text: "b is no c"}, exceptions: []Exception{{Words: "b is no"}}},
		"an exception elsewhere":     {text: Text{File: "f", Line: 1, Text: "b is no c"}, exceptions: []Exception{{File: "g", Words: "b is no"}}, lines: []int{1}, unused: 1},
		"an exception not needed":    {text: Text{File: "f", Line: 1, Text: "b is c"}, exceptions: []Exception{{File: "f", Words: "b is no"}}, unused: 1},
	} {
		t.Run(name, func(t *testing.T) {
			findings, unused := Find([]Text{test.text}, pattern, test.exceptions)
			var lines []int
			for _, f := range findings {
				lines = append(lines, f.Line)
			}
			if !slices.Equal(lines, test.lines) {
				t.Errorf("found on lines %v, want %v", lines, test.lines)
			}
			if len(unused) != test.unused {
				t.Errorf("%d exceptions unused, want %d", len(unused), test.unused)
			}
		})
	}
}

func TestReadGo(t *testing.T) {
	const source = `// Package p is no text for users.
package p

import "is no/import"

type t struct {
	f int ` + "`json:\"is no tag\"`" + `
}

// A comment is no text for users, but in the API.
var a = errors.New("one " + x + " two" +
	" three")

var b = f("four", ` + "`five six\nseven`" + `)
`
	for file, want := range map[string][]Text{
		"p.go": {
			{File: "p.go", Line: 11, Text: "one ... two three"},
			{File: "p.go", Line: 14, Text: "five six\nseven"},
		},
		"p_test.go": nil,
		"api/p.go": {
			{File: "api/p.go", Line: 11, Text: "one ... two three"},
			{File: "api/p.go", Line: 14, Text: "five six\nseven"},
			{File: "api/p.go", Line: 1, Text: "Package p is no text for users.\n"},
			{File: "api/p.go", Line: 10, Text: "A comment is no text for users, but in the API.\n"},
		},
	} {
		got, err := readGo(file, []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: read %+v, want %+v", file, got, want)
		}
	}
}
