// Package run runs the commands of the documentation on a real cluster, the one of package cluster, to which
// 'make cluster-deploy' has deployed the webhook. 'make test-docs' does all of that.
package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	"github.com/podinit/podinit/release/archive"
	releaseimage "github.com/podinit/podinit/release/image"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/debianimage"
	"github.com/podinit/podinit/test/docs"
)

const (
	root = "../../.."
	// perPage bounds what a page may take.
	perPage = 8 * time.Minute

	// own is the repository that stands in the pages where readers have one of their own.
	own = "registry.example/podinit"
)

var age = regexp.MustCompile(`\b(\d+(\.\d+)?(ms|s|m|h|d))+\b`)

// images are those that the pages name. The test cluster has no internet, so each is made of Debian packages, and its
// name in the cluster's own registry takes its place.
var images = map[string]debianimage.Spec{
	"python:3.13": {
		Packages: []string{"python3-minimal", "bash", "coreutils", "procps", "grep"},
		Config:   v1.Config{Entrypoint: nil, Cmd: []string{"python3"}},
	},
	"registry.example/app:1": {
		Files:  []debianimage.File{{Path: "/app", Mode: 0o755, Content: "#!/bin/sh\n"}},
		Config: v1.Config{Entrypoint: []string{"/app"}, StopSignal: "SIGINT"},
	},
	"nginx:1.29": {
		Packages: []string{"nginx-light", "bash", "coreutils", "procps", "grep"},
		Files: []debianimage.File{
			{Path: "/docker-entrypoint.sh", Mode: 0o755, Content: "#!/bin/sh\nset -e\nexec \"$@\"\n"},
			{Path: "/etc/nginx/nginx.conf", Mode: 0o644, Content: "events {}\nhttp { server { listen 80; } }\n"},
			{Path: "/var/lib/nginx", Mode: os.ModeDir | 0o755}, {Path: "/var/log/nginx", Mode: os.ModeDir | 0o755},
		},
		Config: v1.Config{Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"}, StopSignal: "SIGQUIT"},
	},
}

// turn is when a page is run: one that removes podinit after those that need it, one that begins without it at last.
func turn(page docs.Page) int {
	switch {
	case slices.ContainsFunc(page.Blocks, func(b docs.Block) bool { return b.Marker.Kind == docs.RunBare }):
		return 2
	case page.Path == "docs/operating.md":
		return 1
	}
	return 0
}

// TestPages runs every page whose commands are to be run.
func TestPages(t *testing.T) {
	pages, err := docs.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(pages, func(a, b docs.Page) int {
		return cmp.Compare(turn(a), turn(b))
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
		onCluster := kinds[docs.RunOnCluster] || kinds[docs.RunBare]
		if onCluster || kinds[docs.RunOffline] {
			ran++
			t.Run(strings.ReplaceAll(page.Path, "/", ":"), func(t *testing.T) { w.page(t, page, onCluster) })
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
	// version is that of what is tested, repository where its images are: podinit's own is not reached from here.
	version, repository string
	// environment is that of commands, besides PATH and KUBECONFIG.
	environment []string
}

func setUp(t *testing.T) *world {
	t.Helper()
	running, err := cluster.Open()
	if err != nil {
		t.Fatalf("%v ('make test-docs' prepares all that this needs)", err)
	}
	w := &world{cluster: running, programs: t.TempDir()}
	bin, err := filepath.Abs(filepath.Join(root, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	platform, helm := filepath.Join(bin, "linux", runtime.GOARCH), filepath.Join(bin, "helm/helm4")
	for name, target := range map[string]string{
		"kubectl": filepath.Join(running.Bin, "kubectl"),
		"init":    filepath.Join(platform, "init"),
		"podinit": filepath.Join(platform, "podinit"),
		"helm":    helm,
	} {
		if err := os.Symlink(target, filepath.Join(w.programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The pages' registries speak TLS, the cluster's does not.
	crane := filepath.Join(t.TempDir(), "crane")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", crane, "github.com/google/go-containerregistry/cmd/crane")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	if err := os.WriteFile(filepath.Join(w.programs, "crane"), fmt.Appendf(nil, "#!/bin/sh\nexec %q --insecure \"$@\"\n", crane), 0o755); err != nil {
		t.Fatal(err)
	}
	cache, err := debianimage.UserCache(os.Stderr)
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
			_, err = debianimage.Push(t.Context(), tagged, made)
		}
		if err != nil {
			t.Fatal(err)
		}
		there, back = append(there, name, tagged.String()), append(back, tagged.String(), name)
	}
	w.pushOwn(t, filepath.Join(bin, "images", runtime.GOARCH))
	there, back = append(there, own, w.repository), append(back, w.repository, own)
	w.names, w.back = strings.NewReplacer(there...), strings.NewReplacer(back...)
	w.environment = []string{
		"NO_COLOR=1",
		// What the Makefile takes from git, and where it pushes to and deploys from unless a page says it.
		"VERSION=" + w.version, "SOURCE_DATE_EPOCH=0", "ARCHITECTURES=" + runtime.GOARCH, "INSECURE=yes", "IMAGE_REPOSITORY=" + w.repository,
	}
	for _, variable := range []string{"GOPATH", "GOCACHE", "GOMODCACHE"} { // HOME is the page's own
		value, err := exec.CommandContext(t.Context(), "go", "env", variable).Output()
		if err != nil {
			t.Fatalf("go env %s: %v", variable, err)
		}
		w.environment = append(w.environment, variable+"="+strings.TrimSpace(string(value)))
	}
	w.ctr(t)
	w.gitOps(t, filepath.Join(bin, "docs/crds"))
	w.lookups(t)
	return w
}

// ctr puts containerd's own client into PATH, for the node's containerd, whose socket is in the node's mount namespace.
func (w *world) ctr(t *testing.T) {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\nexec %q --address /proc/%d/root/run/containerd/containerd.sock \"$@\"\n", filepath.Join(w.cluster.Bin, "ctr"), w.cluster.PID)
	if err := os.WriteFile(filepath.Join(w.programs, "ctr"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// gitOps gives the cluster the kinds and the namespaces of Argo CD and Flux, but not their controllers: the apiserver
// looks whether manifests are right, and nothing comes of them.
func (w *world) gitOps(t *testing.T, definitions string) {
	t.Helper()
	namespaces := []string{"argocd", "flux-system"}
	kubectl := func(args ...string) {
		if _, err := w.cluster.RunKubectl(context.WithoutCancel(t.Context()), "", args...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		kubectl("delete", "--ignore-not-found", "-f", definitions)
		kubectl(append([]string{"delete", "--ignore-not-found", "--wait=false", "namespace"}, namespaces...)...)
	})
	kubectl("apply", "--server-side", "-f", definitions)
	kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", definitions)
	for _, namespace := range namespaces {
		kubectl("create", "namespace", namespace)
	}
}

// pushOwn pushes podinit's images, by their version, to a repository in the cluster's registry. Its name is that of their
// content: a node that has an image of some name does not pull it again.
func (w *world) pushOwn(t *testing.T, archives string) {
	t.Helper()
	printed, err := exec.CommandContext(t.Context(), filepath.Join(w.programs, "podinit"), "version", "--client", "-o", "json").Output()
	var version struct {
		Client struct {
			Version string `json:"version"`
		} `json:"client"`
	}
	if err == nil {
		err = json.Unmarshal(printed, &version)
	}
	if err != nil || version.Client.Version == "" {
		t.Fatalf("the version of podinit: %v: %s", err, printed)
	}
	w.version = version.Client.Version
	made, content := map[string]v1.Image{}, ""
	for _, which := range []string{"init", "webhook"} {
		if made[which], err = releaseimage.Open(filepath.Join(archives, which+".tar")); err != nil {
			t.Fatal(err)
		}
		digest, err := made[which].Digest()
		if err != nil {
			t.Fatal(err)
		}
		content += digest.Hex[:12]
	}
	w.repository = cluster.Registry + "/docs/" + content
	for which, made := range made {
		tagged, err := imagename.ParseReference(w.repository+"/"+which+":"+w.version, imagename.Insecure)
		if err == nil {
			_, err = debianimage.Push(t.Context(), tagged, made)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// archive puts into a directory what 'make release' makes of the command line, under the name that stands in the pages.
func (w *world) archive(directory string) error {
	binary, err := filepath.EvalSymlinks(filepath.Join(w.programs, "podinit"))
	if err != nil {
		return err
	}
	files := []archive.File{{Name: "podinit", Executable: true, Source: binary}, {Name: "kubectl-podinit", Link: "podinit"}}
	return archive.Create(filepath.Join(directory, "podinit_v0.1.0_linux_amd64.tar.gz"), func(to io.Writer) error {
		return archive.WriteTarGzip(to, files, time.Unix(0, 0))
	})
}

// cloneOwn changes in a clone what readers would whose registry speaks no TLS: how lookups are done.
func (w *world) cloneOwn(directory string) error {
	const from, to = "\n    {}\n", "\n    " + registries
	name := filepath.Join(directory, "config/manager/registries.yaml")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		return fmt.Errorf("%s does not say %q", name, from)
	}
	return os.WriteFile(name, []byte(changed), 0o644)
}

// registries is the registry configuration for the cluster's registry.
const registries = "registries: [{host: \"" + cluster.Registry + "\", plainHTTP: true}]\n"

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
		"data": map[string]string{"registries.yaml": registries},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "--force-conflicts", "-f", "-"}, {"rollout", "restart", "deployment/podinit-webhook"},
		{"rollout", "status", "deployment/podinit-webhook", "--timeout=120s"},
	} {
		if _, err := w.cluster.RunKubectl(t.Context(), string(object), append(args, "-n", system)...); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(6 * time.Second) // an apiserver may keep connections to replicas that are ending for as long
}

// deployAgain puts back what 'make cluster-deploy' has deployed, for who comes after.
func (w *world) deployAgain(t *testing.T) {
	if err := w.remove(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "--force-conflicts", "-k", filepath.Join(root, "bin/deploy")},
		{"-n", "podinit-system", "rollout", "status", "deployment/podinit-webhook", "--timeout=180s"},
	} {
		if _, err := w.cluster.RunKubectl(context.WithoutCancel(t.Context()), "", args...); err != nil {
			t.Error(err)
		}
	}
}

// remove removes podinit, whichever way it was installed.
func (w *world) remove(ctx context.Context) error {
	uninstall := exec.CommandContext(ctx, filepath.Join(w.programs, "helm"), "uninstall", "podinit", "--namespace", "podinit-system", "--ignore-not-found", "--wait")
	uninstall.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	for _, command := range []*exec.Cmd{
		// Replicas take half a minute to end, for the sake of connections that nobody has here.
		w.cluster.Kubectl(ctx, "-n", "podinit-system", "delete", "deployments,replicasets,pods", "--all", "--force", "--grace-period=0"),
		uninstall,
		w.cluster.Kubectl(ctx, "delete", "--ignore-not-found", "-k", filepath.Join(root, "config/default")),
	} {
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, out)
		}
	}
	return nil
}

// page runs the commands of a page in a namespace of its own, and removes what it has made.
func (w *world) page(t *testing.T, page docs.Page, onCluster bool) {
	ctx, cancel := context.WithTimeout(t.Context(), perPage)
	defer cancel()
	directory := t.TempDir()
	if err := checkOut(ctx, directory); err != nil {
		t.Fatal(err)
	}
	if err := w.cloneOwn(directory); err != nil {
		t.Fatal(err)
	}
	if err := w.archive(directory); err != nil {
		t.Fatal(err)
	}
	kubeconfig := "/nonexistent"
	if onCluster {
		kubeconfig = w.namespace(t, page, directory)
	}
	environment := append(slices.Clone(w.environment), "PATH="+w.programs+":"+os.Getenv("PATH"), "KUBECONFIG="+kubeconfig, "HOME="+directory)
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
		case docs.RunOnCluster, docs.RunBare, docs.RunOffline:
			if b.Marker.Kind == docs.RunBare {
				began := time.Now()
				if err := w.remove(ctx); err != nil {
					t.Fatalf("%s: %v", where, err)
				}
				t.Logf("%s: podinit removed in %.1f s", where, time.Since(began).Seconds())
			}
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
		out, err := w.cluster.RunKubectl(context.WithoutCancel(t.Context()), "", args...)
		if err != nil {
			t.Error(err)
		}
		return out
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
