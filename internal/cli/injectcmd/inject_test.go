package injectcmd_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/injectcmd"
	"github.com/podinit/podinit/internal/cli/manifest"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/jsonpatch"
	"github.com/podinit/podinit/internal/version"
	"github.com/podinit/podinit/webhook"
)

var update = flag.Bool("update", false, "write the golden files anew")

const initImage = "registry.example/podinit/init:v1"

// run runs the command, without network.
func run(t *testing.T, in string, args ...string) (out, errOut string, err error) {
	t.Helper()
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	var o, e bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(in), Out: &o, ErrOut: &e}
	command := injectcmd.NewCommand(genericclioptions.NewConfigFlags(true), streams)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(append([]string{"--offline", "--init-image", initImage}, args...))
	err = command.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

// testdata/x.yaml becomes testdata/x.yaml.injected, and standard error says what is in x.yaml.stderr.
func TestGolden(t *testing.T) {
	for _, file := range cases(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			out, errOut, err := run(t, "", "-f", file)
			if err != nil {
				t.Fatal(err)
			}
			for name, got := range map[string]string{file + ".injected": out, file + ".stderr": errOut} {
				if *update {
					if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(name)
				if err != nil {
					t.Fatalf("%v: write it with -update", err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			again, _, err := run(t, out, "-f", "-")
			if diff := cmp.Diff(out, again); err != nil || diff != "" {
				t.Errorf("injecting again: %v (-once +twice):\n%s", err, diff)
			}
			diff, _, err := run(t, out, "-f", "-", "--diff")
			if err != nil || diff != "" {
				t.Errorf("a difference to what is wrapped already: %v\n%s", err, diff)
			}
		})
	}
}

func cases(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"testdata/*.yaml", "testdata/*.json"} {
		some, err := filepath.Glob(pattern)
		if err != nil || len(some) == 0 {
			t.Fatalf("no golden cases for %s: %v", pattern, err)
		}
		files = append(files, some...)
	}
	return files
}

// What is printed is what admission does: each template's Pod goes through the webhook's own HTTP handler, and comes out
// as it is printed.
func TestSameAsAdmission(t *testing.T) {
	handler := &webhook.Handler{
		Mutator: admission.Planner{Config: inject.Config{Image: initImage, Version: version.Version, ExcludedNamespaces: []string{"kube-system"}}},
		Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Log: logr.Discard(),
	}
	pods := 0
	for _, file := range cases(t) {
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		after, _, err := run(t, "", "-f", file)
		if err != nil {
			t.Fatal(err)
		}
		admitted := templates(t, string(before))
		for i, printed := range templates(t, after) {
			pods++
			if diff := cmp.Diff(decode(t, admit(t, handler, admitted[i])), decode(t, printed)); diff != "" {
				t.Errorf("%s, pod template %d (-admitted +printed):\n%s", file, i, diff)
			}
			if again := admit(t, handler, printed); !bytes.Equal(again, printed) {
				t.Errorf("%s, pod template %d: admission would change what is printed: %s", file, i, again)
			}
		}
	}
	if pods < 10 {
		t.Errorf("only %d pod templates were compared", pods)
	}
}

func templates(t *testing.T, text string) (pods [][]byte) {
	t.Helper()
	documents, err := manifest.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		for _, template := range d.Templates {
			pods = append(pods, template.Pod)
		}
	}
	return pods
}

func decode(t *testing.T, raw []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// admit sends a Pod to the handler, and applies what it answers.
func admit(t *testing.T, handler http.Handler, pod []byte) []byte {
	t.Helper()
	// The webhook's configuration keeps those who have opted out from being sent, and so does the webhook itself.
	body := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","namespace":"default",
		"resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","object":%s}}`, pod)
	request := httptest.NewRequest(http.MethodPost, "/mutate?timeout=10s", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	var review struct {
		Response struct {
			Allowed bool   `json:"allowed"`
			Patch   string `json:"patch"`
		} `json:"response"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &review); err != nil || !review.Response.Allowed {
		t.Fatalf("%v: %s", err, recorder.Body)
	}
	if review.Response.Patch == "" {
		return pod
	}
	patch, err := base64.StdEncoding.DecodeString(review.Response.Patch)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := jsonpatch.Apply(pod, patch)
	if err != nil {
		t.Fatal(err)
	}
	return patched
}

const pod = `apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - {name: c, image: "registry.example/app:1"}
`

