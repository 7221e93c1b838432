package clusterstate

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
)

// own is podinit's namespace.
const own = "podinit-system"

// Paths of the lists that are watched.
const (
	initProfilesPath = "/apis/podinit.dev/v1alpha1/initprofiles"
	namespacesPath   = "/api/v1/namespaces"
	nodesPath        = "/api/v1/nodes"
	limitRangesPath  = "/api/v1/limitranges"
	configMapsPath   = namespacesPath + "/" + own + "/configmaps"
	podsPath         = namespacesPath + "/" + own + "/pods"
)

// apiserver answers reads of what a Watcher goes by.
type apiserver struct {
	// items are the lists by path, with the objects' JSON between commas, and objects those that can be read one by one.
	// What is in neither is an empty list, or not found.
	items, objects map[string]string
	// events are sent to clients that watch a path: watch events in JSON. A test that sends none leaves it out.
	events map[string]chan string
	// forbidden are the paths that may not be read.
	forbidden map[string]bool
	// hangs is set where a read of one namespace never ends.
	hangs bool
	// noInitProfiles is set where their CustomResourceDefinition is missing.
	noInitProfiles bool
	// configMaps is how ConfigMaps were last asked for.
	configMaps atomic.Value
	// version that the apiserver says it has; none is said if it is empty.
	version string
}

func (s *apiserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, query := r.URL.Path, r.URL.Query()
	answer := func(code int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
	kinds := map[string]string{
		initProfilesPath: `"podinit.dev/v1alpha1","kind":"InitProfileList"`, namespacesPath: `"v1","kind":"NamespaceList"`, nodesPath: `"v1","kind":"NodeList"`,
		limitRangesPath: `"v1","kind":"LimitRangeList"`, configMapsPath: `"v1","kind":"ConfigMapList"`, podsPath: `"v1","kind":"PodList"`,
	}
	if path == configMapsPath {
		s.configMaps.Store(query.Get("fieldSelector"))
	}
	switch list := kinds[path]; {
	case s.forbidden[path]:
		answer(http.StatusForbidden, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
	case list != "" && query.Get("sendInitialEvents") != "":
		answer(http.StatusBadRequest, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"BadRequest","code":400}`)
	case list != "" && query.Get("watch") != "":
		answer(http.StatusOK, "")
		for {
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case event := <-s.events[path]:
				_, _ = w.Write([]byte(event + "\n"))
			}
		}
	case list != "":
		answer(http.StatusOK, `{"apiVersion":`+list+`,"metadata":{"resourceVersion":"1"},"items":[`+s.items[path]+`]}`)
	case s.hangs:
		<-r.Context().Done()
	case s.objects[path] != "":
		answer(http.StatusOK, s.objects[path])
	default:
		answer(http.StatusNotFound, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	}
}

// ServerVersion is discovery's.
func (s *apiserver) ServerVersion() (*version.Info, error) {
	if s.version == "" {
		return nil, errors.New("no answer")
	}
	return &version.Info{GitVersion: s.version}, nil
}

// start starts a Watcher before an apiserver, with further options.
func start(t *testing.T, server *apiserver, change ...func(*Options)) *Watcher {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion, v1alpha1.GroupVersion})
	for _, kind := range []string{"Namespace", "Node"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	for _, kind := range []string{"ConfigMap", "LimitRange", "Pod"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	if !server.noInitProfiles {
		mapper.Add(v1alpha1.GroupVersion.WithKind("InitProfile"), meta.RESTScopeRoot)
	}
	config := serve(t, server)
	c, err := cache.New(config, cache.Options{Scheme: scheme, Mapper: mapper, ReaderFailOnMissingInformer: true, ByObject: ByObject(own), NewInformer: NewInformer})
	if err != nil {
		t.Fatal(err)
	}
	live, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Cache: c, Live: live, Discovery: server, Namespace: own, InitImage: initImage, Log: testr.New(t)}
	for _, f := range change {
		f(&o)
	}
	w := New(o)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 2)
	go func() { stopped <- c.Start(ctx) }()
	go func() { stopped <- w.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range cap(stopped) {
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

// resourceVersion is that of the last object that a test has made: what has the same again has not changed.
var resourceVersion atomic.Int64

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("this does not come true: " + what)
		}
	}
}

// forbidden has these paths forbidden.
func forbidden(paths ...string) map[string]bool {
	all := map[string]bool{}
	for _, path := range paths {
		all[path] = true
	}
	return all
}

// TestKindsAreApart: a kind that may not be listed keeps no other from being known.
func TestKindsAreApart(t *testing.T) {
	all := []string{initProfilesPath, namespacesPath, nodesPath, limitRangesPath, configMapsPath, podsPath}
	for _, path := range all {
		t.Run(strings.ReplaceAll(path, "/", "_"), func(t *testing.T) {
			t.Parallel()
			w := start(t, &apiserver{forbidden: forbidden(path), version: "v1.36.3"})
			kinds := map[string]*kind{
				initProfilesPath: &w.profiles.profiles, namespacesPath: &w.profiles.namespaces, nodesPath: &w.nodes.watched,
				limitRangesPath: &w.limits.watched, configMapsPath: &w.suspension.watched, podsPath: &w.pods,
			}
			for other, k := range kinds {
				if other != path {
					eventually(t, other+" is listed", k.synced)
				}
			}
			if kinds[path].synced() {
				t.Errorf("%s is forbidden, and known", path)
			}
		})
	}
}
