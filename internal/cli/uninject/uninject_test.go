package uninject_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/injectcmd"
	"github.com/podinit/podinit/internal/cli/manifest"
	"github.com/podinit/podinit/internal/cli/uninject"
)

// run runs a command, without network.
func run(t *testing.T, command func(*genericclioptions.ConfigFlags, genericiooptions.IOStreams) *cobra.Command, in string, args ...string) (out, errOut string, err error) {
	t.Helper()
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	var o, e bytes.Buffer
	c := command(genericclioptions.NewConfigFlags(true), genericiooptions.IOStreams{In: strings.NewReader(in), Out: &o, ErrOut: &e})
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

// injected is a manifest that "podinit inject" has wrapped.
func injected(t *testing.T, in string, args ...string) string {
	t.Helper()
	out, _, err := run(t, injectcmd.NewCommand, in, append([]string{"-f", "-", "--offline", "--init-image", "registry.example/podinit/init:v1"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func uninjected(t *testing.T, in string) (out, errOut string) {
	t.Helper()
	out, errOut, err := run(t, uninject.NewCommand, in, "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	return out, errOut
}

// What "podinit inject" has wrapped comes back as it was: in most manifests every byte, in the others what they say.
func TestInverse(t *testing.T) {
	// In these, inject has formatted something again that it had to change.
	formatted := []string{"anchors.yaml", "odd.yaml", "stream.json"}
	for _, pattern := range []string{"../injectcmd/testdata/*.yaml", "../injectcmd/testdata/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no manifests for %s: %v", pattern, err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				before := string(text)
				wrapped := injected(t, before)
				if wrapped == before {
					t.Fatal("nothing is wrapped")
				}
				after, _ := uninjected(t, wrapped)
				if strings.Contains(after, "podinit") != strings.Contains(before, "podinit") {
					t.Errorf("something of podinit is left in\n%s", after)
				}
				if diff := cmp.Diff(pods(t, before), pods(t, after)); diff != "" {
					t.Errorf("pod templates (-before +after):\n%s", diff)
				}
				if diff := cmp.Diff(before, after); (diff != "") != slices.Contains(formatted, filepath.Base(file)) {
					t.Errorf("the text (-before +after):\n%s", diff)
				}
				if again, errOut := uninjected(t, after); again != after || !strings.Contains(errOut, "nothing of podinit") {
					t.Errorf("what is unwrapped changes again, or standard error does not say that there is nothing: %s\n%s", errOut, cmp.Diff(after, again))
				}
			})
		}
	}
}

// pods are the Pods of a manifest's templates, without what is null or empty: podinit leaves no empty list behind.
func pods(t *testing.T, text string) (all []any) {
	t.Helper()
	documents, err := manifest.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		for _, template := range d.Templates {
			var pod any
			if err := json.Unmarshal(template.Pod, &pod); err != nil {
				t.Fatal(err)
			}
			all = append(all, filled(pod))
		}
	}
	return all
}

func filled(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if member = filled(member); member == nil {
				delete(v, key)
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = filled(v[i])
		}
		if len(v) == 0 {
			return nil
		}
	}
	return v
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web # the only one
        image: registry.example/web:1
`

// A container that came without a command has none again, as long as the status is there.
func TestLookedUp(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(config, []byte(`{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/entry"],"Cmd":["serve"]}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	wrapped := injected(t, deployment, "--image-config", "registry.example/web:1="+config)
	if !strings.Contains(wrapped, "serve") {
		t.Fatalf("not wrapped:\n%s", wrapped)
	}
	out, errOut := uninjected(t, wrapped)
	if diff := cmp.Diff(deployment, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := "note: deployment/web: container \"web\" has no command again: its image says what it runs\n"; errOut != want {
		t.Errorf("standard error: %q, want %q", errOut, want)
	}

	lines := strings.SplitAfter(wrapped, "\n")
	out, errOut = uninjected(t, strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "podinit.dev/status") }), ""))
	if strings.Contains(out, "podinit") || !strings.Contains(out, "/entry") || !strings.Contains(out, "serve") {
		t.Errorf("without a status:\n%s", out)
	}
	if !strings.HasPrefix(errOut, "warning: deployment/web: container \"web\" keeps its command") {
		t.Errorf("standard error: %q", errOut)
	}
}

func TestDiff(t *testing.T) {
	wrapped := injected(t, strings.Replace(deployment, "image:", "command: [web]\n        image:", 1))
	out, _, err := run(t, uninject.NewCommand, wrapped, "-f", "-", "--diff")
	if exit.Code(err) != exit.Found || !exit.Said(err) || !strings.Contains(out, "+++ standard input without podinit\n") {
		t.Errorf("exit code %d, %v\n%s", exit.Code(err), err, out)
	}
	if out, _, err := run(t, uninject.NewCommand, deployment, "-f", "-", "--diff"); err != nil || out != "" {
		t.Errorf("nothing of podinit: %v\n%s", err, out)
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name, in string
		args     []string
		code     int
		says     string
	}{
		{"no file", "", nil, exit.Usage, "-f is required"},
		{"a word", "", []string{"web.yaml"}, exit.Failed, "name files with -f: -f web.yaml"},
		{"no such file", "", []string{"-f", "nowhere.yaml"}, exit.Failed, "nowhere.yaml"},
		{"a template", "kind: Pod\nmetadata: {name: {{ .Name }}}\n", []string{"-f", "-"}, exit.Usage, "render it first"},
		{"not a pod", "kind: Pod\napiVersion: v1\nspec: {containers: [x]}\n", []string{"-f", "-"}, exit.Usage, "pod/(no name)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, _, err := run(t, uninject.NewCommand, test.in, test.args...)
			if err == nil || exit.Code(err) != test.code || !strings.Contains(err.Error(), test.says) || out != "" {
				t.Errorf("exit code %d, %v; want %d and %q", exit.Code(err), err, test.code, test.says)
			}
		})
	}
}

// What cannot be taken out is named, and stays whole.
func TestUnreadable(t *testing.T) {
	const pod = `apiVersion: v1
kind: Pod
metadata: {name: p, annotations: {podinit.dev/status: "{}"}}
spec:
  volumes:
  - {name: podinit, emptyDir: {}}
  containers:
  - {name: c, image: i, command: [/podinit/init, --of-the-future, app], volumeMounts: [{name: podinit, mountPath: /podinit}]}
`
	out, errOut := uninjected(t, pod)
	if out != pod || !strings.HasPrefix(errOut, `warning: pod/p: pod left alone: the command of container "c"`) {
		t.Errorf("%s\n%s", errOut, out)
	}
}
