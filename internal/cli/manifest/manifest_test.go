package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Documents are cut where kubectl cuts them, and nowhere else.
func TestSplit(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"", []string{""}},
		{"a: b\n", []string{"a: b\n"}},
		{"---\na: b\n--- # c\r\nd: e", []string{"---\na: b\n", "--- # c\r\nd: e"}},
		{"a: |\n  ---\n  x\n---not: a separator\n", []string{"a: |\n  ---\n  x\n---not: a separator\n"}},
		{"\ufeff{} \n[1]{\"a\":1}\n", []string{"\ufeff{}", " \n[1]", "{\"a\":1}\n"}},
		{"a: b\n... # end\nc: d\n---\n", []string{"a: b\n... # end\n", "c: d\n", "---\n"}},
		{"{a: b}\n---\nc: d\n", []string{"{a: b}\n", "---\nc: d\n"}},
	} {
		if diff := cmp.Diff(test.want, split(test.text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.text, diff)
		}
	}
}

// An anchor inside what changes, used where nothing may: the document is written anew, and its comments stay.
func TestAnchorInTheWay(t *testing.T) {
	const text = `# one
apiVersion: v1
kind: Pod
metadata:
  name: p # its name
  annotations: {was: &c [a]}
spec:
  containers:
  - name: c
    image: i
    command: &d [sh]
    args: *d
`
	documents, err := Read(strings.Replace(text, "{was: &c [a]}", "{}", 1))
	if err != nil || len(documents) != 1 || len(documents[0].Templates) != 1 {
		t.Fatalf("%v", err)
	}
	d := documents[0]
	pod := strings.Replace(string(d.Templates[0].Pod), `"command":["sh"]`, `"command":["init","sh"]`, 1)
	got, lossy, err := d.With(map[int][]byte{0: []byte(pod)})
	if err != nil || !lossy {
		t.Fatalf("lossy %v, %v", lossy, err)
	}
	for _, want := range []string{"# one\n", "name: p # its name\n", `["init", sh]`, "args: [sh]\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestBombs(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 9) + "]\n"
	}
	for name, text := range map[string]string{
		"aliases": bomb, "depth": strings.Repeat("[", 100_000), "json depth": "{\"a\":" + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}",
	} {
		if _, err := Read(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
