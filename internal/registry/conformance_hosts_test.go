package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

type faults = map[string]func(http.ResponseWriter, *http.Request) bool

// wantsNS is a mirror of more than one registry.
func wantsNS(registry string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Query().Get("ns") != registry && respond(404)(w, r)
	}
}

// wantsCertificate is a host that knows its clients by their certificates.
func wantsCertificate(w http.ResponseWriter, r *http.Request) bool {
	return len(r.TLS.PeerCertificates) == 0 && respond(403)(w, r)
}

func hostsRows(t *testing.T) map[string]row {
	t.Helper()
	ca, _ := pemOf(authority())
	client, key := pemOf(certificate("client.example"))
	// Of the mirror m.example, the registry and whatever is named by the row, each runs something else.
	hosts := func(text string, want string, faults faults) row {
		return row{
			files:  map[string]string{"r.example/hosts.toml": text},
			runs:   map[string]string{"r.example:443": "REGISTRY", "m.example:443": "MIRROR", "n.example:443": "SECOND"},
			faults: faults, want: []string{want},
		}
	}
	mirror := "[host.'https://m.example']\n"
	at := func(host string, fault func(http.ResponseWriter, *http.Request) bool) faults {
		return faults{host + ":443": fault}
	}
	with := func(r row, change func(*row)) row { change(&r); return r }
	named := func(r row, files map[string]string) row {
		return with(r, func(r *row) { r.files = files })
	}
	rows := map[string]row{
		"a mirror":                   hosts(mirror, "MIRROR", nil),
		"two, in their order":        hosts("[host.'https://n.example']\n"+mirror, "SECOND", nil),
		"two, and the first is down": hosts("[host.'https://none.example']\n"+mirror, "MIRROR", nil),
		"the mirror wants ?ns=":      hosts(mirror, "MIRROR", at("m.example", wantsNS("r.example"))),
		"the mirror wants the credential of the name": with(hosts(mirror, "MIRROR", at("m.example", tokens(only("alice", "right"), bearer))),
			func(r *row) { r.users = alice }),
		"the credential is wrong at the mirror and right at the registry": with(hosts(mirror, "REGISTRY", faults{
			"m.example:443": basicThat(200), "r.example:443": tokens(only("bob", "x"), bearer)}), func(r *row) {
			r.users = []user{{"bob", "x"}}
			r.faults["m.example:443"] = basicThat(403)
		}),
		"server replaces the registry":               hosts("server = 'https://m.example'\n", "MIRROR", nil),
		"server replaces it, and is down":            hosts("server = 'https://none.example'\n", "", nil),
		"server replaces it, and fails":              hosts("server = 'https://m.example'\n", "", at("m.example", respond(503))),
		"server and a host":                          hosts("server = 'https://m.example'\n[host.'https://n.example']\n", "SECOND", nil),
		"server and a host, which is down":           hosts("server = 'https://m.example'\n[host.'https://none.example']\n", "MIRROR", nil),
		"server without a scheme":                    hosts("server = 'm.example'\n", "MIRROR", nil),
		"pull alone, by tag":                         hosts(mirror+"capabilities = ['pull']\n", "REGISTRY", nil),
		"resolve alone":                              hosts(mirror+"capabilities = ['resolve']\n", "REGISTRY", nil),
		"push alone":                                 hosts(mirror+"capabilities = ['push']\n", "REGISTRY", nil),
		"capabilities in capitals":                   hosts(mirror+"capabilities = ['Pull', 'RESOLVE']\n", "MIRROR", nil),
		"referrers besides":                          hosts(mirror+"capabilities = ['pull', 'resolve', 'referrers']\n", "MIRROR", nil),
		"no capabilities":                            hosts(mirror+"capabilities = []\n", "MIRROR", nil),
		"nobody resolves":                            hosts("server = 'https://m.example'\ncapabilities = ['pull']\n", "", nil),
		"an unknown capability: the file is no good": hosts(mirror+"capabilities = ['pull', 'bake']\n", "REGISTRY", nil),
		"no TOML":                       hosts("server = ", "REGISTRY", nil),
		"another scheme":                hosts("[host.'ftp://m.example']\n", "REGISTRY", nil),
		"empty":                         hosts("", "REGISTRY", nil),
		"what containerd does not know": hosts(mirror+"future = 7\n", "MIRROR", nil),
		"a header": hosts(mirror+"[host.'https://m.example'.header]\nx-key = 'good'\n", "MIRROR", at("m.example", func(w http.ResponseWriter, r *http.Request) bool {
			return r.Header.Get("x-key") != "good" && respond(403)(w, r)
		})),
		"a header that authorizes": hosts(mirror+"[host.'https://m.example'.header]\nauthorization = 'Basic YWxpY2U6cmlnaHQ='\n", "MIRROR", at("m.example", basicThat(403))),
		"a header of two values": hosts(mirror+"[host.'https://m.example'.header]\nx-key = ['a', 'b']\n", "MIRROR", at("m.example", func(w http.ResponseWriter, r *http.Request) bool {
			return len(r.Header.Values("x-key")) != 2 && respond(403)(w, r)
		})),
		"skip_verify on a host of HTTP":             with(hosts("[host.'http://plain.example:5000']\nskip_verify = true\n", "PLAIN", nil), func(r *row) { r.runs["plain.example:5000"] = "PLAIN" }),
		"a host of HTTP":                            with(hosts("[host.'http://plain.example:5000']\n", "PLAIN", nil), func(r *row) { r.runs["plain.example:5000"] = "PLAIN" }),
		"a host of HTTP with credentials":           with(hosts("[host.'http://plain.example:5000']\n", "PLAIN", faults{"plain.example:5000": basicThat(403)}), func(r *row) { r.runs["plain.example:5000"] = "PLAIN"; r.users = alice }),
		"the registry by HTTP":                      {image: "r.example:5000/team/app:1", files: map[string]string{"r.example:5000/hosts.toml": "[host.'http://r.example:5000']\n"}, runs: map[string]string{"r.example:5000": "PLAIN"}, want: []string{"PLAIN"}},
		"the directory has a port":                  {image: "r.example:444/team/app:1", files: map[string]string{"r.example:444/hosts.toml": mirror}, runs: map[string]string{"r.example:444": "REGISTRY", "m.example:443": "MIRROR"}, want: []string{"MIRROR"}},
		"the directory has _port_":                  {image: "r.example:444/team/app:1", files: map[string]string{"r.example_444_/hosts.toml": mirror, "r.example:444/hosts.toml": ""}, runs: map[string]string{"r.example:444": "REGISTRY", "m.example:443": "MIRROR"}, want: []string{"MIRROR"}},
		"the directory has no port":                 {image: "r.example:444/team/app:1", files: map[string]string{"r.example/hosts.toml": mirror}, runs: map[string]string{"r.example:444": "REGISTRY", "m.example:443": "MIRROR"}, want: []string{"REGISTRY"}},
		"override_path":                             with(hosts("[host.'https://m.example/v2/hub']\noverride_path = true\n", "HUB", nil), func(r *row) { r.runs = map[string]string{"m.example:443/hub": "HUB", "r.example:443": "REGISTRY"} }),
		"a path without override_path":              with(hosts("[host.'https://m.example/v2/hub']\n", "REGISTRY", nil), func(r *row) { r.runs = map[string]string{"m.example:443/hub": "HUB", "r.example:443": "REGISTRY"} }),
		"a path that ends in /v2":                   hosts("[host.'https://m.example/v2']\n", "MIRROR", nil),
		"a path that ends in /v2/":                  hosts("[host.'https://m.example/v2/']\n", "MIRROR", nil),
		"another path that ends in /v2":             hosts("[host.'https://m.example/api/docker/hub/v2']\noverride_path = true\n", "MIRROR", at("m.example", below("/api/docker/hub"))),
		"another path":                              hosts("[host.'https://m.example/api/docker/hub']\n", "MIRROR", at("m.example", below("/api/docker/hub"))),
		"override_path without a path":              hosts(mirror+"override_path = true\n", "REGISTRY", nil),
		"dial_timeout":                              hosts(mirror+"dial_timeout = '1s'\n", "MIRROR", nil),
		"a client certificate and its key":          named(hosts("", "MIRROR", at("m.example", wantsCertificate)), map[string]string{"r.example/hosts.toml": mirror + "client = [['c.cert', 'c.key']]\n", "r.example/c.cert": client, "r.example/c.key": key}),
		"a client certificate in one file":          named(hosts("", "MIRROR", at("m.example", wantsCertificate)), map[string]string{"r.example/hosts.toml": mirror + "client = 'c.pem'\n", "r.example/c.pem": client + key}),
		"a client certificate for the server alone": named(hosts("", "REGISTRY", at("m.example", wantsCertificate)), map[string]string{"r.example/hosts.toml": "client = 'c.pem'\n" + mirror, "r.example/c.pem": client + key}),
		"a CA":                                    named(hosts("", "MIRROR", nil), map[string]string{"r.example/hosts.toml": mirror + "ca = 'ca.pem'\n", "r.example/ca.pem": ca}),
		"two CAs":                                 named(hosts("", "MIRROR", nil), map[string]string{"r.example/hosts.toml": mirror + "ca = ['ca.pem', 'ca.pem']\n", "r.example/ca.pem": ca}),
		"a CA that is missing":                    hosts(mirror+"ca = 'ca.pem'\n", "", nil),
		"a CA that is none":                       named(hosts("", "", nil), map[string]string{"r.example/hosts.toml": mirror + "ca = 'ca.pem'\n", "r.example/ca.pem": "x"}),
		"certificates without hosts.toml":         named(hosts("", "REGISTRY", at("r.example", wantsCertificate)), map[string]string{"r.example/ca.crt": ca, "r.example/client.cert": client, "r.example/client.key": key}),
		"_default":                                named(hosts("", "MIRROR", at("m.example", wantsNS("r.example"))), map[string]string{"_default/hosts.toml": mirror}),
		"_default, where the mirror has not all":  named(hosts("", "REGISTRY", at("m.example", respond(404))), map[string]string{"_default/hosts.toml": mirror}),
		"_default with server":                    named(hosts("", "MIRROR", nil), map[string]string{"_default/hosts.toml": "server = 'https://m.example'\n"}),
		"_default beside its own":                 named(hosts("", "SECOND", nil), map[string]string{"_default/hosts.toml": mirror, "r.example/hosts.toml": "[host.'https://n.example']\n"}),
		"_default beside its own, which is empty": named(hosts("", "REGISTRY", nil), map[string]string{"_default/hosts.toml": mirror, "r.example/hosts.toml": ""}),
		"another registry's":                      named(hosts("", "REGISTRY", nil), map[string]string{"q.example/hosts.toml": mirror}),
		"stray directories":                       named(hosts("", "REGISTRY", nil), map[string]string{"lost+found/x": "", "old registry/hosts.toml": "server = ", "x.example/hosts.toml": "["}),
		"Docker Hub without server":               {image: "nginx:1", files: map[string]string{"docker.io/hosts.toml": mirror}, runs: map[string]string{"registry-1.docker.io:443": "HUB", "m.example:443": "MIRROR"}, want: []string{"MIRROR"}},
		"Docker Hub without server, not there":    {image: "nginx:1", files: map[string]string{"docker.io/hosts.toml": mirror}, runs: map[string]string{"registry-1.docker.io:443": "HUB"}, want: []string{"HUB"}},
		"Docker Hub with ?ns=":                    {image: "nginx:1", files: map[string]string{"docker.io/hosts.toml": mirror}, runs: map[string]string{"registry-1.docker.io:443": "HUB", "m.example:443": "MIRROR"}, faults: at("m.example", wantsNS("docker.io")), want: []string{"MIRROR"}},
		"Docker Hub by index.docker.io":           {image: "index.docker.io/library/nginx:1", runs: map[string]string{"registry-1.docker.io:443": "HUB"}, want: []string{"HUB"}},
		"Docker Hub by its host":                  {image: "registry-1.docker.io/library/nginx:1", files: map[string]string{"docker.io/hosts.toml": mirror}, runs: map[string]string{"registry-1.docker.io:443": "HUB", "m.example:443": "MIRROR"}, want: []string{"HUB"}},
		"the registry knows the digest, a mirror for pulling has the content": with(hosts(mirror+"capabilities = ['pull']\n", "SAME", at("r.example", limitedContent)),
			func(r *row) { r.runs = map[string]string{"r.example:443": "SAME", "m.example:443": "SAME"} }),
	}
	for _, code := range []int{401, 403, 404, 429, 500, 502, 503} {
		rows[fmt.Sprintf("the mirror answers %d", code)] = hosts(mirror, "REGISTRY", at("m.example", respond(code)))
	}
	rows["the mirror's token server fails"] = hosts(mirror, "REGISTRY", at("m.example", tokens(status(500), bearer)))
	rows["the mirror hangs up"] = hosts(mirror, "REGISTRY", at("m.example", closing))
	return rows
}

