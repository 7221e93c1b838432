package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/registry/registrytest"
)

// world is a registry, the Secrets of a cluster, and a cache that asks.
type world struct {
	t        *testing.T
	server   *httptest.Server
	host     string
	config   Config
	secrets  map[string]*corev1.Secret
	keychain authn.Keychain
	now      time.Time
	cache    *imageconfig.Cache
	// registries that the cache asks.
	registries *Registries

	mu sync.Mutex
	// fault answers instead of the registry where it returns true.
	fault func(http.ResponseWriter, *http.Request) bool
	// users by name, with their password; nil lets everybody in.
	users map[string]string
	asked []string
}

func newWorld(t *testing.T, start func(http.Handler) *httptest.Server) *world {
	w := &world{t: t, now: time.Unix(1e9, 0), secrets: map[string]*corev1.Secret{}}
	inner := registrytest.New()
	w.server = start(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		fault, users := w.fault, w.users
		w.asked = append(w.asked, r.Method+" "+r.URL.Path)
		w.mu.Unlock()
		if fault != nil && fault(out, r) {
			return
		}
		if user, password, _ := r.BasicAuth(); users != nil && users[user] != password || users != nil && user == "" {
			out.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			out.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(out, r)
	}))
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(w.server.Close)
	w.host = strings.TrimPrefix(strings.TrimPrefix(w.server.URL, "http://"), "https://")
	w.config = Config{Registries: []Host{{Host: w.host, PlainHTTP: true}}, PrivateNetworks: []string{"127.0.0.0/8", "::1/128"}}
	w.restart()
	return w
}

// restart makes a cache that knows nothing, from the config as it now is.
func (w *world) restart() {
	w.t.Helper()
	registries, err := New(w.config, func(_ context.Context, namespace, name string) (*corev1.Secret, error) {
		if s, ok := w.secrets[namespace+"/"+name]; ok {
			return s, nil
		}
		return nil, errors.New("not found")
	}, func() time.Time { return w.now })
	if err != nil {
		w.t.Fatal(err)
	}
	registries.Keychain, w.registries = w.keychain, registries
	w.cache = imageconfig.NewCache(registries, imageconfig.DefaultLimits(), func() time.Time { return w.now })
}

func (w *world) set(fault func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
}

// forget empties the list of what was asked, and returns it.
func (w *world) forget() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

func (w *world) push(image string, what remote.Taggable) string {
	w.t.Helper()
	ref, err := name.ParseReference(w.host+"/"+image, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	options := remote.WithTransport(w.server.Client().Transport)
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(ref, what, options)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what, options)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	digest, err := partial.Descriptor(what.(partial.Describable))
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.asked = nil
	w.mu.Unlock()
	return digest.Digest.String()
}

func (w *world) query(image string, secrets ...string) imageconfig.Query {
	w.t.Helper()
	if !strings.Contains(image, "//") {
		image = w.host + "/" + image
	}
	ref, err := imageconfig.ParseReference(strings.TrimPrefix(image, "//"))
	if err != nil {
		w.t.Fatal(err)
	}
	return imageconfig.Query{Reference: ref, Namespace: "team", PullSecrets: secrets}
}

// look is the cmd of the image, on each platform if it differs, or the reason why it was not found.
func (w *world) look(q imageconfig.Query) (string, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute) // only a hang takes so long
	defer cancel()
	found, err := w.cache.Lookup(ctx, q)
	if err != nil {
		return string(imageconfig.FailureOf(err).Reason), err
	}
	configs, failure := found.Image.On(nil)
	if failure != nil {
		return string(failure.Reason), failure
	}
	var each []string
	for _, config := range configs {
		each = append(each, strings.Join(append(config.Entrypoint, config.Cmd...), " "))
	}
	return strings.Join(each, " | "), nil
}

func (w *world) expect(q imageconfig.Query, want string) {
	w.t.Helper()
	if got, err := w.look(q); got != want {
		w.t.Errorf("%s: %s (%v), want %s", q.Reference, got, err, want)
	}
}

// image runs some words.
func image(os, architecture string, words ...string) v1.Image {
	config := &v1.ConfigFile{OS: os, Architecture: architecture, Config: v1.Config{Entrypoint: words, StopSignal: "SIGQUIT"}}
	config.RootFS.Type = "layers"
	i, err := mutate.ConfigFile(empty.Image, config)
	if err != nil {
		panic(err)
	}
	return i
}

func index(parts ...v1.Image) v1.ImageIndex {
	i := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, part := range parts {
		config, err := part.ConfigFile()
		if err != nil {
			panic(err)
		}
		i = mutate.AppendManifests(i, mutate.IndexAddendum{Add: part, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture},
		}})
	}
	return i
}

