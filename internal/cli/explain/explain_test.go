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
		got, err := run(t, "--offline", "-f", "testdata/mixed.yaml", "--image-config", "nginx:1.27=testdata/nginx.json", "-o", format)
		if err != nil {
			t.Fatal(err)
		}
		file := "testdata/mixed.explained." + format
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
}

func TestJSON(t *testing.T) {
	out, err := run(t, "--offline", "-f", "testdata/mixed.yaml", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var all []explain.Explanation
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 3 {
		t.Fatalf("%d explanations, %v", len(all), err)
	}
	if pod := all[1]; pod.Admitted == nil || pod.Containers[0].Admitted == nil || !pod.Containers[0].HasInit {
		t.Errorf("a pod that is wrapped: %+v", pod)
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{nil, "name either"},
		{[]string{"-f", "testdata/mixed.yaml", "pod/x"}, "name either"},
		{[]string{"--offline", "pod/x"}, "--offline asks no cluster"},
		{[]string{"--offline", "-f", "testdata/nginx.json"}, "no pod template"},
	} {
		if _, err := run(t, test.args...); exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: exit code %d, %v", test.args, exit.Code(err), err)
		}
	}
}
