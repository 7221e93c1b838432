package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	containerdlog "github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/registry/registrytest"
	"github.com/podinit/podinit/test/pki"
)

// net of fake registries, by host and port as they are connected to. Whoever dials anything else is refused.
type fakeNet struct {
	t     *testing.T
	mu    sync.Mutex
	hosts map[string]*fakeHost
}

// fakeHost is a registry, or what stands in its way.
type fakeHost struct {
	server *httptest.Server
	inner  http.Handler
	mu     sync.Mutex
	fault  func(http.ResponseWriter, *http.Request) bool
	asked  int
}

// authority signs the certificates of all fake hosts that speak TLS, and of clients. The system's roots have it.
var authority = sync.OnceValue(func() *pki.Pair { return pki.NewAuthority("fake") })

// certificate for one name, of a server or a client.
func certificate(name string) *pki.Pair {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	return authority().Issue(template)
}

func pemOf(p *pki.Pair) (certificate, key string) { return string(p.PEM()), string(p.KeyPEM()) }

func TestMain(m *testing.M) {
	os.Exit(func() int {
		file, err := os.CreateTemp("", "roots")
		if err != nil {
			panic(err)
		}
		defer os.Remove(file.Name())
		text, _ := pemOf(authority())
		if _, err := file.WriteString(text); err != nil {
			panic(err)
		}
		os.Setenv("SSL_CERT_FILE", file.Name()) // read once, at the first use
		return m.Run()
	}())
}

// host is a registry that is connected to there: by TLS, except on ports 80 and 5000.
func (n *fakeNet) host(address string) *fakeHost {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h, ok := n.hosts[address]; ok {
		return h
	}
	h := &fakeHost{inner: registrytest.New()}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked++
		fault := h.fault
		h.mu.Unlock()
		if fault != nil && fault(w, r) {
			return
		}
		h.inner.ServeHTTP(w, r)
	}))
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		n.t.Fatal(err)
	}
	if port == "80" || port == "5000" {
		h.server.Start()
	} else {
		issuer := x509.NewCertPool()
		issuer.AddCert(authority().Certificate)
		h.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(name).TLS()}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: issuer}
		h.server.StartTLS()
	}
	n.t.Cleanup(h.server.Close)
	n.hosts[address] = h
	return h
}

func (n *fakeNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	h, ok := n.hosts[address]
	n.mu.Unlock()
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
	}
	return (&net.Dialer{}).DialContext(ctx, network, h.server.Listener.Addr().String())
}

// push puts an image there without anything in its way.
func (h *fakeHost) push(t *testing.T, repository, tag string, what remote.Taggable) string {
	t.Helper()
	put := func(path, contentType string, text []byte) {
		r := httptest.NewRequest(http.MethodPut, path, bytes.NewReader(text))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		if h.inner.ServeHTTP(w, r); w.Code >= 300 {
			t.Fatalf("PUT %s: %d %s", path, w.Code, w.Body)
		}
	}
	var walk func(remote.Taggable) (string, []byte)
	walk = func(what remote.Taggable) (string, []byte) {
		raw, err := what.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		switch what := what.(type) {
		case v1.Image:
			text, err := what.RawConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			digest, err := what.ConfigName()
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+digest.String(), bytes.NewReader(text))
			w := httptest.NewRecorder()
			if h.inner.ServeHTTP(w, r); w.Code >= 300 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		case v1.ImageIndex:
			index, err := what.IndexManifest()
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range index.Manifests {
				var child remote.Taggable
				if part.MediaType.IsIndex() {
					child, err = what.ImageIndex(part.Digest)
				} else {
					child, err = what.Image(part.Digest)
				}
				if err != nil {
					t.Fatal(err)
				}
				kind, text := walk(child)
				put("/v2/"+repository+"/manifests/"+part.Digest.String(), kind, text)
			}
		}
		kind, err := partial.Descriptor(what.(partial.Describable))
		if err != nil {
			t.Fatal(err)
		}
		return string(kind.MediaType), raw
	}
	kind, text := walk(what)
	put("/v2/"+repository+"/manifests/"+tag, kind, text)
	described, err := partial.Descriptor(what.(partial.Describable))
	if err != nil {
		t.Fatal(err)
	}
	put("/v2/"+repository+"/manifests/"+described.Digest.String(), kind, text)
	return described.Digest.String()
}

