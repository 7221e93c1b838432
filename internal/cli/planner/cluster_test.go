package planner

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/internal/registry/registrytest"
)

// apiserver has a webhook's Deployment and what it mounts.
type apiserver struct {
	deployment *appsv1.Deployment
	// objects by path.
	objects map[string]any
	// forbidden are the beginnings of paths that may not be read.
	forbidden []string
	// hangs has it never answer.
	hangs bool
}

func (s *apiserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.hangs {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	status := func(code int, reason string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":%q}`, reason, code, reason+" "+r.URL.Path)
	}
	for _, path := range s.forbidden {
		if strings.HasPrefix(r.URL.Path, path) {
			status(http.StatusForbidden, "Forbidden")
			return
		}
	}
	if strings.HasSuffix(r.URL.Path, "/deployments") {
		list := appsv1.DeploymentList{TypeMeta: metav1.TypeMeta{Kind: "DeploymentList", APIVersion: "apps/v1"}}
		if s.deployment != nil {
			list.Items = append(list.Items, *s.deployment)
		}
		_ = json.NewEncoder(w).Encode(list)
		return
	}
	object, ok := s.objects[r.URL.Path]
	if !ok {
		status(http.StatusNotFound, "NotFound")
		return
	}
	_ = json.NewEncoder(w).Encode(object)
}

// installed is a webhook as config/ installs it, with these arguments besides.
func installed(registries string, args ...string) *apiserver {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-system", Name: "podinit-webhook"}}
	volumes := []corev1.Volume{
		{Name: "registries", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "podinit-registries"}}}},
		{Name: "certs", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "certs"}, Items: []corev1.KeyToPath{{Key: "hub", Path: "docker.io/hosts.toml"}},
		}}},
		{Name: "node", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc/containerd/certs.d"}}},
	}
	d.Spec.Template.Spec.Volumes = volumes
	d.Spec.Template.Spec.Containers = []corev1.Container{{
		Name: "webhook", Image: "registry.example/podinit/webhook:v9.9.9", Env: []corev1.EnvVar{{Name: "PODINIT_INIT_IMAGE", Value: "registry.example/podinit/init:v9.9.9"}},
		Args: append([]string{"-registry-config=/etc/podinit/registries/registries.yaml"}, args...),
		VolumeMounts: []corev1.VolumeMount{
			{Name: "registries", MountPath: "/etc/podinit/registries"}, {Name: "certs", MountPath: "/etc/podinit/certs.d"}, {Name: "node", MountPath: "/node"},
		},
	}}
	configMap := func(name string, data map[string]string) any {
		return corev1.ConfigMap{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
	}
	const at = "/api/v1/namespaces/podinit-system/configmaps/"
	return &apiserver{deployment: d, objects: map[string]any{
		at + "podinit-registries": configMap("podinit-registries", map[string]string{"registries.yaml": registries, "own.crt": "to be replaced"}),
		at + "certs":              configMap("certs", map[string]string{"hub": "server = \"https://mirror.example\"\n"}),
	}}
}

// flagsFor is a kubeconfig of this cluster alone.
func flagsFor(t *testing.T, handler http.Handler) *genericclioptions.ConfigFlags {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig = &file
	return flags
}

// plan is an injector for these options, and what it has written to standard error.
func plan(t *testing.T, o Options, flags *genericclioptions.ConfigFlags) (Injector, string) {
	t.Helper()
	var errOut bytes.Buffer
	injector, err := o.New(t.Context(), flags, genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: &errOut})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(injector.Close)
	return injector, errOut.String()
}