func TestFormats(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	artifact, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.example.chart"),
		static.NewLayer([]byte("x"), "text/plain"))
	if err != nil {
		t.Fatal(err)
	}
	oci := func(i v1.Image) v1.Image {
		return mutate.ConfigMediaType(mutate.MediaType(i, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	docker := mutate.IndexMediaType(index(image("linux", "amd64", "a"), image("linux", "arm64", "a")), types.DockerManifestList)
	for name, c := range map[string]struct {
		what remote.Taggable
		want string
	}{
		"docker":                {image("linux", "amd64", "a", "b"), "a b"},
		"oci":                   {oci(image("linux", "amd64", "a", "b")), "a b"},
		"docker-list":           {docker, "a"},
		"oci-index":             {index(oci(image("linux", "amd64", "a")), oci(image("linux", "arm64", "a"))), "a"},
		"differing":             {index(image("linux", "amd64", "a"), image("linux", "arm64", "b")), "a | b"},
		"attested":              {index(image("linux", "amd64", "a"), image("unknown", "unknown", "no")), "a"},
		"with-windows":          {index(image("windows", "amd64", "no"), image("linux", "amd64", "a")), "a"},
		"windows":               {image("windows", "amd64", "no"), "image-not-linux"},
		"windows-index":         {index(image("windows", "amd64", "no")), "image-not-linux"},
		"artifact":              {artifact, "lookup-unsupported"},
		"wasm":                  {index(image("wasip1", "wasm", "no"), image("linux", "amd64", "a")), "a"},
		"nothing":               {image("linux", "amd64"), ""},
		"index-with-artifact":   {index(image("linux", "amd64", "a"), artifact), "a"},
		"index-without-anybody": {index(), "image-not-linux"},
	} {
		t.Run(name, func(t *testing.T) {
			digest := w.push("formats/"+name+":1", c.what)
			w.expect(w.query("formats/"+name+":1"), c.want)
			w.expect(w.query("formats/"+name+"@"+digest), c.want)
		})
	}

	// Only what can run here is read.
	w.push("arches:1", index(image("linux", "amd64", "a"), image("linux", "arm64", "b"), image("linux", "s390x", "c")))
	q := w.query("arches:1")
	q.Architectures = []string{"arm64"}
	found, err := w.cache.Lookup(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	want := []imageconfig.Config{{Platform: imageconfig.Platform{OS: "linux", Architecture: "arm64"}, Entrypoint: []string{"b"}, StopSignal: "SIGQUIT"}}
	if diff := cmp.Diff(want, found.Image.Configs); diff != "" {
		t.Errorf("configs (-want +got):\n%s", diff)
	}
}

// manifests answers with these texts, by digest, and with the one that a tag stands for. Others are the registry's.
func manifests(tagged string, texts ...string) func(http.ResponseWriter, *http.Request) bool {
	byName := map[string]string{}
	for _, text := range texts {
		byName[digest.FromString(text).String()] = text
	}
	return func(out http.ResponseWriter, r *http.Request) bool {
		name := path.Base(r.URL.Path)
		if !strings.HasPrefix(name, "sha256:") {
			name = digest.FromString(tagged).String()
		}
		text, ok := byName[name]
		if !ok {
			return false
		}
		out.Header().Set("Docker-Content-Digest", name)
		return body(text, string(types.OCIImageIndex), false)(out, r)
	}
}

// indexOf is an index of parts: each is what its descriptor has besides the size.
func indexOf(parts ...string) string {
	return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"size":1,` + strings.Join(parts, `},{"size":1,`) + `}]}`
}

// descriptor of a part, with what its platform has besides system and architecture.
func descriptor(mediaType types.MediaType, digest, platform string) string {
	return fmt.Sprintf(`"mediaType":%q,"digest":%q,"platform":{"os":"linux","architecture":"amd64"%s}`, mediaType, digest, platform)
}

// Of a platform only what nodes compare is kept, however long the rest is. A platform that is too long for any node is for
// none.
func TestLongPlatforms(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	a, b := w.push("app:a", image("linux", "amd64", "a")), w.push("app:b", image("linux", "amd64", "b"))
	long := strings.Repeat("x", 100<<10)
	for other, want := range map[string]string{
		``:                                     "a",
		`,"os.version":"` + long + `"`:         "a",
		`,"other":"` + long + `"`:              "a",
		`,"variant":"` + long + `"`:            "b",
		`,"os.features":["` + long + `"]`:      "b",
		`,"os.features":["x","y","z"]`:         "b",
		`,"os.features":[]`:                    "a",
		`,"os.version":"1","architecture":"x"`: "b",
	} {
		text := indexOf(descriptor(types.DockerManifestSchema2, a, other), descriptor(types.DockerManifestSchema2, b, ""))
		w.restart()
		w.set(manifests(text, text))
		q := w.query("app:1")
		q.Architectures = []string{"amd64"}
		if got, err := w.look(q); got != want {
			t.Errorf("%.40s: %s (%v), want %s", other, got, err, want)
		}
	}
}

// What was read of images is small, while what belongs to them does not come.
func TestManifestsInMemory(t *testing.T) {
	const lookups = 4
	long := func(i int) string { return fmt.Sprintf(`,"os.version":"%d%s"`, i, strings.Repeat("x", 4<<20-1000)) }
	missing := "sha256:" + strings.Repeat("a", 64)
	inner := indexOf(descriptor(types.OCIManifestSchema1, missing, long(0)))
	outer := indexOf(descriptor(types.OCIImageIndex, digest.FromString(inner).String(), long(1)))
	top := indexOf(descriptor(types.OCIImageIndex, digest.FromString(outer).String(), long(2)))

	w := newWorld(t, httptest.NewServer)
	serve := manifests(top, inner, outer, top)
	hangs, end := make(chan struct{}, lookups), make(chan struct{})
	w.set(func(out http.ResponseWriter, r *http.Request) bool {
		if path.Base(r.URL.Path) != missing {
			return serve(out, r)
		}
		hangs <- struct{}{}
		<-end
		return true
	})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(end)
	heap := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := heap()
	for i := range lookups {
		all.Go(func() {
			q := w.query(fmt.Sprintf("app%d:1", i))
			q.Architectures = []string{"amd64"}
			_, _ = w.look(q)
		})
		select { // sequentially, so that the bodies in transit are not measured
		case <-hangs:
		case <-time.After(time.Minute):
			t.Fatal("the last part is not asked for")
		}
	}
	if kept := heap() - before; kept > 12<<20 {
		t.Errorf("%d lookups keep %d MiB", lookups, kept>>20)
	}
}

// Neither do many parts of many indexes, or many configs with long commands, fill the memory.
func TestLargeImages(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	a := w.push("app:a", image("linux", "amd64", "a"))
	many := slices.Repeat([]string{descriptor(types.OCIManifestSchema1, a, `,"variant":"`+strings.Repeat("x", 60)+`"`)}, maxParts-1)
	inner := indexOf(append(many, descriptor(types.DockerManifestSchema2, a, ""))...)
	outer := indexOf(append(many, descriptor(types.OCIImageIndex, digest.FromString(inner).String(), ""))...)
	for text, want := range map[string]string{inner: "a", outer: "lookup-too-large"} {
		w.restart()
		w.set(manifests(text, inner, outer))
		q := w.query("app:1")
		q.Architectures = []string{"amd64"}
		w.expect(q, want)
	}
	w.set(nil)
	for n, want := range map[int]string{4: "platforms-differ", 8: "lookup-too-large"} {
		var parts []v1.Image
		for i := range n {
			parts = append(parts, image("linux", fmt.Sprintf("a%d", i), fmt.Sprint(i), strings.Repeat("x", 100<<10)))
		}
		w.restart()
		w.push(fmt.Sprintf("commands:%d", n), index(parts...))
		w.expect(w.query(fmt.Sprintf("commands:%d", n)), want)
	}
}

// An image costs one HEAD and one GET of each of its parts, and the next lookup nothing.
func TestCost(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	i := image("linux", "amd64", "a")
	digest := w.push("app:1", i)
	config, err := i.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	w.expect(w.query("app:1"), "a")
	w.expect(w.query("app:1"), "a")
	want := []string{"HEAD /v2/app/manifests/1", "GET /v2/app/manifests/" + digest, "GET /v2/app/blobs/" + config.String()}
	if diff := cmp.Diff(want, w.asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func respond(status int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(out http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i < len(header); i += 2 {
			out.Header().Set(header[i], header[i+1])
		}
		out.WriteHeader(status)
		return true
	}
}

// at has a fault only where the path contains some words.
func at(words string, fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(out http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.Method+" "+r.URL.Path, words) && fault(out, r)
	}
}

// body answers with these bytes and headers, in one piece or, chunked, without saying how long they are.
func body(text, contentType string, chunked bool) func(http.ResponseWriter, *http.Request) bool {
	return func(out http.ResponseWriter, r *http.Request) bool {
		out.Header().Set("Content-Type", contentType)
		if !chunked {
			out.Header().Set("Content-Length", fmt.Sprint(len(text)))
		}
		_, _ = io.WriteString(out, text)
		return true
	}
}

func TestFaults(t *testing.T) {
	const manifestType = string(types.DockerManifestSchema2)
	huge := strings.Repeat(" ", maxConfigBlob+1)
	for name, c := range map[string]struct {
		fault  func(http.ResponseWriter, *http.Request) bool
		reason v1alpha1.Reason
		// back is when the registry is asked again.
		back time.Duration
	}{
		"401 without a challenge":   {respond(401), v1alpha1.ReasonLookupUnauthorized, 30 * time.Second},
		"403":                       {at("manifests", respond(403)), v1alpha1.ReasonLookupUnauthorized, 30 * time.Second},
		"404":                       {at("manifests", respond(404)), v1alpha1.ReasonLookupNotFound, 30 * time.Second},
		"404 of the config":         {at("blobs", respond(404)), v1alpha1.ReasonLookupNotFound, 30 * time.Second},
		"429 with Retry-After":      {respond(429, "Retry-After", "60"), v1alpha1.ReasonLookupRateLimited, 60 * time.Second},
		"429 of the manifest":       {at("manifests", respond(429, "Retry-After", "45")), v1alpha1.ReasonLookupRateLimited, 45 * time.Second},
		"500":                       {respond(500), v1alpha1.ReasonLookupFailed, 5 * time.Second},
		"503 for the config":        {at("blobs", respond(503)), v1alpha1.ReasonLookupFailed, 5 * time.Second},
		"a login page":              {at("manifests", body("<html>", "text/html", false)), v1alpha1.ReasonLookupInvalid, 30 * time.Second},
		"another config":            {at("blobs", body("{}", "application/json", false)), v1alpha1.ReasonLookupInvalid, 30 * time.Second},
		"another manifest":          {at("GET /v2/app/manifests", body("{}", manifestType, false)), v1alpha1.ReasonLookupInvalid, 30 * time.Second},
		"a huge manifest":           {at("GET /v2/app/manifests", body(huge, manifestType, false)), v1alpha1.ReasonLookupTooLarge, 30 * time.Second},
		"a huge manifest in chunks": {at("GET /v2/app/manifests", body(huge, manifestType, true)), v1alpha1.ReasonLookupTooLarge, 30 * time.Second},
		"a huge config in chunks":   {at("blobs", body(huge, "application/json", true)), v1alpha1.ReasonLookupInvalid, 30 * time.Second},
		"redirects to itself": {at("manifests", func(out http.ResponseWriter, r *http.Request) bool {
			http.Redirect(out, r, r.URL.Path, 307)
			return true
		}), v1alpha1.ReasonLookupFailed, 5 * time.Second},
		"redirects to link-local": {at("blobs", func(out http.ResponseWriter, r *http.Request) bool {
			http.Redirect(out, r, "http://169.254.169.254/latest", 307)
			return true
		}), v1alpha1.ReasonLookupForbidden, 30 * time.Second},
		"token from link-local":    {respond(401, "WWW-Authenticate", `Bearer realm="http://169.254.169.254/token",service="x"`), v1alpha1.ReasonLookupForbidden, 30 * time.Second},
		"an unknown challenge":     {respond(401, "WWW-Authenticate", `Negotiate`), v1alpha1.ReasonLookupUnauthorized, 30 * time.Second},
		"token of half a megabyte": {tokenServer(strings.Repeat("x", 512<<10)), v1alpha1.ReasonLookupInvalid, 30 * time.Second},
		"no token":                 {tokenServer(`{"access_key":"hunter2"}`), v1alpha1.ReasonLookupInvalid, 30 * time.Second},
		"a token with a secret":    {tokenServer(`{"token":"x","issued_at":"hunter2"}`), v1alpha1.ReasonLookupInvalid, 30 * time.Second},
		"a realm with a secret":    {respond(401, "WWW-Authenticate", `Bearer realm="http://[hunter2/token"`), v1alpha1.ReasonLookupInvalid, 30 * time.Second},
		"a digest with a secret":   {at("HEAD", respond(200, "Docker-Content-Digest", "sha256:hunter2", "Content-Length", "2")), v1alpha1.ReasonLookupInvalid, 30 * time.Second},
		"an error with a secret":   {respond(401, "WWW-Authenticate", `Bearer realm="http://x",error="hunter2"`), v1alpha1.ReasonLookupPlainHTTP, 5 * time.Second},
		"closes the connection":    {closing, v1alpha1.ReasonLookupUnreachable, 5 * time.Second},
		"half a manifest":          {at("GET /v2/app/manifests", truncated), v1alpha1.ReasonLookupFailed, 5 * time.Second},
		"half a config":            {at("blobs", broken), v1alpha1.ReasonLookupFailed, 5 * time.Second},
		"headers without end":      {at("manifests", respond(200, "X-Long", strings.Repeat("x", 128<<10))), v1alpha1.ReasonLookupUnreachable, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, httptest.NewServer)
			w.push("app:1", image("linux", "amd64", "a"))
			w.set(c.fault)
			got, err := w.look(w.query("app:1"))
			if got != string(c.reason) {
				t.Errorf("%s, want %s (%v)", got, c.reason, err)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "<html>") || len(err.Error()) > 600 {
				t.Errorf("its output is too large: %v", err)
			}
			// Once it is back and the failure no longer counts, the next Pod is served.
			w.set(nil)
			w.now = w.now.Add(c.back - time.Millisecond)
			w.expect(w.query("app:1"), string(c.reason))
			w.now = w.now.Add(time.Millisecond)
			w.expect(w.query("app:1"), "a")
		})
	}
}

func closing(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

func truncated(out http.ResponseWriter, _ *http.Request) bool {
	out.Header().Set("Content-Type", string(types.DockerManifestSchema2))
	out.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(out, `{"schemaVersion":2`)
	out.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// broken does not say how long the answer is, and ends in its middle.
func broken(out http.ResponseWriter, _ *http.Request) bool {
	_, _ = io.WriteString(out, `{"os":`)
	out.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// tokenServer challenges, and gives this text for a token.
func tokenServer(text string) func(http.ResponseWriter, *http.Request) bool {
	return func(out http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_, _ = io.WriteString(out, text)
			return true
		}
		return respond(401, "WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))(out, r)
	}
}

func TestDown(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.server.Close()
	w.expect(w.query("app:1"), "lookup-unreachable")
	w.expect(w.query("//no-such-host.invalid/app:1"), "lookup-unreachable")
}

// A Pod does not wait for a registry that hangs; one that is only slow serves the next Pod.
func TestHangingAndSlow(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("app:1", image("linux", "amd64", "a"))
	open := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	w.set(func(_ http.ResponseWriter, r *http.Request) bool {
		cancel()
		select {
		case <-open:
		case <-r.Context().Done():
		}
		return false
	})
	_, err := w.cache.Lookup(ctx, w.query("app:1"))
	if f := imageconfig.FailureOf(err); f.Reason != v1alpha1.ReasonLookupTimeout {
		t.Errorf("%v", err)
	}
	close(open)
	w.expect(w.query("app:1"), "a")
}

// A repository that fails is left alone, for the namespace that has found it so. Its host is not: others' images are
// looked up.
func TestOneRepositoryIsNotItsHost(t *testing.T) {
	elsewhere := func(out http.ResponseWriter, r *http.Request) bool {
		http.Redirect(out, r, "https://no-such-host.invalid/", 307)
		return true
	}
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"502":                              respond(502),
		"503":                              respond(503, "Retry-After", "600"),
		"closes the connection":            closing,
		"redirects to a host that is down": elsewhere,
		"redirects to itself": func(out http.ResponseWriter, r *http.Request) bool {
			http.Redirect(out, r, r.URL.Path, 307)
			return true
		},
		"has a token server that is down": respond(401, "WWW-Authenticate", `Bearer realm="https://no-such-host.invalid/token",service="x"`),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, httptest.NewServer)
			w.push("team/app:1", image("linux", "amd64", "a"))
			w.set(at("/v2/evil/", fault))
			for i := range 5 {
				w.forget()
				if got, _ := w.look(w.query(fmt.Sprintf("evil/app:%d", i))); got == "a" {
					t.Fatal("it does not fail")
				}
				if asked := len(w.forget()) > 0; asked != (i < maxFailures) && !strings.Contains(name, "token") {
					t.Errorf("lookup %d after %d failures: asked is %v", i, i, asked)
				}
			}
			w.expect(w.query("team/app:1"), "a")

			// What one namespace has met tells nothing to another.
			w.forget()
			q := w.query("evil/app:9")
			q.Namespace = "other"
			if _, _ = w.look(q); len(w.forget()) == 0 {
				t.Error("another namespace is told what the first one has met")
			}
			// It is tried again.
			w.set(nil)
			w.push("evil/app:9", image("linux", "amd64", "b"))
			w.now = w.now.Add(maxRetryAfter)
			w.expect(w.query("evil/app:9"), "b")
		})
	}
}

// maxRetryAfter is how long a registry may want to be left alone.
const maxRetryAfter = 10 * time.Minute

// hangup is a listener that ends each connection before TLS is spoken, while it is down.
type hangup struct {
	net.Listener
	down atomic.Bool
	// hungUp counts the connections that were ended.
	hungUp atomic.Int64
}

func (h *hangup) Accept() (net.Conn, error) {
	for {
		c, err := h.Listener.Accept()
		if err != nil || !h.down.Load() {
			return c, err
		}
		h.hungUp.Add(1)
		c.Close()
	}
}

// newHangup is a world whose host can be down.
func newHangup(t *testing.T) (*world, *hangup) {
	h := &hangup{}
	w := newWorld(t, func(handler http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(handler)
		h.Listener = s.Listener
		s.Listener = h
		s.StartTLS()
		return s
	})
	w.config.Registries = []Host{{Host: w.host, SkipVerify: true}}
	w.restart()
	return w, h
}

// A host that is down is known to be to all, and nothing else of what the others have got.
func TestBreakerTellsOnlyTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		fault  func(*world, *hangup)
		reason string
	}{
		"an unknown certificate": {func(w *world, _ *hangup) { w.config.Registries = nil; w.restart() }, "lookup-tls"},
		"closes the connection":  {func(_ *world, h *hangup) { h.down.Store(true) }, "lookup-unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			w, h := newHangup(t)
			c.fault(w, h)
			for i := range maxFailures {
				w.expect(w.query(fmt.Sprintf("red/secret-project-%d:release", i)), c.reason)
			}
			h.hungUp.Store(0)
			q := w.query("blue/web:1")
			q.Namespace = "blue"
			_, err := w.look(q)
			f := imageconfig.FailureOf(err)
			want := &imageconfig.Failure{Reason: v1alpha1.Reason(c.reason), Registry: w.host, Err: errHostRests}
			if asked := h.hungUp.Load(); *f != *want || asked > 0 {
				t.Errorf("%+v, want %+v; it was connected to %d times", f, want, asked)
			}
		})
	}
}

// A lookup that has no time left says nothing about the host.
func TestNoTimeLeftIsNotTheHost(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("team/app:1", image("linux", "amd64", "a"))
	registries, err := New(w.config, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context, q imageconfig.Query) (err error) {
		for candidate, problem := range registries.Candidates(t.Context(), q) {
			if problem != nil {
				t.Fatal(problem)
			}
			_, err = candidate.Repository.Digest(ctx, q.Reference)
		}
		return err
	}
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 * maxFailures {
		if err := ask(expired, w.query("team/app:1")); imageconfig.FailureOf(err).Reason != v1alpha1.ReasonLookupTimeout {
			t.Fatal(err)
		}
	}
	q := w.query("team/app:1")
	q.Namespace = "other"
	if err := ask(t.Context(), q); err != nil {
		t.Error(err)
	}
}

// Who waits for a slot at a host that others find down meanwhile does not ask it.
func TestBreakerWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &breakers{now: time.Now}
		enter := func(repository string) visit {
			t.Helper()
			v, err := b.enter("host", repository, "team")
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		var inside []visit
		var done []func()
		for i := range maxAtHost / 2 { // what one namespace has
			v := enter(fmt.Sprint(i))
			give, err := v.request(t.Context(), "host")
			if err != nil {
				t.Fatal(err)
			}
			inside, done = append(inside, v), append(done, give)
		}
		impatient, cancel := context.WithCancel(t.Context())
		var given, waited, elsewhere error
		var all sync.WaitGroup
		for _, c := range []struct {
			repository, host string
			ctx              context.Context
			err              *error
		}{{"impatient", "host", impatient, &given}, {"waits", "host", t.Context(), &waited}, {"redirected", "blobs", t.Context(), &elsewhere}} {
			v := enter(c.repository)
			all.Go(func() { _, *c.err = v.request(c.ctx, c.host) })
		}
		synctest.Wait()
		cancel()
		for i, v := range inside[:maxFailures] {
			v.hostFailed(v1alpha1.ReasonLookupTLS)
			done[i]()
			v.leave()
		}
		all.Wait()
		var f *imageconfig.Failure
		if !errors.As(waited, &f) || f.Reason != v1alpha1.ReasonLookupTLS || !errors.Is(f, errHostRests) {
			t.Errorf("who waited: %v", waited)
		}
		if !errors.Is(given, context.Canceled) {
			t.Errorf("who gave up: %v", given)
		}
		if elsewhere != nil {
			t.Errorf("another host, which is not down: %v", elsewhere)
		}
		// One tries whether it is back, and the others do not wait for it.
		time.Sleep(restTime)
		v := enter("first")
		if _, err := b.enter("host", "second", "team"); !errors.Is(err, errHostRests) {
			t.Errorf("a second one: %v", err)
		}
		give, err := v.request(t.Context(), "host")
		if err != nil {
			t.Fatalf("the one that tries: %v", err)
		}
		give()
		v.hostAnswered()
		v.leave()
		enter("third")
	})
}

// That there was no slot in time is not a failure of the repository, nor of the host.
func TestNoSlotIsNotAFailure(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("app:1", image("linux", "amd64", "a"))
	q := w.query("app:1")
	var app imageconfig.Repository
	for candidate, err := range w.registries.Candidates(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		app = candidate.Repository
	}
	var slots []func()
	for range maxAtHost / 2 {
		v, err := w.registries.breakers.enter(w.host, "busy", q.Namespace)
		if err != nil {
			t.Fatal(err)
		}
		defer v.leave()
		done, err := v.request(t.Context(), w.host)
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, done)
	}
	for range maxFailures {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := app.Digest(ctx, q.Reference)
		cancel()
		if f := imageconfig.FailureOf(err); f.Reason != v1alpha1.ReasonLookupTimeout {
			t.Errorf("without a slot: %v", err)
		}
	}
	if len(w.asked) > 0 {
		t.Errorf("asked %q", w.asked)
	}
	for _, done := range slots {
		done()
	}
	if _, err := app.Digest(t.Context(), q.Reference); err != nil {
		t.Error(err)
	}
}

// A queue is there as long as somebody is in it.
func TestQueuesEnd(t *testing.T) {
	b := &breakers{now: time.Now}
	for i := range 3 * maxBreakers {
		v, err := b.enter("host", "repository", "team")
		if err != nil {
			t.Fatal(err)
		}
		done, err := v.request(t.Context(), fmt.Sprint("blobs-", i))
		if err != nil || len(b.queues) != 1 {
			t.Fatalf("%d queues, %v", len(b.queues), err)
		}
		done()
		v.leave()
	}
	if len(b.queues) != 0 || b.hosts["host"].users != 0 {
		t.Errorf("%d queues are left, %d at the host", len(b.queues), b.hosts["host"].users)
	}
}

// Inventing hosts makes no room, and what is known to be down is not forgotten for it.
func TestBreakersAreBounded(t *testing.T) {
	b := &breakers{now: time.Now}
	down := func(host string) {
		for range maxFailures {
			v, err := b.enter(host, "repository of "+host, "team")
			if err != nil {
				t.Fatal(err)
			}
			v.hostFailed(v1alpha1.ReasonLookupUnreachable)
			v.leave()
		}
	}
	down("down")
	for i := range 3 * maxBreakers {
		v, err := b.enter(fmt.Sprint(i), fmt.Sprint(i), "team")
		if err != nil {
			t.Fatal(err)
		}
		v.leave()
	}
	if len(b.hosts) > maxBreakers || len(b.repositories) > maxBreakers {
		t.Errorf("%d hosts and %d repositories are remembered", len(b.hosts), len(b.repositories))
	}
	if _, err := b.enter("down", "", "team"); !errors.Is(err, errHostRests) {
		t.Errorf("a host that is down is forgotten: %v", err)
	}
}

// After some failures in a row the host gets no requests, whatever image is wanted, and is tried again later.
func TestBreaker(t *testing.T) {
	w, h := newHangup(t)
	for i := range 6 {
		w.push(fmt.Sprintf("app-%d:1", i), image("linux", "amd64", "a"))
	}
	w.server.CloseClientConnections()
	h.down.Store(true)
	for i := range 5 {
		w.expect(w.query(fmt.Sprintf("app-%d:1", i)), "lookup-unreachable")
		if asked := h.hungUp.Swap(0) > 0; asked != (i < maxFailures) {
			t.Errorf("lookup %d after %d failures: asked is %v", i, i, asked)
		}
	}
	h.down.Store(false)
	w.expect(w.query("app-5:1"), "lookup-unreachable")
	w.now = w.now.Add(restTime)
	w.expect(w.query("app-5:1"), "a")
	w.expect(w.query("app-4:1"), "a")
}

func TestTLS(t *testing.T) {
	w := newWorld(t, httptest.NewTLSServer)
	w.push("app:1", image("linux", "amd64", "a"))
	ca := filepath.Join(t.TempDir(), "ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		host   Host
		reason string
	}{
		"unknown authority":      {Host{}, "lookup-tls"},
		"known authority":        {Host{CAFile: ca}, "a"},
		"taken without a look":   {Host{SkipVerify: true}, "a"},
		"another registry's":     {Host{Host: "registry.example", CAFile: ca}, "lookup-tls"},
		"a pattern, not another": {Host{Host: "*.0.0.1:1", CAFile: ca}, "lookup-tls"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.host.Host == "" {
				c.host.Host = w.host
			}
			w.config.Registries = []Host{c.host}
			w.restart()
			w.t = t
			w.expect(w.query("app:1"), c.reason)
		})
	}

	// One that speaks no TLS is not asked without it.
	plain := newWorld(t, httptest.NewServer)
	plain.push("app:1", image("linux", "amd64", "a"))
	plain.users = map[string]string{"alice": "secret"}
	plain.config.Registries = nil
	plain.restart()
	plain.expect(plain.query("app:1"), "lookup-plain-http")
	if len(plain.asked) > 0 {
		t.Errorf("it was asked %q", plain.asked)
	}
}

func TestAddressesAreCheckedWhereTheyAreDialled(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("app:1", image("linux", "amd64", "a"))
	w.config.PrivateNetworks = nil
	w.restart()
	w.expect(w.query("app:1"), "lookup-forbidden-address")
	w.expect(w.query("//localhost:"+w.server.URL[strings.LastIndex(w.server.URL, ":")+1:]+"/app:1"), "lookup-forbidden-address")
	w.expect(w.query("//169.254.169.254/app:1"), "lookup-forbidden-address")
	if len(w.asked) > 0 {
		t.Errorf("it was asked %q", w.asked)
	}
}

// A private network that one host may be in opens nothing for any other: not by another name, not by a redirect.
func TestPrivateNetworksOfAHost(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	i := image("linux", "amd64", "a")
	w.push("app:1", i)
	config, err := i.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	other := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = out.Write(config)
	}))
	defer other.Close()
	otherHost := strings.TrimPrefix(other.URL, "http://")
	localhost := "localhost" + w.host[strings.LastIndex(w.host, ":"):]
	w.config = Config{Registries: []Host{
		{Host: w.host, PlainHTTP: true, PrivateNetworks: []string{"127.0.0.0/8"}},
		{Host: localhost, PlainHTTP: true},
		{Host: otherHost, PlainHTTP: true},
	}}
	w.restart()
	w.expect(w.query("app:1"), "a")
	w.expect(w.query("//"+localhost+"/app:1"), "lookup-forbidden-address")

	w.restart()
	w.set(at("blobs", func(out http.ResponseWriter, r *http.Request) bool {
		http.Redirect(out, r, other.URL, 307)
		return true
	}))
	w.expect(w.query("app:1"), "lookup-forbidden-address")
	if asked > 0 {
		t.Error("the redirect was followed")
	}
	w.config.Registries[2].PrivateNetworks = []string{"127.0.0.0/8"}
	w.restart()
	w.expect(w.query("app:1"), "a")
	if asked == 0 {
		t.Error("the redirect was not followed")
	}
}

// The first entry that fits a host is how it is connected to, too: one from a hosts.toml does not weaken it.
func TestTheFirstEntryCounts(t *testing.T) {
	w := newWorld(t, httptest.NewTLSServer)
	w.push("app:1", image("linux", "amd64", "a"))
	w.config.Registries = []Host{{Host: w.host}, {Host: w.host, SkipVerify: true, PrivateNetworks: []string{"127.0.0.0/8"}}}
	w.restart()
	w.expect(w.query("app:1"), "lookup-tls")
	w.config.PrivateNetworks = nil
	w.restart()
	w.expect(w.query("app:1"), "lookup-forbidden-address")
}

// A redirect by name is caught where its address is known, and not before.
func TestRedirectByName(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("app:1", image("linux", "amd64", "a"))
	for _, host := range []string{"no-such-host.invalid", "100.100.100.200"} {
		w.config.Registries = append(w.config.Registries, Host{Host: host, PlainHTTP: true})
	}
	w.restart()
	w.set(at("blobs", func(out http.ResponseWriter, r *http.Request) bool {
		http.Redirect(out, r, "http://no-such-host.invalid/", 307)
		return true
	}))
	w.expect(w.query("app:1"), "lookup-unreachable")
	w.set(at("blobs", func(out http.ResponseWriter, r *http.Request) bool {
		http.Redirect(out, r, "http://100.100.100.200/latest", 307)
		return true
	}))
	w.now = w.now.Add(time.Hour)
	w.expect(w.query("app:1"), "lookup-forbidden-address")
	w.set(at("blobs", func(out http.ResponseWriter, r *http.Request) bool {
		http.Redirect(out, r, "http://registry.invalid/", 307)
		return true
	}))
	w.now = w.now.Add(time.Hour)
	w.expect(w.query("app:1"), "lookup-plain-http") // not without TLS
}

// Behind a proxy only hosts that are named are asked.
func TestProxy(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("app:1", image("linux", "amd64", "a"))
	var through []string
	proxy := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		through = append(through, r.URL.Host)
		r.RequestURI = ""
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			out.WriteHeader(http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		for key := range response.Header {
			out.Header().Set(key, response.Header.Get(key))
		}
		out.WriteHeader(response.StatusCode)
		_, _ = io.Copy(out, response.Body)
	}))
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	always := func(*http.Request) (*url.URL, error) { return at, nil }
	config := w.config
	config.PrivateNetworks = nil
	ask := func(config Config) error {
		registries, err := New(config, nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{w.host, ""} {
			registries.guards[key] = newGuarded(&tls.Config{}, config.of, nil, always)
		}
		for candidate, err := range registries.Candidates(t.Context(), w.query("app:1")) {
			if err != nil {
				t.Fatal(err)
			}
			_, err := candidate.Repository.Digest(t.Context(), w.query("app:1").Reference)
			return err
		}
		return errors.New("no candidate")
	}
	if err := ask(config); err != nil {
		t.Errorf("a host that is named: %v", err)
	}
	if len(through) == 0 {
		t.Error("the proxy was passed by")
	}
	through = nil
	config.Registries = nil
	var f *imageconfig.Failure
	if err := ask(config); !errors.As(err, &f) || f.Reason != v1alpha1.ReasonLookupForbidden {
		t.Errorf("a host that is not named: %v", err)
	}
	if len(through) > 0 {
		t.Errorf("the proxy was sent to %q", through)
	}
}

// secret is a pull secret in the new format, or with legacy in the old one.
func secret(legacy bool, auths map[string]string) *corev1.Secret {
	entries := map[string]map[string]string{}
	for place, login := range auths {
		user, password, _ := strings.Cut(login, ":")
		entries[place] = map[string]string{"username": user, "password": password}
	}
	s := &corev1.Secret{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{}}
	if legacy {
		s.Data[corev1.DockerConfigKey], _ = json.Marshal(entries)
		return s
	}
	s.Type = corev1.SecretTypeDockerConfigJson
	s.Data[corev1.DockerConfigJsonKey], _ = json.Marshal(map[string]any{"auths": entries})
	return s
}

func TestPullSecrets(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("team/app:1", image("linux", "amd64", "a"))
	w.users = map[string]string{"alice": "right"}
	w.secrets = map[string]*corev1.Secret{
		"team/right":     secret(false, map[string]string{w.host: "alice:right"}),
		"team/legacy":    secret(true, map[string]string{"http://" + w.host + "/v2/": "alice:right"}),
		"team/wrong":     secret(false, map[string]string{w.host: "alice:wrong"}),
		"team/specific":  secret(false, map[string]string{w.host: "alice:wrong", w.host + "/team": "alice:right"}),
		"team/elsewhere": secret(false, map[string]string{w.host + "/other": "alice:right", "registry.example": "alice:right"}),
		"team/broken":    {Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":"hunter2`)}},
		"team/opaque":    {Type: corev1.SecretTypeOpaque, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{}`)}},
		"other/foreign":  secret(false, map[string]string{w.host: "alice:right"}),
	}
	for name, c := range map[string]struct {
		secrets []string
		want    string
	}{
		"right":                         {[]string{"right"}, "a"},
		"legacy":                        {[]string{"legacy"}, "a"},
		"wrong":                         {[]string{"wrong"}, "lookup-unauthorized"},
		"none":                          {nil, "lookup-unauthorized"},
		"wrong beside right":            {[]string{"wrong", "right"}, "a"},
		"the most specific":             {[]string{"specific"}, "a"},
		"for something else":            {[]string{"elsewhere"}, "lookup-unauthorized"},
		"broken ones beside right":      {[]string{"broken", "opaque", "missing", "right"}, "a"},
		"of another namespace":          {[]string{"foreign"}, "lookup-unauthorized"},
		"only such that cannot be used": {[]string{"broken", "opaque", "missing"}, "lookup-unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			w.restart()
			got, err := w.look(w.query("team/app:1", c.secrets...))
			if got != c.want {
				t.Errorf("%s, want %s (%v)", got, c.want, err)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "wrong")) {
				t.Errorf("a secret is told: %v", err)
			}
		})
	}

	// Whether there is such a Secret, and of which type, is for the log alone: the answer is as without one.
	w.restart()
	_, without := w.look(w.query("team/app:1"))
	for _, name := range []string{"broken", "opaque", "missing", "elsewhere"} {
		w.restart()
		found, err := w.cache.Lookup(t.Context(), w.query("team/app:1", name))
		if err == nil || err.Error() != without.Error() {
			t.Errorf("with secret %s: %v; without one: %v", name, err, without)
		}
		if told := fmt.Sprint(found.Ignored); name != "elsewhere" && !strings.Contains(told, "secret "+name) {
			t.Errorf("with secret %s the log has %s", name, told)
		}
	}

	// Public images are read by nobody after a credential was refused.
	w.users = nil
	w.set(func(out http.ResponseWriter, r *http.Request) bool {
		if _, _, ok := r.BasicAuth(); ok {
			out.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if r.URL.Path == "/v2/" {
			out.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			out.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})
	w.restart()
	w.expect(w.query("team/app:1", "wrong"), "a")
}

// Of the entries that cannot be read the log has some, and how many there are besides; what concerns a whole Secret it has
// anyway.
func TestManyUnreadEntries(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("team/app:1", image("linux", "amd64", "a"))
	entries := map[string]int{}
	for i := range 5000 {
		entries[fmt.Sprintf("registry-%04d.example", i)] = 0
	}
	text, err := json.Marshal(map[string]any{"auths": entries})
	if err != nil {
		t.Fatal(err)
	}
	many := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: text}}
	few := many.DeepCopy()
	few.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{"a":0,"b":0}}`)
	w.secrets = map[string]*corev1.Secret{"team/few": few, "team/many": many, "team/also": many}
	found, err := w.cache.Lookup(t.Context(), w.query("team/app:1", "few", "many", "also", "missing"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, problem := range found.Ignored {
		got = append(got, problem.Error())
	}
	var want []string
	for _, name := range []string{"a", "b"} {
		want = append(want, fmt.Sprintf("reading secret few: the entry for %q: it is not an object with username and password, or auth", name))
	}
	for i := range maxProblems - 2 {
		want = append(want, fmt.Sprintf(`reading secret many: the entry for "registry-%04d.example": it is not an object with username and password, or auth`, i))
	}
	want = append(want, "reading secret missing: not found", "and 9986 more entries of the pod's imagePullSecrets cannot be read")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
}

// A keychain of one's own: docker's config, with a helper that does not work for another registry.
func TestKeychain(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("team/app:1", image("linux", "amd64", "a"))
	w.users = map[string]string{"alice": "right"}
	w.expect(w.query("team/app:1"), "lookup-unauthorized")

	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	write := func(config string) {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		w.restart()
	}
	w.keychain = authn.DefaultKeychain
	write(`{"auths":{"` + w.host + `":{"username":"alice","password":"right"}}}`)
	w.expect(w.query("team/app:1"), "a")
	write(`{"auths":{"` + w.host + `":{"username":"alice","password":"wrong"}}}`)
	w.expect(w.query("team/app:1"), "lookup-unauthorized")

	// What does not work is passed by, and is no reason not to try as nobody.
	write(`{"credsStore":"no-such-program"}`)
	w.users = nil
	w.expect(w.query("team/app:1"), "a")
}

func TestMirrors(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("cache/team/app:1", image("linux", "amd64", "a"))
	w.config.Registries = append(w.config.Registries, Host{Host: "registry.example", Mirrors: []string{w.host + "/cache"}})
	w.restart()
	w.expect(w.query("//registry.example/team/app:1"), "a")
	// What the mirror does not have is asked for elsewhere.
	w.config.Registries[1] = Host{Host: "*.invalid", Mirrors: []string{"no-such-mirror.invalid", w.host + "/nothing", w.host + "/cache"}}
	w.restart()
	w.expect(w.query("//registry.invalid/team/app:1"), "a")
}

// A mirror that anybody may read has some tags of a private repository. It opens these, and no other.
func TestMirrorOpensNothingOfTheRegistry(t *testing.T) {
	w, mirror := newWorld(t, httptest.NewServer), newWorld(t, httptest.NewServer)
	public := image("linux", "amd64", "public")
	w.push("team/app:public", public)
	mirror.push("team/app:public", public)
	digest := w.push("team/app:secret", image("linux", "amd64", "secret"))
	w.users = map[string]string{"alice": "right"}
	w.secrets = map[string]*corev1.Secret{"alice/s": secret(false, map[string]string{w.host: "alice:right"})}
	w.config.Registries = []Host{{Host: w.host, PlainHTTP: true, Mirrors: []string{mirror.host}}, {Host: mirror.host, PlainHTTP: true}}
	w.restart()
	in := func(namespace, image string, secrets ...string) imageconfig.Query {
		q := w.query(image, secrets...)
		q.Namespace = namespace
		return q
	}
	w.expect(in("alice", "team/app:secret", "s"), "secret")
	w.expect(in("mallory", "team/app:public"), "public")
	for _, image := range []string{"team/app:secret", "team/app@" + digest} {
		if got, _ := w.look(in("mallory", image)); got == "secret" {
			t.Errorf("mallory is told what %s runs", image)
		}
		w.expect(in("alice", image, "s"), "secret")
	}
}

// The same reference is another image for each credential.
func TestRegistryThatAnswersByUser(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	of := map[string]*world{}
	w.secrets = map[string]*corev1.Secret{}
	for _, who := range []string{"alice", "bob"} {
		of[who] = newWorld(t, httptest.NewServer)
		of[who].push("vendor/app:1", image("linux", "amd64", "for "+who))
		w.secrets[who+"/s"] = secret(false, map[string]string{w.host: who + ":x"})
	}
	w.set(func(out http.ResponseWriter, r *http.Request) bool {
		user, _, ok := r.BasicAuth()
		if !ok {
			return respond(401, "WWW-Authenticate", `Basic realm="test"`)(out, r)
		}
		of[user].server.Config.Handler.ServeHTTP(out, r)
		return true
	})
	for range 2 {
		for range 2 {
			for _, who := range []string{"alice", "bob"} {
				q := w.query("vendor/app:1", "s")
				q.Namespace = who
				w.expect(q, "for "+who)
			}
		}
		w.now = w.now.Add(3 * time.Minute)
	}
}

func TestLookupOff(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	off := false
	w.config.Registries[0].Lookup = &off
	w.restart()
	w.expect(w.query("app:1"), "lookup-off")
	if len(w.asked) > 0 {
		t.Errorf("it was asked %q", w.asked)
	}
}

// A namespace whose requests hang leaves slots of the host to others, and answers that never end leave room.
func TestShares(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	for i := range 40 {
		w.push(fmt.Sprintf("evil/app-%d:1", i), image("linux", "amd64", "a"))
	}
	w.push("team/app:1", index(image("linux", "amd64", strings.Repeat("a", 100<<10)), image("linux", "arm64", strings.Repeat("a", 100<<10))))
	stop := make(chan struct{})
	defer w.server.CloseClientConnections()
	defer close(stop)
	hang := func(r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"requests that hang": func(_ http.ResponseWriter, r *http.Request) bool {
			hang(r)
			return true
		},
		"answers that never end": func(out http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				return false
			}
			_, _ = io.WriteString(out, strings.Repeat(" ", maxManifest-10)) // chunked
			out.(http.Flusher).Flush()
			hang(r)
			return true
		},
		"answers that promise much": func(out http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				return false
			}
			out.Header().Set("Content-Length", fmt.Sprint(maxManifest))
			_, _ = io.WriteString(out, "{")
			out.(http.Flusher).Flush()
			hang(r)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.restart()
			// So that they hang for as long as the test takes.
			w.registries.guards[w.host].direct.(*http.Transport).ResponseHeaderTimeout = 0
			limits := imageconfig.DefaultLimits()
			limits.RequestTimeout = time.Hour
			w.cache = imageconfig.NewCache(w.registries, limits, time.Now)
			w.set(func(out http.ResponseWriter, r *http.Request) bool {
				return strings.HasPrefix(r.URL.Path, "/v2/evil/") && fault(out, r)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			var all sync.WaitGroup
			for i := range 40 {
				q := w.query(fmt.Sprintf("evil/app-%d:1", i))
				q.Namespace = "evil"
				all.Go(func() { _, _ = w.cache.Lookup(ctx, q) })
			}
			all.Wait()
			if got, err := w.look(w.query("team/app:1")); len(got) != 100<<10 {
				t.Errorf("the other namespace gets %.100s, %v", got, err)
			}
		})
	}
}