// user and password, as a Secret has them.
type user struct{ name, password string }

// onNode is what a node of this architecture runs of an image: the kubelet tries the credentials one after the other, and
// containerd's CRI goes through the hosts with each (internal/cri/server/images, PullImage).
func onNode(t *testing.T, n *fakeNet, image, certsD string, users []user, node ocispec.Platform) (string, error) {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return "", err
	}
	if len(users) == 0 {
		users = []user{{}}
	}
	var last error
	for _, u := range users {
		ctx := containerdlog.WithLogger(t.Context(), silent)
		answer, err := pull(ctx, docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, config.HostOptions{
			Credentials: func(string) (string, string, error) { return u.name, u.password, nil },
			HostDir:     config.HostDirFromRoot(certsD),
			UpdateClient: func(client *http.Client) error {
				if transport, ok := client.Transport.(*http.Transport); ok {
					transport.DialContext = n.dial
				}
				return nil
			},
		})}), named.String(), platforms.Only(node))
		if err == nil {
			return answer, nil
		}
		last = err
	}
	return "", last
}

func pull(ctx context.Context, resolver remotes.Resolver, name string, node platforms.MatchComparer) (string, error) {
	name, desc, err := resolver.Resolve(ctx, name)
	if err != nil {
		return "", err
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return "", err
	}
	store := fetched{fetcher}
	config, err := images.Config(ctx, store, desc, node)
	if err != nil {
		return "", err
	}
	switch config.MediaType { // else containerd unpacks nothing (core/unpack), converting the third (docker.ConvertManifest)
	case ocispec.MediaTypeImageConfig, images.MediaTypeDockerSchema2Config, docker.LegacyConfigMediaType, "":
	default:
		return "", fmt.Errorf("a config of %s", config.MediaType)
	}
	text, err := content.ReadBlob(ctx, store, config)
	if err != nil {
		return "", err
	}
	var image ocispec.Image
	if err := json.Unmarshal(text, &image); err != nil {
		return "", err
	}
	return strings.Join(append(image.Config.Entrypoint, image.Config.Cmd...), " "), nil
}

// fetched is a content.Provider that has what a Fetcher fetches, as containerd's store after a pull.
type fetched struct{ fetcher remotes.Fetcher }

func (f fetched) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	body, err := f.fetcher.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if got := desc.Digest.Algorithm().FromBytes(text); got != desc.Digest || int64(len(text)) != desc.Size {
		return nil, fmt.Errorf("%s has %d bytes of %s", desc.Digest, len(text), got)
	}
	return readerAt{bytes.NewReader(text)}, nil
}

type readerAt struct{ *bytes.Reader }

func (readerAt) Close() error { return nil }

// byPodinit is what podinit says that a node of this architecture runs, in a cluster of all these nodes: the init there
// chooses from what --platform offers.
func byPodinit(t *testing.T, n *fakeNet, image, configFile string, users []user, nodes []ocispec.Platform) ([]string, error) {
	t.Helper()
	read, err := ReadConfig(configFile)
	if err != nil {
		return nil, fmt.Errorf("the webhook does not start: %w", err)
	}
	ref, err := imageconfig.ParseReference(image)
	if err != nil {
		return nil, err
	}
	auths := map[string]*corev1.Secret{}
	query := imageconfig.Query{Reference: ref, Namespace: "team"}
	for i, u := range users {
		name := fmt.Sprint(i)
		auths[name] = secret(false, map[string]string{dockerHub(ref.Registry): u.name + ":" + u.password})
		query.PullSecrets = append(query.PullSecrets, name)
	}
	for _, node := range nodes {
		if !slices.Contains(query.Architectures, node.Architecture) {
			query.Architectures = append(query.Architectures, node.Architecture)
		}
	}
	slices.Sort(query.Architectures)
	registries, err := New(read, func(_ context.Context, _, name string) (*corev1.Secret, error) { return auths[name], nil }, func() time.Time { return time.Unix(1e9, 0) })
	if err != nil {
		return nil, fmt.Errorf("the webhook does not start: %w", err)
	}
	dialFake(t, registries, ref, n)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	found, err := imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now).Lookup(ctx, query)
	if err != nil {
		return nil, err
	}
	configs, failure := found.Image.On(query.Architectures)
	if failure != nil {
		return nil, failure
	}
	var words []string
	for _, config := range configs {
		word := strings.Join(append(config.Entrypoint, config.Cmd...), " ")
		if len(configs) == 1 {
			return slices.Repeat([]string{word}, len(nodes)), nil
		}
		words = append(words, options.Platform{Name: config.Platform.String(), Words: 1}.String(), word)
	}
	words = append(words, "--")
	var all []string
	for _, node := range nodes {
		machine := options.Machine{Architecture: node.Architecture}
		if node.Architecture == "arm" {
			machine.ARM = int(node.Variant[1] - '0')
		}
		choice, problem := options.Choose(words, 0, machine)
		if problem.Any() || choice.Words == 0 {
			all = append(all, "")
			continue
		}
		all = append(all, words[choice.First])
	}
	return all, nil
}

