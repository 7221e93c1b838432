// Package chart tests the Helm chart with the real Helm 3 and 4: that it makes the objects that config/ makes, that its
// values are checked, and, with -cluster, that what it installs works, is upgraded, and goes without harm. 'make
// test-chart' prepares all that it needs, 'make test-chart-render' what goes without a cluster.
package chart

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var (
	helmFlag     = flag.String("helm", "", "`directory` with helm3 and helm4")
	programsFlag = flag.String("programs", "", "`directory` with cert-manager and definitions of kinds, for -cluster")
	kubectlFlag  = flag.String("kubectl", "", "`file` of kubectl, which has kustomize")
)

const (
	root   = "../.."
	chart  = root + "/charts/podinit"
	system = "podinit-system"
)

// helms are the versions of Helm that the chart is for.
var helms = []string{"helm3", "helm4"}

func TestMain(m *testing.M) {
	flag.Parse()
	for _, program := range append([]string{*kubectlFlag}, filepath.Join(*helmFlag, "helm3"), filepath.Join(*helmFlag, "helm4")) {
		if err := exec.Command(program, "help").Run(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot run %q (%v): run these tests with 'make test-chart', which builds it\n", program, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// run runs a program and returns what it writes, standard output alone if it succeeds.
func run(t *testing.T, program string, arguments ...string) (string, error) {
	t.Helper()
	var errors strings.Builder
	cmd := exec.CommandContext(t.Context(), program, arguments...)
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		return errors.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(arguments, " "), err, errors.String())
	}
	return string(out), nil
}

func runHelm(t *testing.T, helm string, arguments ...string) (string, error) {
	t.Helper()
	return run(t, filepath.Join(*helmFlag, helm), arguments...)
}

// objects are what a text of several YAML documents holds, by kind and name, and namespace where that is not the release's.
func objects(t *testing.T, text string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, document := range strings.Split(text, "\n---") {
		var object map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
			t.Fatalf("%v:\n%s", err, document)
		}
		if object == nil {
			continue
		}
		u := unstructured.Unstructured{Object: object}
		key := u.GetKind() + " " + u.GetName()
		if namespace := u.GetNamespace(); namespace != "" && namespace != system {
			key += " in " + namespace
		}
		if _, twice := all[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		all[key] = object
	}
	return all
}

// rendered is what the chart makes, for one list of values after the other.
func rendered(t *testing.T, helm string, values ...string) map[string]map[string]any {
	t.Helper()
	text, err := runHelm(t, helm, append([]string{"template", "podinit", chart, "--namespace", system}, values...)...)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, text)
}
