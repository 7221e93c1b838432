package cli_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The program podinit decides as admission does, and has nothing of the server.
func TestImports(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "../../cmd/podinit").Output()
	if err != nil {
		t.Fatal(err)
	}
	imports := strings.Fields(string(out))
	const module = "github.com/podinit/podinit/"
	if !slices.Contains(imports, module+"internal/admission") {
		t.Error("the command line does not import internal/admission")
	}
	for _, server := range []string{"webhook", "internal/clusterstate", "internal/certificate"} {
		if slices.Contains(imports, module+server) {
			t.Errorf("the command line imports %s", server)
		}
	}
}