// row is one situation that a node meets.
type row struct {
	// image that is pulled; r.example/team/app:1 if empty.
	image string
	// files of certs.d.
	files map[string]string
	// runs is what the image runs at each address, "" for the image at r.example:443 if there is no more to say.
	runs map[string]string
	// what is pushed instead, at r.example.
	what remote.Taggable
	// faults by address.
	faults map[string]func(http.ResponseWriter, *http.Request) bool
	users  []user
	nodes  []ocispec.Platform
	// want is what the nodes run, one for each node or one for all; "" if the image cannot be pulled.
	want []string
}

func linux(architecture string) ocispec.Platform {
	p := ocispec.Platform{OS: "linux", Architecture: architecture}
	if before, variant, ok := strings.Cut(architecture, "/"); ok {
		p.Architecture, p.Variant = before, variant
	}
	return p
}

// TestConformance asks the same registries as a node with containerd does and as podinit does: podinit's belief is of use
// only where both get the same. containerd picks platforms by the system that it runs on, which is Linux on nodes.
func TestConformance(t *testing.T) {
	for group, rows := range map[string]map[string]row{
		"asking": askingRows(), "tokens": tokenRows(), "credentials": credentialRows(), "hosts": hostsRows(t), "documented": documentedRows(t), "platforms": platformRows(),
	} {
		for name, c := range rows {
			t.Run(group+"/"+name, func(t *testing.T) { c.run(t) })
		}
	}
}

func (c row) run(t *testing.T) {
	if c.image == "" {
		c.image = "r.example/team/app:1"
	}
	if c.nodes == nil {
		c.nodes = []ocispec.Platform{linux("amd64")}
	}
	if len(c.want) == 1 {
		c.want = slices.Repeat(c.want, len(c.nodes))
	}
	n := &fakeNet{t: t, hosts: map[string]*fakeHost{}}
	named, err := reference.ParseDockerRef(c.image)
	if err != nil {
		t.Fatal(err)
	}
	repository := reference.Path(named)
	if c.runs == nil && c.what == nil {
		c.runs = map[string]string{"r.example:443": "RIGHT"}
	}
	for at, words := range c.runs {
		address, below, _ := strings.Cut(at, "/")
		n.host(address).push(t, strings.TrimPrefix(below+"/"+repository, "/"), "1", image("linux", "amd64", words))
	}
	if c.what != nil {
		n.host("r.example:443").push(t, repository, "1", c.what)
	}
	set := func() {
		for address, fault := range c.faults {
			h := n.host(address)
			h.mu.Lock()
			h.fault = fault
			h.mu.Unlock()
		}
	}
	set()
	configFile := certsD(t, "", c.files)
	var node []string
	var problems []error
	for _, on := range c.nodes {
		answer, err := onNode(t, n, c.image, filepath.Join(filepath.Dir(configFile), "certs.d"), c.users, on)
		node = append(node, answer)
		problems = append(problems, err)
	}
	if !slices.Equal(node, c.want) {
		t.Fatalf("the row is wrong: nodes run %q (%v), want %q", node, errors.Join(problems...), c.want)
	}
	got, err := byPodinit(t, n, c.image, configFile, c.users, c.nodes)
	if err != nil {
		got = slices.Repeat([]string{""}, len(c.nodes))
	}
	nowhere := !slices.ContainsFunc(node, func(s string) bool { return s != "" })
	for i := range node {
		if node[i] != got[i] && (node[i] != "" || nowhere) { // where it cannot be pulled it does not run
			t.Errorf("podinit says %q (%v), nodes run %q", got, err, node)
			break
		}
	}
}