// limitedContent is Docker Hub's limit: HEAD is free.
func limitedContent(w http.ResponseWriter, r *http.Request) bool {
	return r.Method == http.MethodGet && respond(429)(w, r)
}

// below is a registry that is kept below a path.
func below(path string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		rest, ok := strings.CutPrefix(r.URL.Path, path)
		if !ok {
			return respond(404)(w, r)
		}
		r.URL.Path = rest
		return false
	}
}

// documentedRows are the hosts.toml of containerd's docs/hosts.md and those that k3s' documentation has k3s write from its
// registries.yaml (pkg/agent/templates/hosts.toml.tmpl).
func documentedRows(t *testing.T) map[string]row {
	t.Helper()
	ca, _ := pemOf(authority())
	client, key := pemOf(certificate("client.example"))
	hub := func(text, want string, others ...string) row {
		r := row{
			image: "nginx:1", files: map[string]string{"docker.io/hosts.toml": text},
			runs: map[string]string{"registry-1.docker.io:443": "HUB"}, want: []string{want},
		}
		for _, at := range others {
			r.runs[at] = strings.ToUpper(at)
		}
		return r
	}
	files := func(r row, files map[string]string) row {
		for name, text := range files {
			r.files[name] = text
		}
		return r
	}
	k3s := func(registry string) string {
		return "# File generated by k3s. DO NOT EDIT.\n\n\nserver = \"https://" + registry + "/v2\"\ncapabilities = [\"pull\", \"resolve\", \"push\"]\n"
	}
	return map[string]row{
		"containerd: simple": hub("server = \"https://docker.io\"\n\n[host.\"https://registry-1.docker.io\"]\n  capabilities = [\"pull\", \"resolve\"]\n", "HUB"),
		"containerd: local mirror": files(hub(`
server = "https://registry-1.docker.io"    # Exclude this to not use upstream

[host."https://public-mirror.example.com"]
  capabilities = ["pull"]                  # Requires less trust, won't resolve tag to digest from this host
[host."https://docker-mirror.internal"]
  capabilities = ["pull", "resolve"]
  ca = "docker-mirror.crt"                 # Or absolute path /etc/containerd/certs.d/docker.io/docker-mirror.crt
`, "DOCKER-MIRROR.INTERNAL:443", "public-mirror.example.com:443", "docker-mirror.internal:443"), map[string]string{"docker.io/docker-mirror.crt": ca}),
		"containerd: default mirror": {
			files: map[string]string{"_default/hosts.toml": "[host.\"https://registry.example.com\"]\n  capabilities = [\"pull\", \"resolve\"]\n"},
			runs:  map[string]string{"r.example:443": "REGISTRY", "registry.example.com:443": "MIRROR"}, want: []string{"MIRROR"},
		},
		"containerd: default mirror alone": {
			files: map[string]string{"_default/hosts.toml": "server = \"https://registry.example.com\"\n"},
			runs:  map[string]string{"r.example:443": "REGISTRY", "registry.example.com:443": "MIRROR"}, faults: faults{"registry.example.com:443": respond(404)}, want: []string{""},
		},
		"containerd: bypass TLS verification": hub(`
server = "https://registry-1.docker.io"

[host."http://192.168.31.250:5000"]
  capabilities = ["pull", "resolve", "push"]
  skip_verify = true
`, "192.168.31.250:5000", "192.168.31.250:5000"),
		// The second file of the last pair, "", is for containerd the directory, which cannot be read: no image is pulled.
		"containerd: all fields": files(hub(`
server = "https://docker.io"
[host."https://mirror.registry"]
  capabilities = ["pull"]
  ca = "mirror.pem"
  skip_verify = false
  [host."https://mirror.registry".header]
    x-custom-2 = ["value1", "value2"]

[host."https://mirror-bak.registry/us"]
  capabilities = ["pull"]
  skip_verify = true

[host."http://mirror.registry"]
  capabilities = ["pull"]

[host."https://test-1.registry"]
  capabilities = ["pull", "resolve", "push"]
  ca = ["test-1-ca.pem", "special.pem"]
  client = [["client.cert", "client.key"],["client.pem", ""]]

[host."https://test-2.registry"]
  client = "client.pem"

[host."https://test-3.registry"]
  client = ["client-1.pem", "client-2.pem"]

[host."https://non-compliant-mirror.registry/v2/upstream"]
  capabilities = ["pull"]
  override_path = true
`, "", "test-2.registry:443", "test-3.registry:443"), map[string]string{
			"docker.io/mirror.pem": ca, "docker.io/test-1-ca.pem": ca, "docker.io/special.pem": ca, "docker.io/client.cert": client, "docker.io/client.key": key,
			"docker.io/client.pem": client + key, "docker.io/client-1.pem": client + key, "docker.io/client-2.pem": client + key,
		}),
		"containerd: the last three hosts": files(hub(`
[host."https://test-2.registry"]
  client = "client.pem"

[host."https://test-3.registry"]
  client = ["client-1.pem", "client-2.pem"]

[host."https://non-compliant-mirror.registry/v2/upstream"]
  capabilities = ["pull"]
  override_path = true
`, "TEST-3.REGISTRY:443", "test-3.registry:443"), map[string]string{
			"docker.io/client.pem": client + key, "docker.io/client-1.pem": client + key, "docker.io/client-2.pem": client + key,
		}),
		"containerd: a host in a host, which is not allowed": hub(`
[host."http://mirror.registry:5000"]
  capabilities = ["pull"]
  [host."http://double-mirror.registry:5000"]
    capabilities = ["pull"]
`, "HUB", "mirror.registry:5000", "double-mirror.registry:5000"),
		"k3s: a mirror": hub(k3s("registry-1.docker.io")+`

[host]
[host."https://registry.example.com:5001/v2"]
  capabilities = ["pull", "resolve"]
`, "REGISTRY.EXAMPLE.COM:5001", "registry.example.com:5001"),
		"k3s: a mirror with TLS": files(hub(k3s("registry-1.docker.io")+`

[host]
[host."https://registry.example.com:5001/v2"]
  capabilities = ["pull", "resolve"]
  ca = ["ca.pem"]
  client = [["cert.pem", "key.pem"]]
`, "REGISTRY.EXAMPLE.COM:5001", "registry.example.com:5001"), map[string]string{"docker.io/ca.pem": ca, "docker.io/cert.pem": client, "docker.io/key.pem": key}),
		"k3s: a mirror without TLS": hub(k3s("registry-1.docker.io")+`

[host]
[host."http://registry.example.com:5000/v2"]
  capabilities = ["pull", "resolve"]
`, "REGISTRY.EXAMPLE.COM:5000", "registry.example.com:5000"),
		"k3s: the registry without verification": {
			files: map[string]string{"r.example/hosts.toml": k3s("r.example") + "skip_verify = true\n"},
			want:  []string{"RIGHT"},
		},
		"k3s: all registries": {
			files: map[string]string{"_default/hosts.toml": `# File generated by k3s. DO NOT EDIT.


[host]
[host."https://registry.example.com:5001/v2"]
  capabilities = ["pull", "resolve"]
`},
			runs: map[string]string{"r.example:443": "REGISTRY", "registry.example.com:5001": "MIRROR"}, want: []string{"MIRROR"},
		},
		"k3s: the embedded registry": files(row{
			files: map[string]string{"r.example/hosts.toml": k3s("r.example") + `

[host]
[host."https://127.0.0.1:6443/v2"]
  capabilities = ["pull", "resolve"]
  ca = ["server-ca.crt"]
  client = [["client.crt", "client.key"]]
`},
			runs: map[string]string{"r.example:443": "REGISTRY", "127.0.0.1:6443": "EMBEDDED"},
			faults: faults{"127.0.0.1:6443": func(w http.ResponseWriter, r *http.Request) bool {
				return wantsCertificate(w, r) || wantsNS("r.example")(w, r)
			}}, want: []string{"EMBEDDED"},
		}, map[string]string{"r.example/server-ca.crt": ca, "r.example/client.crt": client, "r.example/client.key": key}),
	}
}

