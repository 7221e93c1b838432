package hostile

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

const goodPassword = "right"

// registries are the registries of the tests: one that is well, which both tenants use, and some of each hostile kind.
type registries struct {
	good string
	// hostile addresses, by what they do.
	hostile map[string][]string
}

// each is how many addresses there are of each hostile kind: each is a registry of its own to the webhook.
const each = 16

// newRegistries starts them; the hostile ones are a process of their own, which is as little worth as an attacker.
func newRegistries(t *testing.T) *registries {
	t.Helper()
	r := &registries{good: serve(http.HandlerFunc(wellBehaved))}
	cmd, stdin, stdout := startOurselves(t, registriesVariable+"=yes")
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the hostile registries: %v", err)
		}
	})
	if err := json.NewDecoder(stdout).Decode(&r.hostile); err != nil {
		t.Fatalf("the hostile registries do not say where they are: %v", err)
	}
	return r
}

// serveHostile serves the hostile registries until the standard input ends, and prints where they are.
func serveHostile() {
	hostile := map[string][]string{}
	for kind, handler := range map[string]http.HandlerFunc{
		"slow": func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(2500 * time.Millisecond)
			wellBehaved(w, r)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?again", http.StatusTemporaryRedirect)
		},
		"endless": endless, "drip": drip, "nested": nested, "large": large,
	} {
		for range each {
			hostile[kind] = append(hostile[kind], serve(handler))
		}
	}
	for range each {
		realm := tarpit()
		hostile["tarpit"] = append(hostile["tarpit"], realm)
		hostile["token"] = append(hostile["token"], serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="registry"`, realm))
			w.WriteHeader(http.StatusUnauthorized)
		})))
	}
	if err := json.NewEncoder(os.Stdout).Encode(hostile); err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// config is the registry configuration of the webhook.
func (r *registries) config() string {
	var text strings.Builder
	text.WriteString("privateNetworks: [127.0.0.0/8]\nregistries:\n")
	fmt.Fprintf(&text, "- {host: %q, plainHTTP: true}\n", r.good)
	for _, hosts := range r.hostile {
		for _, host := range hosts {
			fmt.Fprintf(&text, "- {host: %q, plainHTTP: true}\n", host)
		}
	}
	return text.String()
}

// serve serves as long as this process runs.
func serve(handler http.Handler) string {
	l := listen()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(l) }()
	return l.Addr().String()
}

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return l
}

// tarpit takes connections and says nothing.
func tarpit() string {
	l := listen()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			time.AfterFunc(time.Minute, func() { c.Close() })
		}
	}()
	return l.Addr().String()
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
)

var (
	imageConfig   = []byte(`{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/web"],"Cmd":["--port=80"]},"rootfs":{"type":"layers","diff_ids":[]}}`)
	imageManifest = manifestOf(imageConfig)
)

func digestOf(text []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(text)) }

func manifestOf(config []byte) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		manifestType, configType, digestOf(config), len(config))
}

// wellBehaved has one image in every repository, under every tag. Those below private are for the tenant shop alone, and
// those below broken and limited are in trouble.
func wellBehaved(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/v2/broken/"):
		w.WriteHeader(http.StatusInternalServerError)
	case strings.HasPrefix(path, "/v2/limited/"):
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	case path == "/v2/":
	case strings.HasPrefix(path, "/v2/private/"):
		if user, password, ok := r.BasicAuth(); !ok || user != "shop" || password != goodPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(w, r, imageManifest, imageConfig)
	default:
		answer(w, r, imageManifest, imageConfig)
	}
}

// answer answers for a manifest or its config.
func answer(w http.ResponseWriter, r *http.Request, manifest, config []byte) {
	text, of := config, configType
	if strings.Contains(r.URL.Path, "/manifests/") {
		text, of = manifest, manifestType
	}
	w.Header().Set("Content-Type", of)
	w.Header().Set("Docker-Content-Digest", digestOf(text))
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(text)
	}
}

// endless answers with a body that never ends.
func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", manifestType)
	w.Header().Set("Docker-Content-Digest", digestOf([]byte(r.URL.Path)))
	if r.Method == http.MethodHead {
		return
	}
	for {
		if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
			return
		}
	}
}

// drip sends a byte now and then.
func drip(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", manifestType)
	for r.Context().Err() == nil {
		if _, err := w.Write([]byte(" ")); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		time.Sleep(200 * time.Millisecond)
	}
}

// deepConfig is JSON that is nested as deep as it gets.
var deepConfig = sync.OnceValue(func() []byte {
	return append(append([]byte(`{"config":`), bytes.Repeat([]byte(`{"a":`), 700_000)...), '1')
})

func nested(w http.ResponseWriter, r *http.Request) {
	answer(w, r, manifestOf(deepConfig()), deepConfig())
}

// large has another image in every repository, with a config of 2 MiB.
func large(w http.ResponseWriter, r *http.Request) {
	repository, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/x"],"Env":["NAME=%s","A=%s"]}}`, repository, strings.Repeat("x", 2<<20))
	answer(w, r, manifestOf(config), config)
}