// once has a fault at the first request that fits.
func once(words string, fault func(http.ResponseWriter, *http.Request) bool) func() func(http.ResponseWriter, *http.Request) bool {
	return func() func(http.ResponseWriter, *http.Request) bool {
		var seen sync.Map
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.Method+" "+r.URL.Path, words) {
				return false
			}
			// Both sides meet it once: they are told apart by what they call themselves.
			if _, before := seen.LoadOrStore(strings.HasPrefix(r.UserAgent(), "containerd"), true); before {
				return false
			}
			return fault(w, r)
		}
	}
}

// challenge answers 401 with each of these; HOST is the registry.
func challenge(all ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		for _, c := range all {
			w.Header().Add("WWW-Authenticate", strings.ReplaceAll(c, "HOST", r.Host))
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

const bearer = `Bearer realm="https://HOST/token",service="x",scope="repository:team/app:pull"`

// tokens is a token server at /token, and a registry that wants its token, "good", and challenges with these.
func tokens(give http.HandlerFunc, challenges ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasPrefix(r.URL.Path, "/token"):
			give(w, r)
			return true
		case r.Header.Get("Authorization") == "Bearer good":
			return false
		}
		return challenge(challenges...)(w, r)
	}
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// anybody gets a token by GET.
func anybody(w http.ResponseWriter, r *http.Request) { says(`{"token":"good"}`)(w, r) }

// only gives a token by GET to these users; OAuth2's POST is not there.
func only(name, password string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		switch {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusNotFound)
		case u != name || p != password:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			anybody(w, r)
		}
	}
}

// byPost gives a token by POST alone.
func byPost(name, password string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodPost:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.FormValue("username") != name || r.FormValue("password") != password || r.FormValue("grant_type") != "password":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			says(`{"access_token":"good","expires_in":300}`)(w, r)
		}
	}
}

var alice = []user{{"alice", "right"}}

// at443 is a fault at r.example.
func at443(fault func(http.ResponseWriter, *http.Request) bool) map[string]func(http.ResponseWriter, *http.Request) bool {
	return map[string]func(http.ResponseWriter, *http.Request) bool{"r.example:443": fault}
}

func exactly(path string, fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool { return r.URL.Path == path && fault(w, r) }
}

func headers(set func(http.Header), words string, inner func() http.Handler) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.Method+" "+r.URL.Path, words) {
			return false
		}
		recorded := httptest.NewRecorder()
		inner().ServeHTTP(recorded, r)
		for key, values := range recorded.Header() {
			w.Header()[key] = values
		}
		set(w.Header())
		w.WriteHeader(recorded.Code)
		if r.Method != http.MethodHead {
			_, _ = w.Write(recorded.Body.Bytes())
		}
		return true
	}
}

// right is a registry that has the image, for rows that change what it answers.
func right() func() http.Handler {
	return sync.OnceValue(func() http.Handler {
		h := &fakeHost{inner: registrytest.New()}
		h.push(&testing.T{}, "team/app", "1", image("linux", "amd64", "RIGHT"))
		return h.inner
	})
}

