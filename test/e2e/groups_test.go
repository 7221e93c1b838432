package e2e

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// group are tests that need something that not every cluster has, or that a cluster of other users must not lose.
type group struct {
	name, needs string
	tests       []string
}

// testClusterOnly are the tests that run on the test cluster alone.
var testClusterOnly = []group{
	{"registry", "registries of the tests' own, which podinit's registry configuration names", []string{
		"TestAccepted", "TestExplainAgrees", "TestImageSaysTheSame", "TestIndex", "TestInjectIsAdmission", "TestInjectedWorkload", "TestLeftAlone",
		"TestOfficialStyleImages", "TestPinned", "TestPrivateImage", "TestRegistriesThatAreNotAsked", "TestRegistryIsDown", "TestSummaryAgrees",
		"TestTagThatMoves",
	}},
	{"node", "files of the node, or image volumes", []string{"TestAuto", "TestDrain", "TestHostsDirectory", "TestImageVolume"}},
	{"apiserver", "an apiserver that reaches this machine, and its metrics", []string{"TestLateProgram", "TestLateWebhook", "TestMetricsForAlerts"}},
	{"installation", "podinit as config/default installs it, to take parts of it away", []string{
		"TestCertificateRenewed", "TestDeployment", "TestWebhookAway", "TestWithoutProfiles",
	}},
}

// leaveOut has the tests in testClusterOnly not run, and lists them.
func leaveOut() error {
	var all []string
	fmt.Fprintln(os.Stderr, "These tests run on the test cluster alone (make test-e2e), and not here:")
	for _, g := range testClusterOnly {
		fmt.Fprintf(os.Stderr, "  %s, since they need %s: %s\n", g.name, g.needs, strings.Join(g.tests, ", "))
		all = append(all, g.tests...)
	}
	return flag.Set("test.skip", "^("+strings.Join(all, "|")+")$")
}

// Each test that is named exists, and is named once.
func TestGroups(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var exist []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				exist = append(exist, f.Name.Name)
			}
		}
	}
	var named []string
	for _, g := range testClusterOnly {
		for _, name := range g.tests {
			if !slices.Contains(exist, name) || slices.Contains(named, name) {
				t.Errorf("group %s names %s, which does not exist or is in two groups", g.name, name)
			}
			named = append(named, name)
		}
	}
}
