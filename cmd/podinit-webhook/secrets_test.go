package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/logs"
	"github.com/podinit/podinit/internal/registry/registrytest"
	"github.com/podinit/podinit/internal/webhookoptions"
	"github.com/podinit/podinit/webhook"
)

// What must never be seen: a password that is right, one that is wrong, and what stands in secrets that are broken.
var passwords = []string{"correct-horse", "battery-staple", "torn-paper", "spilled-ink"}

// TestNoSecretIsTold looks a private image up with every kind of imagePullSecret, right, wrong and broken, and searches
// the log at its highest level, the answers and the metrics for their passwords.
func TestNoSecretIsTold(t *testing.T) {
	said := lookUpPrivately(t, logs.MaxVerbosity)
	for what, text := range said {
		for _, password := range passwords {
			for _, form := range forms(password) {
				if strings.Contains(text, form) {
					t.Errorf("%s: tells %q:\n%s", what, form, text)
				}
			}
		}
	}
	// Whether there is such a Secret, and of which type, is for the log alone.
	for _, word := range []string{"secret torn", "secret missing", "no such secret", "of type", "docker config"} {
		if strings.Contains(said["answers"], word) {
			t.Errorf("the answers tell of a Secret, %q:\n%s", word, said["answers"])
		}
	}
	// And what is searched is not empty of what should be there.
	for what, words := range map[string][]string{
		"log":     {`"outcome":"patched"`, `"outcome":"registry"`, "secret torn", "is not a docker config in JSON", "secret missing: there is no such secret", `"outcome":"lookup-unauthorized"`},
		"answers": {"podinit.dev/entrypoint."},
		"metrics": {`podinit_lookup_duration_seconds_count{outcome="registry"} 1`, `podinit_lookup_duration_seconds_count{outcome="lookup-unauthorized"} 1`, "podinit_unusable_credentials_total 8"},
	} {
		for _, word := range words {
			if !strings.Contains(said[what], word) {
				t.Errorf("%s: there is no %q:\n%s", what, word, said[what])
			}
		}
	}
}

// TestVerbosityIsBounded shows why: two levels more, and the client library logs the Secrets that it reads.
func TestVerbosityIsBounded(t *testing.T) {
	text := lookUpPrivately(t, logs.MaxVerbosity+2)["log"]
	for _, form := range forms(passwords[0]) {
		if strings.Contains(text, form) {
			return
		}
	}
	t.Errorf("the bound of -v is not needed any more:\n%s", text)
}

// forms in which a password can be told: as it is, within a docker config's auth, and within the data of a Secret that
// holds that; base64 at each place in a group.
func forms(password string) []string {
	forms := []string{password}
	for range 2 {
		for _, text := range slices.Clone(forms) {
			for shift := range 3 {
				encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", shift) + text))
				forms = append(forms, encoded[4:len(encoded)-4])
			}
		}
	}
	return forms
}

// lookUpPrivately is what the webhook says, wherever it says something, about two Pods with a private image: one whose
// last imagePullSecret is right, and one that has none that is.
func lookUpPrivately(t *testing.T, verbosity int) map[string]string {
	t.Helper()
	host := privateRegistry(t)
	out := &buffer{}
	logger := logs.New(out, verbosity)
	klog.SetLogger(logger)
	t.Cleanup(klog.ClearLogger)

	config := filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(config, []byte(fmt.Sprintf("registries: [{host: %q, plainHTTP: true}]\nprivateNetworks: [127.0.0.0/8]\n", host)), 0o600); err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	o := webhookoptions.Options{Lookups: true, PullSecrets: true, RegistryConfig: config}
	images, err := newImages(o, secretsOf(t, host), metrics)
	if err != nil {
		t.Fatal(err)
	}
	handler := &webhook.Handler{
		Mutator: admission.Planner{Config: inject.Config{Image: "registry.example/init:1", Version: "v1"}, Images: images, LookupTimeout: 20 * time.Second},
		Metrics: webhook.NewMetrics(metrics), Log: logger.WithName("admission"),
	}
	var answers strings.Builder
	for _, secrets := range [][]string{{"wrong", "torn", "unclear", "missing"}, {"wrong", "torn", "unclear", "missing", "right"}} {
		var references []string
		for _, s := range secrets {
			references = append(references, fmt.Sprintf(`{"name":%q}`, s))
		}
		review := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","resource":{"resource":"pods"},"namespace":"team",
			"operation":"CREATE","object":{"metadata":{"name":"p"},"spec":{"imagePullSecrets":[%s],"containers":[{"name":"app","image":"%s/app:1"}]}}}}`,
			strings.Join(references, ","), host)
		// The logger in the context is what controller-runtime gives to whoever reads and writes the certificate's Secret.
		request := httptest.NewRequestWithContext(logr.NewContext(t.Context(), logger), http.MethodPost, "/mutate?timeout=30s", strings.NewReader(review))
		request.Header.Set("Content-Type", "application/json")
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		var answer struct{ Response struct{ Patch []byte } }
		if err := json.Unmarshal(response.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		answers.Write(response.Body.Bytes())
		answers.Write(answer.Response.Patch)
	}
	var gathered strings.Builder
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&gathered, f); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{"log": out.String(), "answers": answers.String(), "metrics": gathered.String()}
}

// privateRegistry holds app:1 for alice alone.
func privateRegistry(t *testing.T) (host string) {
	t.Helper()
	inner := registrytest.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != passwords[0] {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	registrytest.Push(t, host+"/app:1", []string{"/app"}, remote.WithAuth(&authn.Basic{Username: "alice", Password: passwords[0]}))
	return host
}

// secretsOf is a client of an apiserver that has Secrets in namespace team.
func secretsOf(t *testing.T, host string) client.Reader {
	t.Helper()
	auths := func(password string) []byte {
		return []byte(fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("alice:"+password))))
	}
	secrets := map[string][]byte{
		"right":   auths(passwords[0]),
		"wrong":   auths(passwords[1]),
		"torn":    []byte(`{"auths":{"` + passwords[2]),
		"unclear": []byte(fmt.Sprintf(`{"auths":{%q:{"auth":%q},"other.example":{"password":["alice","%s"]}}}`, host, passwords[3]+"%", passwords[3])),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := any(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: "NotFound", Code: 404, Message: "there is no such secret"})
		if data, ok := secrets[path.Base(r.URL.Path)]; ok {
			answer = corev1.Secret{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
				ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: path.Base(r.URL.Path)},
				Type:       corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: data},
			}
		} else {
			w.WriteHeader(http.StatusNotFound)
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	reader, err := client.New(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}}, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

// buffer is a bytes.Buffer for several writers.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