// large is an image with a config of about n bytes, most of it history.
func large(t *testing.T, n int, words ...string) v1.Image {
	t.Helper()
	config, err := image("linux", "amd64", words...).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.History = []v1.History{{CreatedBy: strings.Repeat("x", n), EmptyLayer: true}}
	made, err := mutate.ConfigFile(empty.Image, config)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Large answers for one namespace that arrive at the same time, piece by piece, and take more room together than it has, are
// read one after the other. So is the largest that there may be.
func TestAnswersTakeTurns(t *testing.T) {
	w := newWorld(t, func(inner http.Handler) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { inner.ServeHTTP(pieces{out}, r) }))
	})
	const images = 16
	for i := range images {
		w.push(fmt.Sprintf("team/app-%d:1", i), large(t, 3<<19, fmt.Sprint(i)))
	}
	var all sync.WaitGroup
	for i := range images {
		all.Go(func() { w.expect(w.query(fmt.Sprintf("team/app-%d:1", i)), fmt.Sprint(i)) })
	}
	all.Wait()
	w.push("team/largest:1", large(t, maxConfigBlob-1<<10, "a"))
	w.expect(w.query("team/largest:1"), "a")
	if used := w.registries.room.Used(); used != 0 {
		t.Errorf("%d bytes are held in the end", used)
	}
}

