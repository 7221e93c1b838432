package registry

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/internal/imageconfig"
)

// certsD writes files, and a registry configuration that names them as its hosts directory, with lines of its own; it
// returns the configuration's name.
func certsD(t *testing.T, lines string, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, "certs.d", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(root, "config.yaml")
	if err := os.MkdirAll(filepath.Join(root, "certs.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("hostsDirectory: certs.d\nprivateNetworks: [127.0.0.0/8, '::1/128']\n"+lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

func (w *world) certsD(lines string, files map[string]string) (directory string) {
	w.t.Helper()
	file := certsD(w.t, lines, files)
	var err error
	if w.config, err = ReadConfig(file); err != nil {
		w.t.Fatal(err)
	}
	w.restart()
	return w.config.HostsDirectory
}

// A node's certs.d serves as it is: a mirror below a path whose CA only the directory has. It may change at any time.
func TestHostsDirectory(t *testing.T) {
	w := newWorld(t, httptest.NewTLSServer)
	w.push("cache/team/app:1", image("linux", "amd64", "a"))
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw}))
	hosts := "server = 'https://" + w.host + "/v2/nothing'\noverride_path = true\nca = 'ca.crt'\n" +
		"[host.'https://" + w.host + "/v2/cache']\noverride_path = true\nca = 'ca.crt'\n"
	directory := w.certsD("registries: [{host: first.example, mirrors: [a.example]}]\n", map[string]string{
		"registry.example/ca.crt":     ca,
		"registry.example/hosts.toml": hosts,
		"first.example/hosts.toml":    "[host.'https://b.example']\n",
	})
	w.expect(w.query("//registry.example/team/app:1"), "a")

	// What the configuration itself says of mirrors comes first.
	ask := func(image string) (hosts []string) {
		for candidate, err := range w.registries.Candidates(t.Context(), w.query("//"+image)) {
			if err != nil {
				t.Fatal(err)
			}
			hosts = append(hosts, candidate.Host)
		}
		return hosts
	}
	if diff := cmp.Diff([]string{"a.example", "first.example"}, ask("first.example/x:1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// A change counts 5 seconds later.
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(directory, "registry.example/hosts.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("server = 'https://c.example'\n")
	w.now = w.now.Add(routeTime)
	if diff := cmp.Diff([]string{"c.example"}, ask("registry.example/team/app:1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// Connections outlive what is read anew.
	pooled := len(w.registries.pool)
	write(hosts)
	w.now = w.now.Add(routeTime)
	ask("registry.example/team/app:1")
	if len(w.registries.pool) != pooled {
		t.Errorf("%d kinds of TLS after the same was read again, %d before", len(w.registries.pool), pooled)
	}
}

// What is broken concerns the images of its registry, and says why. The webhook starts.
func TestBrokenHostsDirectory(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("team/app:1", image("linux", "amd64", "a"))
	good := "server = 'http://" + w.host + "'\n"
	directory := w.certsD("", map[string]string{
		"good.example/hosts.toml":    good,
		"missing.example/hosts.toml": good + "ca = 'none.crt'\n",
		"large.example/hosts.toml":   good + "#" + strings.Repeat("x", maxConfig),
		"ca.example/hosts.toml":      good + "ca = 'ca.crt'\n",
		"ca.example/ca.crt":          strings.Repeat("x", maxConfig+1),
		"device.example/hosts.toml":  good + "[host.'https://m.example']\nclient = [['/dev/zero', '/dev/zero']]\n",
		"none.example/hosts.toml":    "server = 'http://" + w.host + "'\ncapabilities = ['push']\n",
		"broken.invalid/hosts.toml":  "server = ",
		"lost+found/x":               "",
		"old registry/hosts.toml":    "",
		"..data/hosts.toml":          good,
		"hosts.toml":                 good,
	})
	var logged []string
	w.registries.Log = funcr.New(func(_, line string) { logged = append(logged, line) }, funcr.Options{})
	w.expect(w.query("//good.example/team/app:1"), "a")
	if len(logged) > 0 {
		t.Errorf("it is logged %q", logged)
	}
	for registry, says := range map[string]string{
		"missing.example": `unable to read CA cert "missing.example/none.crt"`,
		"large.example":   "large.example/hosts.toml is larger than",
		"ca.example":      "ca.example/ca.crt is larger than",
		"device.example":  "/dev/zero is not a regular file",
		"none.example":    "no host that resolves tags",
	} {
		_, err := w.look(w.query("//" + registry + "/team/app:1"))
		if f := imageconfig.FailureOf(err); f.Reason != "lookup-failed" || !f.Transient || !strings.Contains(f.Error(), says) || strings.Contains(f.Error(), directory) {
			t.Errorf("%s: %v, want %q", registry, err, says)
		}
	}
	// As on a node, one that cannot be read is as if it were not there; here its image's author is told besides.
	_, err := w.look(w.query("//broken.invalid/team/app:1"))
	if f := imageconfig.FailureOf(err); f.Reason != "lookup-unreachable" || !strings.Contains(f.Error(), "broken.invalid/hosts.toml") {
		t.Errorf("%v", err)
	}
	// The log has each once, however many images and registries it concerns.
	for range 3 {
		w.now = w.now.Add(routeTime)
		_, _ = w.look(w.query("//missing.example/team/app:2"))
	}
	count := 0
	for _, line := range logged {
		if strings.Contains(line, "none.crt") {
			count++
		}
	}
	if count != 1 || len(logged) != 5 {
		t.Errorf("it is logged %q", logged)
	}
	// No name leads out of its directory, or into a ConfigMap's own.
	for _, registry := range []string{"..", "..data", "."} {
		if found, err := w.registries.hostDirectory(registry); found != "" || err != nil {
			t.Errorf("%q leads to %s, %v", registry, found, err)
		}
	}
	if _, err := ReadConfig(certsDWithout(t)); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func certsDWithout(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("hostsDirectory: none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Whatever stands in hosts.toml, reading it ends, and every host that comes of it is guarded.
func FuzzHostsDirectory(f *testing.F) {
	f.Add("docker.io", []byte("server = 'https://registry-1.docker.io'\n[host.'https://m.example/v2/x']\noverride_path = true\nca = ['a']\n"))
	f.Add("r.example:5000", []byte("[host.'http://m:1']\ncapabilities = ['pull']\nskip_verify = true\n[host.'http://m:1'.header]\nx = ['y']"))
	f.Add("r.example", []byte("client = [['a', '']]\n[host.'ftp://m']\n"))
	r, err := New(Config{}, nil, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, registry string, text []byte) {
		directory := t.TempDir()
		if err := os.WriteFile(filepath.Join(directory, "hosts.toml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		found := &route{}
		r.followDirectory(t.Context(), registry, directory, found)
		if found.failure != nil && len(found.hosts) > 0 {
			t.Errorf("%q: %v, and %d hosts", text, found.failure, len(found.hosts))
		}
		for _, host := range found.hosts {
			if _, ok := host.Client.Transport.(*guarded); !ok && !found.named[host.Host] {
				t.Errorf("%q: %s is not guarded", text, host.Host)
			}
		}
	})
}
