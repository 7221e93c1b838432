package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSelect(t *testing.T) {
	names := func(versions string) (names []string) {
		t.Helper()
		selected, err := selectKubernetes(versions, crioModule)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range selected {
			names = append(names, k.String())
		}
		return names
	}
	if diff := cmp.Diff([]string{
		"1.30.14", "1.31.4", "1.31.4, all but the apiserver 1.30.14", "1.30.14, upgraded to 1.31.4", "1.33.13", "1.33.13, kubelet 1.30.14",
	}, names("1.30,1.31,1.33")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all := names(""); len(all) != 8+7+5+7+1 || !slices.Contains(all, "1.36.3, upgraded to 1.37.2") {
		t.Errorf("all are %q", all)
	}
	if got := names("1.34"); !slices.Equal(got, []string{"1.34.4", "1.34.4, CRI-O 1.34.0"}) {
		t.Errorf("of 1.34: %q", got)
	}
	if _, err := selectKubernetes("1.30,1.3", crioModule); err == nil || !strings.Contains(err.Error(), `-versions: "1.3" is not among`) {
		t.Errorf("1.3: %v", err)
	}
}

func TestReadTests(t *testing.T) {
	const output = `{"Action":"output","Package":"p","Output":"set up\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN TestA\n"}
{"Action":"fail","Package":"p","Test":"TestB/inner"}
{"Action":"output","Package":"p","Test":"TestB/inner","Output":"inner is wrong\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":2}
{"Action":"fail","Package":"p","Test":"TestB","Elapsed":1}
{"Action":"fail","Package":"p"}
`
	var out strings.Builder
	passed, failed, err := readTests(strings.NewReader(output), &out)
	if err != nil || passed != 1 || !slices.Equal(failed, []string{"TestB"}) {
		t.Errorf("%d passed, failed are %q, %v", passed, failed, err)
	}
	if want := "set up\nok   TestA (2 s)\ninner is wrong\nFAIL TestB (1 s)\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if _, _, err := readTests(io.MultiReader(strings.NewReader(output), errReader{}), io.Discard); err == nil {
		t.Error("no error for output that breaks off")
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestTableRow(t *testing.T) {
	for _, c := range []struct {
		Kubernetes
		failed []string
		want   string
	}{
		{Kubernetes{APIServer: "v1.36.3", Controllers: "v1.36.3", Node: "v1.36.3"}, nil, "nothing"},
		{
			Kubernetes{APIServer: "v1.36.3", Controllers: "v1.35.4", Node: "v1.35.4"}, []string{"TestB"},
			"image volumes are on, but may be off: `Auto` takes the init container; `TestB` fails",
		},
		{Kubernetes{APIServer: "v1.34.4", Controllers: "v1.34.4", Node: "v1.34.4", Next: "v1.35.4"}, nil, "nothing"},
	} {
		row := c.tableRow([]string{"check 3 of 3"}, c.failed)
		if row[0] != c.String() || row[1] != "check 3 of 3" || row[2] != c.want {
			t.Errorf("%q, want %q", row, c.want)
		}
	}
}