func askingRows() map[string]row {
	rows := map[string]row{
		"plainly":                 {want: []string{"RIGHT"}},
		"not there":               {image: "r.example/team/none:1", runs: map[string]string{"other.example:443": "x"}, want: []string{""}},
		"the host is down":        {runs: map[string]string{"other.example:443": "x"}, want: []string{""}},
		"the host has no TLS":     {image: "r.example:5000/team/app:1", runs: map[string]string{"r.example:5000": "x"}, want: []string{""}},
		"the manifest is refused": {faults: at443(at("manifests", respond(403))), want: []string{""}},
		"HEAD is not allowed":     {faults: at443(at("HEAD", respond(405))), want: []string{"RIGHT"}},
		"HEAD says not found":     {faults: at443(at("HEAD", respond(404))), want: []string{""}},
		"GET fails":               {faults: at443(at("GET /v2/team/app/manifests", respond(500))), want: []string{""}},
		"the config is missing":   {faults: at443(at("blobs", respond(404))), want: []string{""}},
		"no digest":               {faults: at443(headers(func(h http.Header) { h.Del("Docker-Content-Digest") }, "manifests", right())), want: []string{"RIGHT"}},
		"a digest that is none": {faults: at443(headers(func(h http.Header) { h.Set("Docker-Content-Digest", "sha256:x") }, "HEAD", right())),
			want: []string{""}},
		"of schema 1": {faults: at443(headers(func(h http.Header) {
			h.Del("Docker-Content-Digest")
			h.Set("Content-Type", "text/plain")
		}, "manifests", right())), want: []string{""}},
		"blobs are elsewhere": {
			faults: map[string]func(http.ResponseWriter, *http.Request) bool{
				"r.example:443": func(w http.ResponseWriter, r *http.Request) bool {
					if strings.Contains(r.URL.Path, "/blobs/") {
						http.Redirect(w, r, "https://storage.example"+r.URL.Path+"?signature=x", http.StatusTemporaryRedirect)
						return true
					}
					return tokens(only("alice", "right"), bearer)(w, r)
				},
				// S3 refuses what comes with two kinds of authorization.
				"storage.example:443": func(w http.ResponseWriter, r *http.Request) bool {
					return r.Header.Get("Authorization") != "" && respond(400)(w, r)
				},
			},
			runs: map[string]string{"r.example:443": "RIGHT", "storage.example:443": "RIGHT"}, users: alice, want: []string{"RIGHT"},
		},
		"manifests are at another registry, which wants a token of its own": {
			faults: map[string]func(http.ResponseWriter, *http.Request) bool{
				"r.example:443": func(w http.ResponseWriter, r *http.Request) bool {
					http.Redirect(w, r, "https://real.example"+r.URL.Path, http.StatusTemporaryRedirect)
					return true
				},
				"real.example:443": tokens(anybody, bearer),
			},
			runs: map[string]string{"r.example:443": "WRONG", "real.example:443": "RIGHT"}, want: []string{"RIGHT"},
		},
		"manifests are at another registry, which wants the credential": {
			faults: map[string]func(http.ResponseWriter, *http.Request) bool{
				"r.example:443": func(w http.ResponseWriter, r *http.Request) bool {
					http.Redirect(w, r, "https://real.example"+r.URL.Path, http.StatusTemporaryRedirect)
					return true
				},
				"real.example:443": tokens(only("alice", "right"), bearer),
			},
			runs: map[string]string{"r.example:443": "WRONG", "real.example:443": "RIGHT"}, users: alice, want: []string{"RIGHT"},
		},
		"/v2/ goes to another page": {faults: at443(exactly("/v2/", respond(301, "Location", "/login"))), want: []string{"RIGHT"}},
	}
	for _, code := range []int{403, 404, 405, 429, 500, 502} {
		rows[fmt.Sprintf("/v2/ is %d", code)] = row{faults: at443(exactly("/v2/", respond(code))), want: []string{"RIGHT"}}
	}
	for _, code := range []int{408, 429, 500, 503, 504} {
		for _, path := range []string{"HEAD", "GET /v2/team/app/manifests", "blobs"} {
			rows[fmt.Sprintf("%s is %d once", path, code)] = row{faults: at443(once(path, respond(code))()), want: []string{"RIGHT"}}
		}
	}
	rows["HEAD is 502 once"] = row{faults: at443(once("HEAD", respond(502))()), want: []string{""}}
	rows["the connection is closed once"] = row{faults: at443(once("HEAD", closing)()), want: []string{"RIGHT"}}
	return rows
}

