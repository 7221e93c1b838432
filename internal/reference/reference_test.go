package reference

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
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
