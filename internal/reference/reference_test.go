package reference

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

// Every label and annotation that the API declares has its row.
func TestKeysAreComplete(t *testing.T) {
	parsed, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	ast.Inspect(parsed, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok {
			if binary, ok := spec.Values[0].(*ast.BinaryExpr); ok { // Group + "/name"
				constants++
				suffix := strings.Trim(binary.Y.(*ast.BasicLit).Value, `"`)
				found := false
				for _, k := range keys {
					found = found || strings.TrimSuffix(k.key, "<container>") == "podinit.dev"+suffix
				}
				if !found {
					t.Errorf("%s has no row", spec.Names[0].Name)
				}
			}
		}
		return true
	})
	if constants != len(keys) {
		t.Errorf("%d constants, %d rows", constants, len(keys))
	}
}

// Every key of a pod is one that admission knows: it warns of the others as mistyped.
func TestKeysAreKnown(t *testing.T) {
	for _, k := range keys {
		for place, member := range map[string]string{"label": "labels", "annotation": "annotations"} {
			on := strings.Split(k.on, "; ")[len(strings.Split(k.on, "; "))-1]
			if !strings.Contains(on, place) || !strings.Contains(on, "pod") {
				continue
			}
			key := strings.Replace(k.key, "<container>", "app", 1)
			pod, err := inject.Decode(fmt.Appendf(nil, `{"metadata":{%q:{%q:"x"}},"spec":{"containers":[{"name":"app"}]}}`, member, key))
			if err != nil {
				t.Fatal(err)
			}
			for _, ignored := range inject.NewPlan(inject.Config{}, inject.Setting{Selected: true}, pod).Ignored {
				if ignored.Reason == v1alpha1.ReasonUnknownKey {
					t.Errorf("%s %s: %s", place, key, ignored.Warning())
				}
			}
		}
	}
}

// What is in the schema is in the page.
func TestInitProfile(t *testing.T) {
	page, err := initProfile("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## spec.init.grace\n\n*string; default `\"FromPod\"`; at most 32 characters*", "It must be FromPod or a duration",
		"## spec.entrypoints[].image\n\n*string; required;", "one of `Skip`, `Reject`", "  podsMayChoose: true\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("there is no %q in\n%s", want, page)
		}
	}
}