// An image at a registry of plain HTTP, or with a CA of its own, is looked up as the cluster's webhook does: only with its
// registry configuration.
func TestAgreesWithTheCluster(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("TMPDIR", t.TempDir())
	handler := registrytest.New()
	clear, encrypted := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer clear.Close()
	defer encrypted.Close()
	clearHost, encryptedHost := strings.TrimPrefix(clear.URL, "http://"), strings.TrimPrefix(encrypted.URL, "https://")
	registrytest.Push(t, clearHost+"/team/app:1", []string{"/app"})
	configured := installed(fmt.Sprintf("registries:\n- {host: %q, plainHTTP: true, privateNetworks: [127.0.0.0/8]}\n- {host: %q, caFile: own.crt, privateNetworks: [127.0.0.0/8]}\n"+
		"hostsDirectory: /etc/podinit/certs.d\ncredentials: {namespaces: [\"*\"], dockerConfigFile: /etc/podinit/docker/config.json}\n", clearHost, encryptedHost))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: encrypted.Certificate().Raw})
	configured.objects["/api/v1/namespaces/podinit-system/configmaps/podinit-registries"].(corev1.ConfigMap).Data["own.crt"] = string(ca)

	for _, tt := range []struct {
		name    string
		cluster *apiserver
		host    string
		want    v1alpha1.Reason // "" for wrapped
		errOut  string
	}{
		{"plain HTTP", configured, clearHost, "", "as deployment/podinit-webhook in namespace podinit-system: init image registry.example/podinit/init:v9.9.9, registry configuration\n"},
		{"a CA of its own", configured, encryptedHost, "", "registry configuration\n"},
		{"nothing is configured", installed("{}"), clearHost, v1alpha1.ReasonLookupForbidden, "registry configuration\n"},
		{"no lookups", installed("{}", "-lookups=false"), clearHost, v1alpha1.ReasonNoCommand, "no lookups (-lookups=false)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			injector, errOut := plan(t, Options{}, flagsFor(t, tt.cluster))
			if !strings.Contains(errOut, tt.errOut) {
				t.Errorf("standard error %q, want %q in it", errOut, tt.errOut)
			}
			object := fmt.Sprintf(`{"metadata":{},"spec":{"containers":[{"name":"app","image":"%s/team/app:1"}]}}`, tt.host)
			planned, err := injector.Plan(t.Context(), admission.Request{Namespace: "team", Object: []byte(object)})
			if err != nil {
				t.Fatal(err)
			}
			if c := planned.Plan.Containers[0]; c.Reason != tt.want {
				t.Errorf("reason %q (%s), want %q", c.Reason, c.Detail, tt.want)
			}
			if injector.Config.Image != "registry.example/podinit/init:v9.9.9" || injector.Config.Version != "v9.9.9" {
				t.Errorf("init image %s, version %s", injector.Config.Image, injector.Config.Version)
			}
			injector.Close()
			nothingLeft(t)
		})
	}
}

// What cannot be read is said, and nothing waits long for it.
func TestClusterNotRead(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	const deployments, configMaps = "/apis/apps/v1/deployments", "/api/v1/namespaces/podinit-system/configmaps"
	of := func(s *apiserver, forbidden ...string) *apiserver { s.forbidden = forbidden; return s }
	gone := flagsFor(t, http.NotFoundHandler())
	refusing := httptest.NewServer(http.NotFoundHandler())
	refusing.Close()
	refused := genericclioptions.NewConfigFlags(false)
	refused.APIServer = &refusing.URL
	own, theirs := ownInitImage(), "registry.example/podinit/init:v9.9.9"
	for _, tt := range []struct {
		name    string
		flags   *genericclioptions.ConfigFlags
		options Options
		image   string
		errOut  []string
	}{
		{"no kubeconfig", genericclioptions.NewConfigFlags(false), Options{}, own, []string{"no kubeconfig has a cluster", "assumed: init image " + own + ", no registry configuration"}},
		{"no connection", refused, Options{}, own, []string{"connection refused", "assumed: init image " + own}},
		{"no answer", flagsFor(t, &apiserver{hangs: true}), Options{}, own, []string{"has not answered within 3s", "assumed: init image"}},
		{"no apiserver", gone, Options{}, own, []string{"assumed: init image"}},
		{"not installed", flagsFor(t, &apiserver{}), Options{}, own, []string{"podinit is not installed", "assumed: init image"}},
		{"forbidden", flagsFor(t, of(installed("{}"), "/")), Options{}, own, []string{"you may not read podinit's Deployment", "assumed: init image"}},
		{"forbidden but in its namespace", flagsFor(t, of(installed("{}"), deployments)), Options{}, theirs, []string{"as deployment/podinit-webhook", theirs}},
		{"its ConfigMap is forbidden", flagsFor(t, of(installed("{}"), configMaps)), Options{}, theirs, []string{theirs + ", its registry configuration is not known", "cannot be read", "do not count here"}},
		{"broken", flagsFor(t, installed("registries: [")), Options{}, theirs, []string{"cannot be read"}},
		{"wrong", flagsFor(t, installed("nonsense: 1")), Options{}, theirs, []string{"cannot be used here", "nonsense"}},
		{"a node's directory", flagsFor(t, installed("hostsDirectory: /node")), Options{}, theirs, []string{"registry configuration\n", "a directory of the node, /etc/containerd/certs.d", "do not count here"}},
		{"another version", flagsFor(t, installed("{}")), Options{}, theirs, []string{"the cluster's webhook v9.9.9: the webhook may decide differently"}},
		{"an init image is given", flagsFor(t, installed("{}")), Options{InitImage: "r.example/init:1"}, "r.example/init:1", []string{"as deployment/podinit-webhook in namespace podinit-system: registry configuration\n"}},
		{"offline, all given", flagsFor(t, installed("{}")), Options{Offline: true, InitImage: "r.example/init:1", Architectures: []string{"arm64"}}, "r.example/init:1",
			[]string{"--offline asks neither registries nor a cluster; assumed: the built-in defaults for an InitProfile\n"}},
		{"offline", flagsFor(t, installed("{}")), Options{Offline: true}, own, []string{"--offline asks neither registries nor a cluster; assumed: init image " + own + ", the built-in defaults for an InitProfile, nodes of any architecture\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			injector, errOut := plan(t, tt.options, tt.flags)
			if injector.Config.Image != tt.image {
				t.Errorf("init image %s, want %s", injector.Config.Image, tt.image)
			}
			for _, want := range tt.errOut {
				if !strings.Contains(errOut, want) {
					t.Errorf("standard error %q, want %q in it", errOut, want)
				}
			}
		})
	}
}

