package registry

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHosts(t *testing.T) {
	for name, c := range map[string]struct {
		directory, text string
		want            []Host
	}{
		"of containerd's documentation": {"docker.io", `server = "https://registry-1.docker.io"

[host."https://public-mirror.example.com"]
  capabilities = ["pull"]
[host."https://docker-mirror.internal"]
  capabilities = ["pull", "resolve"]
  ca = "docker-mirror.crt"
[host."http://other.internal:5000/v2/dockerhub"]
  capabilities = ["pull", "resolve", "push"]
  override_path = true
  dial_timeout = "1s"
`, []Host{
			{Host: "docker.io", Mirrors: []string{"docker-mirror.internal", "other.internal:5000/dockerhub"}},
			{Host: "docker-mirror.internal", CAFiles: []string{"docker-mirror.crt"}},
			{Host: "other.internal:5000", PlainHTTP: true},
		}},
		"the registry itself": {"registry.example_5000_", `server = "https://registry.example:5000"
ca = ["/a.crt", "b.crt"]
`, []Host{{Host: "registry.example:5000", CAFiles: []string{"/a.crt", "b.crt"}}}},
		"without server":   {"registry.example", `skip_verify = true`, []Host{{Host: "registry.example", SkipVerify: true}}},
		"as its own host":  {"registry.example:5000", "[host.\"http://registry.example:5000\"]\n", []Host{{Host: "registry.example:5000", PlainHTTP: true}}},
		"another's server": {"name.example", `server = "real.example"`, []Host{{Host: "name.example", Mirrors: []string{"real.example"}}, {Host: "real.example"}}},
		"nothing":          {"registry.example", "", []Host{{Host: "registry.example"}}},
		"in this order": {"r.example", "[host.'https://z.example']\n[host.'https://a.example']\n[host.'https://a.example'.future]\nx = 1\n[host.'https://m.example/v2']\n",
			[]Host{{Host: "r.example", Mirrors: []string{"z.example", "a.example", "m.example"}}, {Host: "z.example"}, {Host: "a.example"}, {Host: "m.example"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseHosts(c.directory, []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, c := range []struct{ directory, text, want string }{
		{"_default", "", "name each"},
		{"a b", "", "named for no registry"},
		{"r.example", "[host", "toml"},
		{"r.example", "[host.'https://m.example/path']", "its API is at /path/v2"},
		{"r.example", "[host.'https://m.example/v1']\noverride_path = true", "its API is at /v1"},
		{"r.example", "[host.'https://m.example']\noverride_path = true", "its API is at /"},
		{"r.example", "[host.'ftp://m.example']", "m.example"},
		{"r.example", "[host.'https://user:secret@m.example']", "no URL of scheme, host"},
		{"r.example", "[host.'https://m.example']\nclient = 'x.pem'", "client certificates"},
		{"r.example", "[host.'https://m.example'.header]\nx = 'y'", "headers"},
		{"r.example", "ca = 1", "ca: "},
		{"r.example", "ca = [1]", "ca: "},
	} {
		if got, err := parseHosts(c.directory, []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q is read as %+v, %v; want an error with %q", c.directory, c.text, got, err, c.want)
		}
	}
}

// A node's certs.d serves as it is: a mirror below a path whose CA only the directory has.
func TestHostsDirectory(t *testing.T) {
	w := newWorld(t, httptest.NewTLSServer)
	w.push("cache/team/app:1", image("linux", "amd64", "a"))
	directory := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("certs.d/registry.example/ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw})))
	write("certs.d/registry.example/hosts.toml", "[host.'https://"+w.host+"/v2/cache']\noverride_path = true\nca = 'ca.crt'\n")
	write("certs.d/only-certificates/ca.crt", "")
	write("config.yaml", "hostsDirectory: certs.d\nregistries: [{host: first.example, mirrors: [a.example]}]\nprivateNetworks: [127.0.0.0/8, '::1/128']\n")
	read := func() {
		t.Helper()
		var err error
		if w.config, err = ReadConfig(filepath.Join(directory, "config.yaml")); err != nil {
			t.Fatal(err)
		}
		w.restart()
	}
	read()
	w.expect(w.query("//registry.example/team/app:1"), "a")

	// What the configuration itself says comes first.
	write("certs.d/first.example/hosts.toml", "[host.'https://b.example']\n")
	read()
	if host, _ := w.config.of("first.example"); !cmp.Equal(host.Mirrors, []string{"a.example"}) {
		t.Errorf("first.example: %+v", host)
	}

	// One host is described in one way.
	write("certs.d/other.example/hosts.toml", "[host.'https://"+w.host+"']\n")
	read()
	write("certs.d/other.example/hosts.toml", "[host.'http://"+w.host+"']\n")
	if _, err := ReadConfig(filepath.Join(directory, "config.yaml")); err == nil || !strings.Contains(err.Error(), "described otherwise") {
		t.Errorf("a host of two kinds: %v", err)
	}
	write("config.yaml", "hostsDirectory: none\n")
	if _, err := ReadConfig(filepath.Join(directory, "config.yaml")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func FuzzParseHosts(f *testing.F) {
	f.Add("docker.io", []byte("server = 'https://registry-1.docker.io'\n[host.'https://m.example/v2/x']\noverride_path = true\nca = ['a']\n"))
	f.Add("r.example_5000_", []byte("[host.'http://m:1']\ncapabilities = ['pull']\n[host.'http://m:1'.header]\nx = ['y']"))
	f.Fuzz(func(t *testing.T, directory string, text []byte) {
		hosts, err := parseHosts(directory, text)
		if err != nil {
			return
		}
		if len(hosts) != 1+len(hosts[0].Mirrors) {
			t.Errorf("%q: %+v", text, hosts)
		}
		for _, host := range hosts {
			if host.Host == "" || !validPattern(host.Host) || strings.Contains(host.Host, "/") {
				t.Errorf("%q: %+v", text, host)
			}
		}
	})
}