// parts makes an index; each part is written "OS/ARCHITECTURE/VARIANT=WORDS", with "-" for none, and "=WORDS" for one
// without a platform in the index.
func parts(all ...string) v1.ImageIndex {
	i := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, text := range all {
		name, words, _ := strings.Cut(text, "=")
		fields := append(strings.Split(name, "/"), "", "")
		part := image("linux", "amd64", words)
		var platform *v1.Platform
		if name != "" {
			platform = &v1.Platform{OS: strings.Trim(fields[0], "-"), Architecture: fields[1], Variant: fields[2]}
		}
		i = mutate.AppendManifests(i, mutate.IndexAddendum{Add: part, Descriptor: v1.Descriptor{Platform: platform}})
	}
	return i
}

// nested puts an index into another.
func nested(inner v1.ImageIndex, platform *v1.Platform, others ...string) v1.ImageIndex {
	return mutate.AppendManifests(parts(others...), mutate.IndexAddendum{Add: inner, Descriptor: v1.Descriptor{Platform: platform, MediaType: types.OCIImageIndex}})
}

func configType(i v1.Image, kind types.MediaType) v1.Image {
	return mutate.ConfigMediaType(mutate.MediaType(i, types.OCIManifestSchema1), kind)
}

func platformRows() map[string]row {
	all := func(architectures ...string) []ocispec.Platform {
		var nodes []ocispec.Platform
		for _, architecture := range architectures {
			nodes = append(nodes, linux(architecture))
		}
		return nodes
	}
	usual := all("amd64", "arm64")
	arms := all("arm/v5", "arm/v6", "arm/v7", "arm64")
	of := func(what remote.Taggable, nodes []ocispec.Platform, want ...string) row {
		return row{what: what, nodes: nodes, want: want}
	}
	rows := map[string]row{
		"both":                               of(parts("linux/amd64=a", "linux/arm64=b"), usual, "a", "b"),
		"the same":                           of(parts("linux/amd64=a", "linux/arm64=a"), usual, "a"),
		"no index":                           of(image("linux", "amd64", "a"), usual, "a"),
		"no index, of another":               of(image("linux", "s390x", "a"), usual, "a"),
		"arm on arm64":                       of(parts("linux/amd64=a", "linux/arm/v7=b"), usual, "a", "b"),
		"arm on arm64 beside it":             of(parts("linux/amd64=a", "linux/arm/v7=b", "linux/arm64=c"), usual, "a", "c"),
		"arm on arm64 before it":             of(parts("linux/arm/v6=b", "linux/arm/v7=c", "linux/arm/v5=a"), arms, "a", "b", "c", "c"),
		"386 on amd64":                       of(parts("linux/386=a", "linux/arm64=b"), usual, "a", "b"),
		"386 on amd64 before it":             of(parts("linux/386=a", "linux/amd64=b"), all("amd64", "386"), "b", "a"),
		"i386 on amd64":                      of(parts("linux/i386=a", "linux/arm64=b"), usual, "a", "b"),
		"x86_64 and aarch64":                 of(parts("linux/x86_64=a", "linux/aarch64=b"), usual, "a", "b"),
		"in capitals":                        of(parts("Linux/AMD64=a", "LINUX/Arm64=b"), usual, "a", "b"),
		"armhf and armel":                    of(parts("linux/armel=a", "linux/armhf=b"), all("arm/v6", "arm/v7", "arm64"), "a", "b", "b"),
		"arm without a variant":              of(parts("linux/arm=a", "linux/arm64=b"), all("arm/v7", "arm64"), "a", "b"),
		"arm64/v8":                           of(parts("linux/amd64=a", "linux/arm64/v8=b"), usual, "a", "b"),
		"arm64/8":                            of(parts("linux/amd64=a", "linux/arm64/8=b"), usual, "a", "b"),
		"arm64/v9 is not for each":           of(parts("linux/amd64=a", "linux/arm64/v9=b", "linux/arm64=c"), usual, "a", "c"),
		"amd64/v1":                           of(parts("linux/amd64/v1=a", "linux/arm64=b"), usual, "a", "b"),
		"amd64/v2 is not for each":           of(parts("linux/amd64/v2=x", "linux/amd64=a", "linux/arm64=b"), usual, "a", "b"),
		"amd64/v3 alone":                     of(parts("linux/amd64/v3=x", "linux/arm64=b"), usual, "", "b"),
		"ARM's variants":                     of(parts("linux/arm/v6=a", "linux/arm/v7=b", "linux/arm64=c"), all("arm/v6", "arm/v7", "arm64"), "a", "b", "c"),
		"ARM's variants the other way round": of(parts("linux/arm/v7=b", "linux/arm/v6=a", "linux/arm64=c"), all("arm/v6", "arm/v7", "arm64"), "a", "b", "c"),
		"ARM v5":                             of(parts("linux/arm/v5=a", "linux/arm64=c"), arms, "a", "a", "a", "c"),
		"the first of two":                   of(parts("linux/amd64=a", "linux/amd64=x", "linux/arm64=b"), usual, "a", "b"),
		"no OS":                              of(parts("-/amd64=a", "-/arm64=b"), usual, "a", "b"),
		"no platform, which says it itself":  of(parts("=a"), all("amd64"), "a"),
		"no platform, of another":            of(parts("=a"), all("arm64"), ""),
		"no platform behind one":             of(parts("=x", "linux/amd64=a"), all("amd64"), "a"),
		"attested":                           of(parts("linux/amd64=a", "unknown/unknown=x", "linux/arm64=b"), usual, "a", "b"),
		"for Windows besides":                of(parts("windows/amd64=x", "linux/amd64=a", "linux/arm64=b"), usual, "a", "b"),
		"for Windows alone":                  of(parts("windows/amd64=x"), usual, ""),
		"for WASM besides":                   of(parts("wasip1/wasm=x", "linux/amd64=a", "linux/arm64=b"), usual, "a", "b"),
		"for one of both":                    of(parts("linux/amd64=a", "linux/ppc64le=x"), all("amd64"), "a"),
		"for none of them":                   of(parts("linux/ppc64le=a", "linux/s390x=x"), usual, ""),
		"nothing":                            of(parts(), usual, ""),
		"more architectures":                 of(parts("linux/ppc64le=a", "linux/s390x=b", "linux/riscv64=c", "linux/loong64=d"), all("ppc64le", "s390x", "riscv64", "loong64"), "a", "b", "c", "d"),
		"an index in an index":               of(nested(parts("linux/amd64=a", "linux/arm64=b"), nil), usual, "a", "b"),
		"an index in an index, for one":      of(nested(parts("linux/amd64=a"), &v1.Platform{OS: "linux", Architecture: "amd64"}, "linux/arm64=b"), usual, "a", "b"),
		"an index in an index, behind":       of(nested(parts("linux/amd64=x"), nil, "linux/amd64=a", "linux/arm64=b"), usual, "a", "b"),
		"two deep":                           of(nested(nested(parts("linux/amd64=a", "linux/arm64=b"), nil), nil), usual, "a", "b"),
		"a Docker list":                      of(mutate.IndexMediaType(parts("linux/amd64=a", "linux/arm64=b"), types.DockerManifestList), usual, "a", "b"),
		"an artifact":                        of(configType(image("linux", "amd64", "x"), "application/vnd.example.chart"), all("amd64"), ""),
		"an artifact in an index":            of(mutate.AppendManifests(parts("linux/amd64=a"), mutate.IndexAddendum{Add: configType(image("linux", "amd64", "x"), "application/vnd.example.chart")}), all("amd64"), "a"),
	}
	for _, kind := range []types.MediaType{types.OCIConfigJSON, types.DockerConfigJSON, "application/octet-stream", ""} {
		rows[fmt.Sprintf("a config of %q", kind)] = of(withConfigType(image("linux", "amd64", "a"), kind), all("amd64"), "a")
	}
	return rows
}

// typed is an image whose manifest names another media type of its config, none included.
type typed struct {
	v1.Image
	kind types.MediaType
}

func withConfigType(i v1.Image, kind types.MediaType) remote.Taggable {
	if kind != "" {
		return configType(i, kind)
	}
	return typed{mutate.MediaType(i, types.OCIManifestSchema1), kind}
}

func (i typed) RawManifest() ([]byte, error) {
	raw, err := i.Image.RawManifest()
	return []byte(strings.Replace(string(raw), string(types.DockerConfigJSON), string(i.kind), 1)), err
}

func (i typed) Manifest() (*v1.Manifest, error) { return partial.Manifest(i) }

func (i typed) Digest() (v1.Hash, error) { return partial.Digest(i) }

func (i typed) Size() (int64, error) { return partial.Size(i) }