// A cluster's registry configuration does not have the user's password sent where all can read it.
func TestCredentialsAreProtected(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	auths := map[string]any{}
	for _, host := range []string{"tls.example", "clear.example:5000", "any.unknown.example", "in.example:5000", "far.example", "mirror.example", "safe.example", "https://index.docker.io/v1/"} {
		auths[host] = map[string]string{"username": "me", "password": "secret"}
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	k := unlessUnprotected([]registry.Host{{Host: "tls.example", CAFile: "x"}, {Host: "clear.example:5000", PlainHTTP: true}, {Host: "*.unknown.example", SkipVerify: true}, {Host: "docker.io", PlainHTTP: true}}, map[string][]byte{
		"file-1/in.example_5000_/hosts.toml": []byte("server = \"http://in.example:5000\""),
		"file-1/far.example/hosts.toml":      []byte("[host.\"https://mirror.example/v2\"]\nskip_verify = true"),
		"file-1/safe.example/hosts.toml":     []byte("server = \"https://safe.example\""),
	})
	if all := unlessUnprotected(nil, map[string][]byte{"file-1/_default/hosts.toml": []byte("skip_verify = true")}); !resolvesToNobody(t, all, "tls.example/a") {
		t.Error("_default without knowing hosts: a credential is sent")
	}
	for image, want := range map[string]bool{"tls.example/a": true, "safe.example/a": true, "in.example:5000/a": false, "far.example/a": false, "mirror.example/a": false, "clear.example:5000/a": false, "any.unknown.example/a": false, "nginx": false, "none.example/a": false} {
		if got := !resolvesToNobody(t, k, image); got != want {
			t.Errorf("%s: a credential is sent: %v, want %v", image, got, want)
		}
	}
}

// resolvesToNobody says whether a keychain has no credential for an image.
func resolvesToNobody(t *testing.T, k authn.Keychain, image string) bool {
	t.Helper()
	repository, err := name.NewRepository(image)
	if err != nil {
		t.Fatal(err)
	}
	found, err := k.Resolve(repository)
	if err != nil {
		t.Fatal(err)
	}
	return found == authn.Anonymous
}

// With both given, the cluster is not asked.
func TestClusterNotAsked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := false
	flags := flagsFor(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	if _, errOut := plan(t, Options{InitImage: "r.example/init:1", RegistryConfig: file}, flags); errOut != "" || asked {
		t.Errorf("asked: %v, standard error %q", asked, errOut)
	}
}

// A user who interrupts does not wait.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Options{}.New(ctx, flagsFor(t, &apiserver{hangs: true}), genericiooptions.IOStreams{ErrOut: io.Discard})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Names in a volume cannot lead out of the directory that they are copied to.
func TestWriteStaysInside(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	i := &setup{registries: []byte("{}"), files: map[string][]byte{"../outside": nil}}
	if _, _, err := i.write(); err == nil {
		t.Error("no error")
	}
	nothingLeft(t)
}

// nothingLeft fails if a copy of a registry configuration is left behind.
func nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "podinit-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
