package cli_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/podinit/podinit/internal/cli"
	"github.com/podinit/podinit/internal/cli/exit"
)

// run runs a command line and returns its exit code and what it has printed.
func run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	var o, e bytes.Buffer
	code = cli.Run(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want int
		says string // on standard error
	}{
		{"nothing", nil, exit.OK, ""},
		{"help", []string{"--help"}, exit.OK, ""},
		{"version", []string{"version", "--client"}, exit.OK, ""},
		{"no such command", []string{"versoin"}, exit.Usage, "Did you mean this"},
		{"no such flag", []string{"version", "--clinet"}, exit.Usage, "See 'podinit version --help'"},
		{"an argument too many", []string{"version", "x"}, exit.Usage, "See 'podinit version --help'"},
		{"a wrong value", []string{"version", "-o", "xml"}, exit.Usage, "choose one of table, json, yaml"},
		{"an argument for -f", []string{"inject", "x.yaml"}, exit.Usage, "-f x.yaml"},
		{"inject without -f", []string{"inject"}, exit.Usage, "-f FILE"},
		{"uninject without -f", []string{"uninject"}, exit.Usage, "-f FILE"},
		{"a file that is not there", []string{"inject", "-f", "/nowhere/x.yaml"}, exit.Failed, "no such file"},
		{"a URL for -f", []string{"inject", "-f", "https://registry.example/x.yaml"}, exit.Usage, "curl"},
		{"a directory without manifests", []string{"explain", "-f", t.TempDir()}, exit.Usage, "-R"},
		{"no such cluster", []string{"version", "--server", "http://127.0.0.1:1"}, exit.Failed, "--client needs no cluster"},
		{"no such cluster for status", []string{"status", "--server", "http://127.0.0.1:1"}, exit.Failed, "--context"},
		{"no image", []string{"inject", "-f", "-", "--init-image", "a b"}, exit.Usage, "--init-image"},
		{"no such cluster to check", []string{"check", "--wait", "1s", "--server", "http://127.0.0.1:1"}, exit.Failed, "the cluster does not answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, _, errOut := run(t, append([]string{"podinit"}, test.args...)...)
			if code != test.want || !strings.Contains(errOut, test.says) {
				t.Errorf("exit code %d, want %d; it says:\n%s\nwant %q in it", code, test.want, errOut, test.says)
			}
		})
	}
}

// What the program is called by is what its help says to type.
func TestName(t *testing.T) {
	for arg0, want := range map[string]string{
		"/usr/bin/podinit":           "podinit version [flags]",
		"./kubectl-podinit":          "kubectl podinit version [flags]",
		`kubectl-podinit.exe`:        "kubectl podinit version [flags]",
		"/tmp/podinit-linux-amd64-1": "podinit version [flags]",
	} {
		if _, out, _ := run(t, arg0, "version", "--help"); !strings.Contains(out, "\n  "+want+"\n") {
			t.Errorf("called %s, it says\n%s\nwant %q in it", arg0, out, want)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, errOut := run(t, "podinit", "completion", shell); code != exit.OK || !strings.Contains(out, "podinit") {
			t.Errorf("%s: exit code %d, %d bytes, %s", shell, code, len(out), errOut)
		}
	}
	if _, out, _ := run(t, "podinit", "__complete", "version", "-o", ""); !strings.Contains(out, "json\n") {
		t.Errorf("the values of -o are not completed: %s", out)
	}
}

// As with kubectl, the flags that every command takes are listed once.
func TestOptions(t *testing.T) {
	if code, out, _ := run(t, "podinit", "options"); code != exit.OK || !strings.Contains(out, "--kubeconfig") || !strings.Contains(out, "--as-group") {
		t.Errorf("exit code %d: %s", code, out)
	}
	const last = "Use \"podinit options\" for a list of global command-line options (applies to all commands).\n"
	for _, args := range [][]string{{"--help"}, {"inject", "--help"}, {"check", "--help"}} {
		if _, out, _ := run(t, append([]string{"podinit"}, args...)...); !strings.HasSuffix(out, "\n"+last) || strings.Contains(out, "--kubeconfig string") {
			t.Errorf("%v: %s", args, out)
		}
	}
	if _, out, _ := run(t, "kubectl-podinit", "check", "--help"); !strings.HasSuffix(out, strings.Replace(last, "podinit", "kubectl podinit", 1)) || !strings.Contains(out, "--short") {
		t.Errorf("as a plugin: %s", out)
	}
}

// A large cluster is read as fast as it answers: no page waits for anything but the one before it.
func TestPagesDoNotWait(t *testing.T) {
	const pages = 60
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		next := ""
		if page, _ := strconv.Atoi(r.URL.Query().Get("continue")); r.URL.Path == "/api/v1/pods" && page+1 < pages {
			next = strconv.Itoa(page + 1)
		}
		fmt.Fprintf(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"continue":%q}}`, next)
	}))
	defer server.Close()
	began := time.Now()
	code, _, errOut := run(t, "podinit", "status", "-A", "--server", server.URL)
	if took := time.Since(began); code != exit.OK || took > 4*time.Second {
		t.Errorf("%d pages took %s, exit code %d; it says:\n%s", pages, took, code, errOut)
	}
}