// pieces writes a little at a time.
type pieces struct{ http.ResponseWriter }

func (p pieces) Write(text []byte) (n int, err error) {
	for piece := range slices.Chunk(text, 128<<10) {
		written, err := p.ResponseWriter.Write(piece)
		if n += written; err != nil {
			return n, err
		}
		p.ResponseWriter.(http.Flusher).Flush()
		time.Sleep(5 * time.Millisecond)
	}
	return n, nil
}

// What was read of an answer that has broken off is in memory while the rest of it does not come, and takes room.
func TestBrokenAnswersTakeRoom(t *testing.T) {
	const n = 3 << 20
	w := newWorld(t, httptest.NewServer)
	w.push("team/app:1", large(t, n, "a"))
	hangs, end := make(chan struct{}, 1), make(chan struct{})
	w.set(at("/blobs/", func(out http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") != "" {
			hangs <- struct{}{}
			<-end
			return false
		}
		out.Header().Set("Content-Length", fmt.Sprint(n))
		_, _ = io.WriteString(out, strings.Repeat(" ", n/2))
		panic(http.ErrAbortHandler)
	}))
	var all sync.WaitGroup
	all.Go(func() { _, _ = w.look(w.query("team/app:1")) })
	select {
	case <-hangs:
	case <-time.After(time.Minute):
		t.Fatal("the rest is not asked for")
	}
	if used := w.registries.room.Used(); used < n {
		t.Errorf("%d bytes of room are taken, want %d at least", used, n)
	}
	close(end)
	all.Wait()
}

