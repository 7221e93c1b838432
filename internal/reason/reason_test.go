package reason_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

// Every reason that the API declares is explained, and in the order of its declaration.
func TestAllAreExplained(t *testing.T) {
	if diff := cmp.Diff(declared(t), reason.All()); diff != "" {
		t.Errorf("reasons (-declared +explained):\n%s", diff)
	}
	for _, r := range reason.All() {
		e := reason.Of(r)
		if e.Because == "" || strings.HasSuffix(e.Because, ".") || strings.HasSuffix(e.Because, string(r)) {
			t.Errorf("%s: %q does not complete \"left alone because\"", r, e.Because)
		}
		if e.Remedy != "" && !strings.HasSuffix(e.Remedy, ".") || e.Remedy == "" && !e.Routine {
			t.Errorf("%s: %q is not a sentence that says what to do", r, e.Remedy)
		}
	}
}

func TestUnknown(t *testing.T) {
	if diff := cmp.Diff(reason.Explanation{Because: "of full-moon"}, reason.Of("full-moon")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// declared are the constants of type Reason in the API's source.
func declared(t *testing.T) []v1alpha1.Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/status.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []v1alpha1.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Reason" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			reasons = append(reasons, v1alpha1.Reason(value))
		}
		return true
	})
	return reasons
}