func tokenRows() map[string]row {
	his := func(give http.HandlerFunc, challenges ...string) row {
		return row{faults: at443(tokens(give, challenges...)), users: alice, want: []string{"RIGHT"}}
	}
	nobody := func(give http.HandlerFunc, challenges ...string) row {
		return row{faults: at443(tokens(give, challenges...)), want: []string{"RIGHT"}}
	}
	basic := func(w http.ResponseWriter, r *http.Request) bool {
		u, p, _ := r.BasicAuth()
		return (u != "alice" || p != "right") && challenge(`Basic realm="x"`)(w, r)
	}
	fails := func(r row) row { r.want = []string{""}; return r }
	open := func(r row, ping func(http.ResponseWriter, *http.Request) bool) row {
		inner := r.faults["r.example:443"]
		r.faults = at443(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/" {
				return ping(w, r)
			}
			return inner(w, r)
		})
		return r
	}
	post := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.WriteHeader(code)
				return
			}
			only("alice", "right")(w, r)
		}
	}
	return map[string]row{
		"anybody's":                        nobody(anybody, bearer),
		"a user's":                         his(only("alice", "right"), bearer),
		"by POST alone":                    his(byPost("alice", "right"), bearer),
		"POST is 400":                      his(post(400), bearer),
		"POST is 401":                      his(post(401), bearer),
		"POST is 405":                      his(post(405), bearer),
		"POST is 403":                      fails(his(post(403), bearer)),
		"POST is 500":                      fails(his(post(500), bearer)),
		"access_token":                     nobody(says(`{"access_token":"good"}`), bearer),
		"both, and the second counts":      nobody(says(`{"token":"bad","access_token":"good","expires_in":60}`), bearer),
		"an empty token":                   fails(nobody(says(`{"token":""}`), bearer)),
		"no JSON":                          fails(nobody(says(`<html>`), bearer)),
		"the token server is down":         fails(nobody(anybody, `Bearer realm="https://none.example/token",service="x"`)),
		"the token server refuses anybody": fails(nobody(only("alice", "right"), bearer)),
		"no service":                       nobody(anybody, `Bearer realm="https://HOST/token"`),
		"no scope":                         nobody(anybody, `Bearer realm="https://HOST/token",service="x"`),
		"no realm":                         fails(nobody(anybody, `Bearer service="x"`)),
		"a realm with a query":             nobody(anybody, `Bearer realm="https://HOST/token?account=x",service="x"`),
		"in small letters":                 nobody(anybody, `bearer realm="https://HOST/token",service="x"`),
		"more than one scope":              nobody(anybody, `Bearer realm="https://HOST/token",service="x",scope="repository:team/app:pull repository:base:pull"`),
		"the scope is another, which alone counts":   nobody(scoped("repository:hub/team/app:pull"), `Bearer realm="https://HOST/token",service="x",scope="repository:hub/team/app:pull"`),
		"Negotiate before":                           nobody(anybody, "Negotiate", bearer),
		"Negotiate alone":                            fails(nobody(anybody, "Negotiate")),
		"Basic before, of anybody, in two headers":   nobody(anybody, `Basic realm="x"`, bearer),
		"Basic before, of anybody, in one header":    fails(nobody(anybody, `Basic realm="x", `+bearer)),
		"Basic before, of a user":                    his(only("alice", "right"), `Basic realm="x"`, bearer),
		"Basic behind, of a user":                    his(only("alice", "right"), bearer, `Basic realm="x"`),
		"Bearer is not enough":                       fails(his(says(`{"token":"bad"}`), bearer)),
		"Bearer is not enough, and it says so":       fails(his(says(`{"token":"bad"}`), bearer+`,error="insufficient_scope"`)),
		"401 without a challenge":                    {faults: at443(respond(401)), want: []string{""}},
		"Basic":                                      {faults: at443(basic), users: alice, want: []string{"RIGHT"}},
		"Basic, for nobody":                          {faults: at443(basic), want: []string{""}},
		"Basic, for another":                         {faults: at443(basic), users: []user{{"alice", "wrong"}}, want: []string{""}},
		"/v2/ is 200, manifests are anybody's":       open(nobody(anybody, bearer), respond(200)),
		"/v2/ is 200, manifests are a user's":        open(his(only("alice", "right"), bearer), respond(200)),
		"/v2/ wants Basic, manifests are anybody's":  open(nobody(anybody, bearer), challenge(`Basic realm="x"`)),
		"/v2/ wants Basic, manifests are a user's":   open(his(only("alice", "right"), bearer), challenge(`Basic realm="x"`)),
		"/v2/ wants a token, manifests are open":     {faults: at443(exactly("/v2/", challenge(bearer))), want: []string{"RIGHT"}},
		"the token server is another host":           {faults: map[string]func(http.ResponseWriter, *http.Request) bool{"r.example:443": tokens(anybody, `Bearer realm="https://auth.example/token",service="x"`), "auth.example:443": tokens(only("alice", "right"))}, users: alice, want: []string{"RIGHT"}},
		"the token server redirects":                 {faults: map[string]func(http.ResponseWriter, *http.Request) bool{"r.example:443": tokens(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "https://auth.example/token", 307) }, bearer), "auth.example:443": tokens(anybody)}, want: []string{"RIGHT"}},
		"the token is chunked and of some kilobytes": nobody(says(`{"x":"`+strings.Repeat("x", 40<<10)+`","token":"good"}`), bearer),
		"a token for each request's own kind of path": {faults: at443(func(w http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(r.URL.Path, "/blobs/") && tokens(anybody, bearer)(w, r) || r.URL.Path == "/token" && tokens(anybody)(w, r)
		}), want: []string{"RIGHT"}},
	}
}

