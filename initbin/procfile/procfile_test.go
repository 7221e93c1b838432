package procfile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type program struct {
	Line          int32
	Name, Command string
}

func read(text string) (programs []program, line int, problem string) {
	var r Reader
	for {
		p, ok, problem := r.Next([]byte(text))
		if !ok {
			return programs, r.Line, problem
		}
		programs = append(programs, program{p.Line, string(p.Name([]byte(text))), string(p.Command([]byte(text)))})
	}
}

func TestReader(t *testing.T) {
	for text, want := range map[string][]program{
		"":                                nil,
		"\n\n# only: a comment\n  \n":     nil,
		"web: bundle exec rails s -p 80":  {{1, "web", "bundle exec rails s -p 80"}},
		"# c\n\nweb:a\n  worker_1-b :x\n": {{3, "web", "a"}},
		"a: b: c # d\r\nB2:\t'x'  \n":     {{1, "a", "b: c # d"}, {2, "B2", "'x'"}},
	} {
		if got, _, _ := read(text); !cmp.Equal(want, got) {
			t.Errorf("%q (-want +got):\n%s", text, cmp.Diff(want, got))
		}
	}
}

func TestProblems(t *testing.T) {
	for text, want := range map[string]string{
		"a: b\nnonsense\n": "the line must have the form \"name: command\", with a name of letters, digits, - and _",
		"\n a b: c":        "the line must have the form \"name: command\", with a name of letters, digits, - and _",
		"a: b\n: c":        "the name before the colon is missing",
		"\nname:  \n":      "the command after the colon is missing",
		"\na: b\x00c\n":    "the command contains a NUL byte",
	} {
		if _, line, problem := read(text); line != 2 || problem != want {
			t.Errorf("%q: line %d, %q, want line 2, %q", text, line, problem, want)
		}
	}
}

func TestSame(t *testing.T) {
	text := []byte("web: x\nwork: y\nweb: z\n")
	var r Reader
	a, _, _ := r.Next(text)
	b, _, _ := r.Next(text)
	c, _, _ := r.Next(text)
	if Same(text, &a, &b) || !Same(text, &a, &c) {
		t.Error("web and work are two names, web and web are one")
	}
}

// FuzzReader: what is read prints as a Procfile that reads the same; what is refused has a line and a reason.
func FuzzReader(f *testing.F) {
	f.Add("web: a\n# b\n\nworker:c\n")
	f.Add(":\n")
	f.Add("a:\x00")
	f.Fuzz(func(t *testing.T, text string) {
		programs, line, problem := read(text)
		if problem != "" {
			if line < 1 || line > 1+strings.Count(text, "\n") {
				t.Fatalf("line %d of %q", line, text)
			}
			return
		}
		var again strings.Builder
		for i := range programs {
			p := &programs[i]
			if p.Name == "" || p.Command == "" || strings.ContainsAny(p.Command, "\n\x00") {
				t.Fatalf("%q gives %+v", text, *p)
			}
			again.WriteString(p.Name + ": " + p.Command + "\n")
			p.Line = int32(i + 1)
		}
		if back, _, problem := read(again.String()); problem != "" || !cmp.Equal(programs, back) {
			t.Errorf("%q prints as %q, which reads as %+v, %s", text, again.String(), back, problem)
		}
	})
}