func TestImageConfig(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	dir := t.TempDir()
	one := write(t, dir, "one.json", `{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/entry"],"Cmd":["$x"],"StopSignal":"SIGQUIT"}}`)
	all := write(t, dir, "all.yaml", "registry.example/app:1@"+digest+": {os: linux, config: {Entrypoint: [/entry], Cmd: ['$x']}}\n")
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"a config", []string{"registry.example/app:1=" + one}, []string{`"/podinit/init"`, `--stop-signal=`, `"/entry"`, `"args": ["$$x"]`, `\"source\":\"registry\"`}},
		{"a map", []string{all}, []string{`"/entry"`, `\"digest\":\"` + digest + `\"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, errOut, err := run(t, pod, "-f", "-", "--image-config", strings.Join(test.args, ","))
			if err != nil || strings.Count(errOut, "\n") != 1 { // what --offline assumes
				t.Fatalf("%v: %s", err, errOut)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("%s is not in\n%s", want, out)
				}
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestProfile(t *testing.T) {
	dir := t.TempDir()
	strict := write(t, dir, "strict.yaml", "# strict\n---\napiVersion: podinit.dev/v1alpha1\nkind: InitProfile\nmetadata: {name: strict}\nspec: {onProblem: Reject}\n")
	lingers := write(t, dir, "lingers.yaml", "apiVersion: podinit.dev/v1alpha1\nkind: InitProfile\nmetadata: {name: lingers}\nspec: {init: {linger: 7s}, entrypoints: [{image: '*/app:*', entrypoint: [/entry]}]}\n")
	if out, errOut, err := run(t, pod, "-f", "-", "--profile", strict); exit.Code(err) != exit.Found || out != "" || !strings.Contains(errOut, "error: pod/p: container \"c\" left alone") {
		t.Errorf("a profile with onProblem Reject: %v, %s, %s", err, errOut, out)
	}
	if out, _, err := run(t, pod, "-f", "-", "--profile", lingers); err != nil || !strings.Contains(out, `"--linger=7s"`) || !strings.Contains(out, `\"profile\":\"lingers\"`) {
		t.Errorf("a profile: %v, %s", err, out)
	}
	named := strings.Replace(pod, "name: p", "name: p, annotations: {podinit.dev/profile: lingers}", 1)
	if _, _, err := run(t, named, "-f", "-"); exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), "--profile") {
		t.Errorf("a pod that names a profile that is not given: %v", err)
	}
	if out, _, err := run(t, named, "-f", "-", "--profile", lingers, "--profile", strict); err != nil || !strings.Contains(out, `\"profile\":\"lingers\"`) {
		t.Errorf("a pod that names a profile that is given: %v, %s", err, out)
	}
}

func TestSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "b.yml", "a: b # without an end of line")
	write(t, dir, "a.yaml", pod)
	write(t, dir, "c.json", `{"kind":"ConfigMap"}`)
	write(t, dir, "readme.txt", "{")
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, inner, "d.yaml", "---\nkind: D\n")
	out, _, err := run(t, "", "-f", dir, "-R")
	if err != nil {
		t.Fatal(err)
	}
	if want := "\n---\na: b # without an end of line\n---\n{\"kind\":\"ConfigMap\"}\n---\nkind: D\n"; !strings.HasSuffix(out, want) {
		t.Errorf("got\n%s\nwant %q at the end", out, want)
	}
	if without, _, _ := run(t, "", "-f", dir); strings.Contains(without, "kind: D") {
		t.Error("without -R it reads the directories in a directory")
	}
	if documents, err := manifest.Read(out); err != nil || len(documents) != 4 {
		t.Errorf("%d documents, %v", len(documents), err)
	}
}

func TestDiff(t *testing.T) {
	command := strings.Replace(pod, "image:", "command: [sh], image:", 1)
	out, _, err := run(t, command, "-f", "-", "--diff")
	if exit.Code(err) != exit.Found || !exit.Said(err) {
		t.Errorf("exit code %d, %v", exit.Code(err), err)
	}
	lines := strings.Split(out, "\n")
	if !slices.Contains(lines, "--- standard input") || !slices.Contains(lines, "-  - {name: c, command: [sh], image: \"registry.example/app:1\"}") {
		t.Errorf("got\n%s", out)
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name, in string
		args     []string
		code     int
		says     string
	}{
		{"no such file", "", []string{"-f", "nowhere.yaml"}, exit.Failed, "nowhere.yaml"},
		{"an address", "", []string{"-f", "https://registry.example/x.yaml"}, exit.Usage, "curl"},

		{"no YAML", "a: b\n---\na: [\n", []string{"-f", "-"}, exit.Usage, "begins on line 2"},
		{"a template", "kind: Pod\nmetadata: {name: {{ .Name }}}\n", []string{"-f", "-"}, exit.Usage, "render it first"},
		{"twice", strings.Replace(pod, "spec:", "kind: Pod\nspec:", 1), []string{"-f", "-"}, exit.Usage, `"kind" exists already, on line 2`},
		{"UTF-16", "\xff\xfea\x00", []string{"-f", "-"}, exit.Usage, "UTF-16"},
		{"not UTF-8", "a: \xff\n", []string{"-f", "-"}, exit.Usage, "UTF-8"},
		{"no pod", "kind: Pod\napiVersion: v1\nspec: {containers: [x]}\n", []string{"-f", "-"}, exit.Usage, "pod/(no name)"},
		{"a word that YAML takes for something else", "kind: Pod\napiVersion: v1\nspec: {containers: [{name: c, image: i, command: [yes]}]}\n", []string{"-f", "-"}, exit.Usage, "quote"},
		{"a profile of the cluster", pod, []string{"-f", "-", "--profile", "strict"}, exit.Usage, "--offline does not ask a cluster"},
		{"a file that is no profile", pod, []string{"-f", "-", "--profile", "testdata/list.yaml"}, exit.Usage, "InitProfile"},
		{"an image config that is none", pod, []string{"-f", "-", "--image-config", "x=testdata/list.yaml"}, exit.Usage, "image config"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, errOut, err := run(t, test.in, test.args...)
			if err == nil || exit.Code(err) != test.code || !strings.Contains(err.Error(), test.says) || out != "" {
				t.Errorf("exit code %d, %v, %s; want %d and %q", exit.Code(err), err, errOut, test.code, test.says)
			}
		})
	}
}