// scoped gives a token only to those who ask for this scope.
func scoped(scope string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(r.URL.Query()["scope"], scope) {
			says(`{"token":"bad"}`)(w, r)
			return
		}
		anybody(w, r)
	}
}

func credentialRows() map[string]row {
	two := []user{{"broken", "x"}, {"alice", "right"}}
	first := func(broken http.HandlerFunc, then http.HandlerFunc) map[string]func(http.ResponseWriter, *http.Request) bool {
		return at443(tokens(func(w http.ResponseWriter, r *http.Request) {
			name, _, _ := r.BasicAuth()
			if name == "broken" || r.Method == http.MethodPost && r.FormValue("username") == "broken" {
				broken(w, r)
				return
			}
			then(w, r)
		}, bearer))
	}
	right := only("alice", "right")
	rows := map[string]row{
		"the second is right":               {faults: first(right, right), users: two, want: []string{"RIGHT"}},
		"the first gets an empty token":     {faults: first(says(`{"token":""}`), right), users: two, want: []string{"RIGHT"}},
		"the first gets no JSON":            {faults: first(says(`<html>`), right), users: two, want: []string{"RIGHT"}},
		"the first gets a token of no use":  {faults: first(says(`{"token":"bad","access_token":"bad"}`), right), users: two, want: []string{"RIGHT"}},
		"the first is hung up on":           {faults: first(func(w http.ResponseWriter, r *http.Request) { closing(w, r) }, right), users: two, want: []string{"RIGHT"}},
		"neither is right":                  {faults: first(right, status(401)), users: two, want: []string{""}},
		"the first breaks the registry":     {faults: at443(basicThat(500)), users: two, want: []string{"RIGHT"}},
		"the first is limited":              {faults: at443(basicThat(429)), users: two, want: []string{"RIGHT"}},
		"the first is forbidden":            {faults: at443(basicThat(403)), users: two, want: []string{"RIGHT"}},
		"the first does not see the image":  {faults: at443(basicThat(404)), users: two, want: []string{"RIGHT"}},
		"a password with a colon and signs": {faults: at443(tokens(only("alice", "a:b&c=d %$"), bearer)), users: []user{{"alice", "a:b&c=d %$"}}, want: []string{"RIGHT"}},
	}
	for _, code := range []int{400, 403, 404, 429, 500, 502, 503} {
		rows[fmt.Sprintf("the first gets %d from the token server", code)] = row{faults: first(status(code), right), users: two, want: []string{"RIGHT"}}
	}
	return rows
}

// basicThat wants Basic of alice, and answers another user with this.
func basicThat(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		switch name, _, ok := r.BasicAuth(); {
		case !ok:
			return challenge(`Basic realm="x"`)(w, r)
		case name != "alice":
			return respond(code)(w, r)
		}
		return false
	}
}
