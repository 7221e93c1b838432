// Package run runs the commands of the documentation on a real cluster, the one of package cluster, to which
// 'make cluster-deploy' has deployed the webhook. 'make test-docs' does all of that.
package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	imagename "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/docs"
	"github.com/podinit/podinit/test/image"
)

const (
	root = "../../.."
	// perPage bounds what a page may take.
	perPage = 3 * time.Minute
)

var age = regexp.MustCompile(`\b(\d+(\.\d+)?(ms|s|m|h|d))+\b`)

// images are those that the pages name. The test cluster has no internet, so each is made of Debian packages, and its
// name in the cluster's own registry takes its place.
var images = map[string]image.Spec{
	"python:3.13": {
		Packages: []string{"python3-minimal", "bash", "coreutils", "procps", "grep"},
		Config:   v1.Config{Entrypoint: nil, Cmd: []string{"python3"}},
	},
	"nginx:1.29": {
		Packages: []string{"nginx-light", "bash", "coreutils", "procps", "grep"},
		Files: []image.File{
			{Path: "/docker-entrypoint.sh", Mode: 0o755, Content: "#!/bin/sh\nset -e\nexec \"$@\"\n"},
			{Path: "/etc/nginx/nginx.conf", Mode: 0o644, Content: "events {}\nhttp { server { listen 80; } }\n"},
			{Path: "/var/lib/nginx", Mode: os.ModeDir | 0o755}, {Path: "/var/log/nginx", Mode: os.ModeDir | 0o755},
		},
		Config: v1.Config{Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"}, StopSignal: "SIGQUIT"},
	},
}

// last is the page that removes podinit.
const last = "docs/operating.md"

// TestPages runs every page whose commands are to be run.
func TestPages(t *testing.T) {
	pages, err := docs.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(pages, func(a, b docs.Page) int {
		return cmp.Compare(strings.Index(a.Path, last), strings.Index(b.Path, last)) // -1 where it is another
	})
	began := time.Now()
	w := setUp(t)
	t.Cleanup(func() { w.deployAgain(t) })
	t.Logf("ready after %.1f s", time.Since(began).Seconds())
	ran := 0
	for _, page := range pages {
		kinds := map[docs.Kind]bool{}
		for _, b := range page.Blocks {
			kinds[b.Marker.Kind] = true
		}
		if kinds[docs.RunOnCluster] || kinds[docs.RunOffline] {
			ran++
			t.Run(strings.ReplaceAll(page.Path, "/", ":"), func(t *testing.T) { w.page(t, page, kinds[docs.RunOnCluster]) })
		}
	}
	if ran == 0 {
		t.Error("no page has commands to run")
	}
}

// world is what readers have: a cluster with podinit, and its programs in PATH. Around them is a fresh clone.
type world struct {
	cluster  *cluster.Cluster
	programs string // a directory
	names    *strings.Replacer
	back     *strings.Replacer
}

func setUp(t *testing.T) *world {
	t.Helper()
	running, err := cluster.Open()
	if err != nil {
		t.Fatalf("%v ('make test-docs' prepares all that this needs)", err)
	}
	w := &world{cluster: running, programs: t.TempDir()}
	platform, err := filepath.Abs(filepath.Join(root, "bin/linux", runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"kubectl": filepath.Join(running.Bin, "kubectl"),
		"init":    filepath.Join(platform, "init"),
		"podinit": filepath.Join(platform, "podinit"), "kubectl-podinit": filepath.Join(platform, "podinit"),
	} {
		if err := os.Symlink(target, filepath.Join(w.programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	cache, err := image.UserCache(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var there, back []string
	for name, spec := range images {
		made, err := cache.Build(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		tagged, err := imagename.ParseReference(cluster.Registry+"/docs/"+name, imagename.Insecure)
		if err == nil {
			_, err = image.Push(t.Context(), tagged, made)
		}
		if err != nil {
			t.Fatal(err)
		}
		there, back = append(there, name, tagged.String()), append(back, tagged.String(), name)
	}
	w.names, w.back = strings.NewReplacer(there...), strings.NewReplacer(back...)
	w.lookups(t)
	return w
}

// lookups has the webhook ask the cluster's registry, which speaks no TLS, as a registry configuration says it.
func (w *world) lookups(t *testing.T) {
	t.Helper()
	const system = "podinit-system"
	now, err := w.cluster.Kubectl(t.Context(), "-n", system, "get", "configmap", "podinit-registries", "-o", "jsonpath={.data}").Output()
	if err != nil {
		t.Fatalf("reading the registry configuration: %v ('make cluster-deploy' deploys the webhook)", err)
	}
	if strings.Contains(string(now), cluster.Registry) {
		return
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]string{"name": "podinit-registries", "namespace": system},
		"data": map[string]string{"registries.yaml": fmt.Sprintf("registries:\n- {host: %q, plainHTTP: true}\n", cluster.Registry)},
	})
	if err != nil {
		t.Fatal(err)
	}
	apply := w.cluster.Kubectl(t.Context(), "apply", "--server-side", "--force-conflicts", "-f", "-")
	apply.Stdin = strings.NewReader(string(object))
	for _, command := range []*exec.Cmd{apply,
		w.cluster.Kubectl(t.Context(), "-n", system, "rollout", "restart", "deployment/podinit-webhook"),
		w.cluster.Kubectl(t.Context(), "-n", system, "rollout", "status", "deployment/podinit-webhook", "--timeout=120s"),
	} {
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	time.Sleep(6 * time.Second) // an apiserver may keep connections to replicas that are ending for as long
}

// deployAgain puts back what 'make cluster-deploy' has deployed, for who comes after.
func (w *world) deployAgain(t *testing.T) {
	for _, args := range [][]string{
		{"apply", "--server-side", "--force-conflicts", "-k", filepath.Join(root, "bin/deploy")},
		{"-n", "podinit-system", "rollout", "status", "deployment/podinit-webhook", "--timeout=180s"},
	} {
		if out, err := w.cluster.Kubectl(context.WithoutCancel(t.Context()), args...).CombinedOutput(); err != nil {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// page runs the commands of a page in a namespace of its own, and removes what it has made.
func (w *world) page(t *testing.T, page docs.Page, onCluster bool) {
	ctx, cancel := context.WithTimeout(t.Context(), perPage)
	defer cancel()
	directory := t.TempDir()
	if err := checkOut(ctx, directory); err != nil {
		t.Fatal(err)
	}
	environment := []string{"PATH=" + w.programs + ":" + os.Getenv("PATH"), "NO_COLOR=1", "KUBECONFIG=/nonexistent"}
	if onCluster {
		environment[2] = "KUBECONFIG=" + w.namespace(t, page, directory)
	}
	s, err := startSession(ctx, directory, environment...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.end()
	printed := ""
	for _, b := range page.Blocks {
		where := fmt.Sprintf("%s:%d", page.Path, b.Line)
		switch b.Marker.Kind {
		case docs.File:
			if err := os.WriteFile(filepath.Join(directory, filepath.Base(b.Marker.Text)), []byte(w.names.Replace(b.Text)), 0o644); err != nil {
				t.Fatal(err)
			}
		case docs.RunOnCluster, docs.RunOffline:
			began := time.Now()
			out, err := s.run(w.names.Replace(b.Text))
			printed = w.back.Replace(out)
			if err != nil {
				t.Fatalf("%s: %v\n%s\n--- printed:\n%s", where, err, b.Text, printed)
			}
			t.Logf("%s: %.1f s", where, time.Since(began).Seconds())
		case docs.Output:
			if difference := similar(b.Text, printed); difference != "" {
				t.Errorf("%s: the commands print something else:\n%s\n--- all of it:\n%s", where, difference, printed)
			}
		}
	}
}

// namespace makes one for a page, and a kubeconfig in which it is the default. When the page is done, it is deleted with
// everything that the page has made outside of it.
func (w *world) namespace(t *testing.T, page docs.Page, directory string) (kubeconfig string) {
	t.Helper()
	kubectl := func(args ...string) string {
		out, err := w.cluster.Kubectl(context.WithoutCancel(t.Context()), args...).CombinedOutput()
		if err != nil {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	before := map[string]bool{}
	names := func() []string {
		all := strings.Fields(kubectl("get", "namespaces", "-o", "name"))
		if kubectl("get", "crd", "-o", "name", "--ignore-not-found", "initprofiles.podinit.dev") != "" {
			all = append(all, strings.Fields(kubectl("get", "initprofiles.podinit.dev", "-o", "name"))...)
		}
		return all
	}
	for _, name := range names() {
		before[name] = true
	}
	t.Cleanup(func() {
		var made []string
		for _, name := range names() {
			if !before[name] {
				made = append(made, name)
			}
		}
		kubectl(append([]string{"delete", "--ignore-not-found", "--wait=false"}, made...)...)
	})
	name := "docs-" + strings.ToLower(strings.TrimSuffix(filepath.Base(page.Path), ".md"))
	kubectl("create", "namespace", name)
	text, err := os.ReadFile(cluster.Kubeconfig)
	kubeconfig = filepath.Join(directory, ".kubeconfig")
	if err == nil {
		err = os.WriteFile(kubeconfig, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	kubectl("--kubeconfig", kubeconfig, "config", "set-context", "--current", "--namespace", name)
	return kubeconfig
}

// checkOut copies what a fresh clone would have, with what is not committed yet: no program that was built, no leftovers.
func checkOut(ctx context.Context, directory string) error {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("listing the repository's files: %w", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not committed yet
		}
		var text []byte
		if err == nil {
			text, err = os.ReadFile(filepath.Join(root, name))
		}
		if err == nil {
			err = os.MkdirAll(filepath.Join(directory, filepath.Dir(name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(directory, name), text, info.Mode().Perm())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// What a page shows is compared as people would.
func TestSimilar(t *testing.T) {
	for _, c := range []struct {
		shown, printed string
		same           bool
	}{
		{"a  b\n", "a b\n\n", true},
		{"a b", "a c", false},
		{"a", "a\nb", false},
		{"a\nb", "a", false},
		{"pod/app-… 1/1 12s", "pod/app-x7f-q 1/1   3m5s", true},
		{"a…b…c", "a1b2c", true},
		{"a…b…c", "a1c2b", false},
		{"a\n…\nz", "a\nb\nc\nz", true},
		{"a\n…", "a\nb", true},
		{"a\n…\nz", "a\nb", false},
	} {
		if got := similar(c.shown, c.printed) == ""; got != c.same {
			t.Errorf("%q and %q: %v", c.shown, c.printed, got)
		}
	}
}
