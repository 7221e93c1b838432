package explain_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/explain"
)

var update = flag.Bool("update", false, "write the golden files anew")

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	var out bytes.Buffer
	command := explain.NewCommand(genericclioptions.NewConfigFlags(true), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &bytes.Buffer{}})
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

func TestGolden(t *testing.T) {
	for _, format := range []string{"table", "yaml"} {
		golden(t, "testdata/mixed.explained."+format, "-o", format)
	}
}

// golden holds what the command prints of testdata/mixed.yaml against a file.
func golden(t *testing.T, file string, args ...string) {
	t.Helper()
	args = append([]string{"--offline", "-f", "testdata/mixed.yaml", "--image-config", "nginx:1.27=testdata/nginx.json"}, args...)
	got, err := run(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: write it with -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestJSON(t *testing.T) {
	out, err := run(t, "--offline", "-f", "testdata/mixed.yaml", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var all []explain.Explanation
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 4 {
		t.Fatalf("%d explanations, %v", len(all), err)
	}
	if pod := all[1]; pod.Admitted == nil || pod.Containers[0].Admitted == nil || !pod.Containers[0].HasInit {
		t.Errorf("a pod that is wrapped: %+v", pod)
	}
}

// What admission saw of a moved tag is shown again, once, and nothing that another program wrote there.
func TestDrift(t *testing.T) {
	file := t.TempDir() + "/pod.yaml"
	status := `{"v":1,"version":"v1","delivery":"InitContainer","containers":{"app":{"action":"wrapped","source":"registry","drift":["node-image-differs","node-image-differs","host-pid","x"]}}}`
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: app, annotations: {podinit.dev/status: '" + status + "'}}\n" +
		"spec: {containers: [{name: app, image: r.example/app, command: [/podinit/init, --, app]}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, "--offline", "-f", file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(out, "it may run another image") != 1 || !strings.Contains(out, ": a node has an image with another digest") {
		t.Errorf("explained as\n%s", out)
	}
}

// Where the nodes put the init in, no container is left alone for want of a lookup, and those are that the node leaves alone.
func TestByNode(t *testing.T) {
	directory := t.TempDir()
	for name, text := range map[string]string{
		"profile.yaml": "apiVersion: podinit.dev/v1alpha1\nkind: InitProfile\nmetadata: {name: nodes}\nspec: {delivery: Node}\n",
		"pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: app, annotations: {podinit.dev/skip-containers: other}}\n" +
			"spec: {containers: [{name: app, image: r.example/app}, {name: shell, image: r.example/app, command: [sh, -c, 'sleep 9; true']}, {name: other, image: r.example/app, command: [other]}]}\n",
	} {
		if err := os.WriteFile(directory+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--offline", "--profile", directory + "/profile.yaml", "-f", directory + "/pod.yaml"}
	out, err := run(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(out, "would be put in by the node") != 2 || strings.Count(out, "left alone because") != 1 || !strings.Contains(out, "The container runtime of its node puts the init in") {
		t.Errorf("explained as\n%s", out)
	}
	if out, err = run(t, append(args, "-o", "json")...); err != nil {
		t.Fatal(err)
	}
	var all []explain.Explanation
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 || all[0].Delivery != "Node" || all[0].LeftAlone != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{nil, "name either"},
		{[]string{"-f", "testdata/mixed.yaml", "pod/x"}, "name either"},
		{[]string{"--offline", "pod/x"}, "--offline does not ask the cluster"},
		{[]string{"--offline", "-f", "testdata/nginx.json"}, "no pod template"},
	} {
		if _, err := run(t, test.args...); exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: exit code %d, %v", test.args, exit.Code(err), err)
		}
	}
}