// A lookup that timed out waiting for room does not count as a failure of the repository.
func TestNoRoomIsNotAFailure(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	var images []string // by digest, so that no answer about a tag comes between
	for i := range maxFailures + 2 {
		images = append(images, "team/app@"+w.push(fmt.Sprintf("team/app:%d", i), large(t, 1<<20, fmt.Sprint(i))))
	}
	within := func(timeout time.Duration) {
		limits := imageconfig.DefaultLimits()
		limits.RequestTimeout = timeout
		w.cache = imageconfig.NewCache(w.registries, limits, func() time.Time { return w.now })
	}
	most := w.registries.room.Most()
	if err := w.registries.room.Acquire(t.Context(), "team", most); err != nil {
		t.Fatal(err)
	}
	within(50 * time.Millisecond)
	for _, image := range images[1:] {
		w.expect(w.query(image), "lookup-timeout")
	}
	w.registries.room.Release("team", most)
	within(time.Minute)
	w.expect(w.query(images[0]), "0")
}

// A Pod's Secrets are read once, however many images it has, and no more of all Pods' is held at once than there is room
// for; what one namespace has in its Secrets keeps no other from being served.
func TestSecretsAreReadOnce(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.users = map[string]string{"alice": "right"}
	right := secret(false, map[string]string{w.host: "alice:right"})
	huge := secret(false, map[string]string{w.host: "alice:right", "registry.example": "x:" + strings.Repeat("x", 40<<10)})
	var read, reading, most atomic.Int64
	registries, err := New(w.config, func(_ context.Context, namespace, _ string) (*corev1.Secret, error) {
		read.Add(1)
		if n := reading.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer reading.Add(-1)
		if namespace == "evil" {
			time.Sleep(time.Millisecond)
			return huge, nil
		}
		return right, nil
	}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	credentials := func(ctx context.Context, q imageconfig.Query) (users []string, problems []error) {
		for candidate, err := range registries.Candidates(ctx, q) {
			if err != nil {
				problems = append(problems, err)
				continue
			}
			users = append(users, candidate.Repository.(*repository).login.Username)
		}
		return users, problems
	}
	pod := imageconfig.NewPod()
	var all sync.WaitGroup
	for i := range 100 {
		q := w.query(fmt.Sprintf("team/app-%d:1", i), "one", "two")
		q.Pod = pod
		all.Go(func() {
			if users, problems := credentials(t.Context(), q); !cmp.Equal(users, []string{"alice", ""}) {
				t.Errorf("%q, %v", users, problems)
			}
		})
	}
	all.Wait()
	pod.Close()
	if read.Load() != 2 {
		t.Errorf("2 Secrets were read %d times for 100 images of one Pod", read.Load())
	}
	// Who had no time finds out nothing for those who have.
	pod = imageconfig.NewPod()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	q := w.query("team/app:1", "one")
	q.Pod = pod
	credentials(done, q)
	if users, problems := credentials(t.Context(), q); !cmp.Equal(users, []string{"alice", ""}) {
		t.Errorf("after one without time: %q, %v", users, problems)
	}
	pod.Close()

	// 200 Pods of one namespace at once, each with 16 Secrets of 40 KiB, which they hold.
	ctx, cancel := context.WithCancel(t.Context())
	most.Store(0)
	for range 200 {
		q := w.query("team/app:1", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p")
		q.Namespace = "evil"
		all.Go(func() {
			for range registries.Candidates(ctx, q) {
				<-ctx.Done()
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	if used := registries.held.Used(); used > maxSecrets || most.Load() > maxSecrets/readingSecrets/2 {
		t.Errorf("%d bytes of Secrets are held, %d were read at once", used, most.Load())
	}
	if users, problems := credentials(t.Context(), w.query("team/app:1", "one")); !cmp.Equal(users, []string{"alice", ""}) {
		t.Errorf("another namespace: %q, %v", users, problems)
	}
	cancel()
	all.Wait()
	if used := registries.held.Used(); used != 0 {
		t.Errorf("%d bytes are held in the end", used)
	}
}

// Names that nodes do not take are not asked for: ".." in them would lead to another path of the host.
func TestNamesThatLeadElsewhere(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("secret/app:1", image("linux", "amd64", "a"))
	for _, image := range []string{"hub/../secret/app:1", "../secret/app:1", "hub/./app:1", "hub//app:1", "-hub/app:1", "..:1"} {
		w.expect(w.query(image), "invalid-image")
	}
	if asked := w.forget(); len(asked) > 0 {
		t.Errorf("it was asked %q", asked)
	}
}
