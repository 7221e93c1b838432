package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/podinit/podinit/internal/imageconfig"
)

// slowHost is a host without a network, which takes as long as it is told for each answer. It has images of one word, which
// is their repository, and wants a token for each.
type slowHost struct {
	takes time.Duration
	// underWay are the requests that it has not answered, and most is the most that there were at once.
	underWay, most atomic.Int64
}

func (s *slowHost) RoundTrip(request *http.Request) (*http.Response, error) {
	if n := s.underWay.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.underWay.Add(-1)
	time.Sleep(s.takes)
	answer := httptest.NewRecorder()
	s.serve(answer, request)
	response := answer.Result()
	response.Request = request
	return response, nil
}

func (s *slowHost) serve(w http.ResponseWriter, request *http.Request) {
	if request.URL.Path == "/token" {
		fmt.Fprintf(w, `{"token":%q}`, request.URL.Query().Get("scope"))
		return
	}
	repository, _, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/v2/"), "/")
	scope := "repository:" + repository + ":pull"
	if request.Header.Get("Authorization") != "Bearer "+scope {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",scope=%q`, request.URL.Host, scope))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	i := image("linux", "amd64", repository)
	read := i.RawConfigFile
	if strings.Contains(request.URL.Path, "/manifests/") {
		read = i.RawManifest
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
	}
	text, err := read()
	if err != nil {
		panic(err)
	}
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(text).String())
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	if request.Method != http.MethodHead {
		_, _ = w.Write(text)
	}
}

// 100 Pods at once, each of another image that is not known, at a registry that takes 100 ms for each request: most are
// served within 3 seconds, and all a little later, without more requests at once than a namespace may send; and a Pod of
// another namespace does not wait behind them. At one that takes longer, what has begun is finished, not more begun. Some 37 are
// served then, as the scheduler has it 33 to 40, and none where each Pod's first request goes before any second one.
func TestColdBurst(t *testing.T) {
	for takes, want := range map[time.Duration]int{100 * time.Millisecond: 80, 200 * time.Millisecond: 25} {
		t.Run(takes.String(), func(t *testing.T) { coldBurst(t, takes, want) })
	}
}

func coldBurst(t *testing.T, takes time.Duration, want int) {
	synctest.Test(t, func(t *testing.T) {
		const pods, at = 100, "registry.example:5000"
		host := &slowHost{takes: takes}
		registries, err := New(Config{Registries: []Host{{Host: at, PlainHTTP: true}}}, nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		registries.guards[at].direct = host
		cache := imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now)
		look := func(namespace string, i int) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			start := time.Now()
			_, err := cache.Lookup(ctx, imageconfig.Query{
				Reference: imageconfig.Reference{Registry: at, Repository: fmt.Sprintf("app-%d", i), Tag: "1"}, Namespace: namespace,
			})
			return time.Since(start), err
		}
		try := func() int {
			var served atomic.Int64
			var all sync.WaitGroup
			for i := range pods {
				all.Go(func() {
					if _, err := look("burst", i); err == nil {
						served.Add(1)
					}
				})
			}
			synctest.Wait()
			if took, err := look("other", pods); err != nil || took > 10*takes {
				t.Errorf("a Pod of another namespace waits %v: %v", took, err)
			}
			all.Wait()
			return int(served.Load())
		}
		if got := try(); got < want {
			t.Errorf("%d of %d are served at once, want %d", got, pods, want)
		}
		if got := host.most.Load(); got > maxAtHost/2+1 {
			t.Errorf("%d requests are sent at once", got)
		}
		time.Sleep(3 * time.Second)
		if got := try(); got != pods {
			t.Errorf("%d of %d are served in the end", got, pods)
		}
	})
}

// A mirror that takes its time for each request, or has many to answer, is not silent: the registry behind it, which may
// count what it is asked, is not asked.
func TestSlowMirrorIsNotSilent(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		pods  int
	}{"slow": {490 * time.Millisecond, 1}, "busy": {100 * time.Millisecond, 100}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const at, via = "registry.example:5000", "mirror.example:5000"
				mirror, behind := &slowHost{takes: c.takes}, &slowHost{}
				registries, err := New(Config{Registries: []Host{{Host: at, PlainHTTP: true, Mirrors: []string{via}}, {Host: via, PlainHTTP: true}}}, nil, time.Now)
				if err != nil {
					t.Fatal(err)
				}
				registries.guards[via].direct, registries.guards[at].direct = mirror, behind
				cache := imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				var all sync.WaitGroup
				for i := range c.pods {
					all.Go(func() {
						_, err := cache.Lookup(ctx, imageconfig.Query{
							Reference: imageconfig.Reference{Registry: at, Repository: fmt.Sprintf("app-%d", i), Tag: "1"}, Namespace: "team",
						})
						if err != nil && c.pods == 1 {
							t.Error(err)
						}
					})
				}
				all.Wait()
				time.Sleep(time.Minute)
				if mirror.most.Load() == 0 || behind.most.Load() > 0 {
					t.Errorf("the mirror was asked %d at once, the registry behind it %d", mirror.most.Load(), behind.most.Load())
				}
			})
		})
	}
}

// A mirror that takes connections and says nothing keeps no Pod from what the registry has.
func TestMirrorThatHangs(t *testing.T) {
	for reference, want := range map[imageconfig.Reference]time.Duration{
		{Digest: digestOf(t, "app")}: 500 * time.Millisecond,
		{Tag: "1"}:                   2 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			const at, via = "registry.example:5000", "mirror.example:5000"
			mirror := &slowHost{takes: time.Hour}
			registries, err := New(Config{Registries: []Host{{Host: at, PlainHTTP: true, Mirrors: []string{via}}, {Host: via, PlainHTTP: true}}}, nil, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			registries.guards[via].direct, registries.guards[at].direct = mirror, &slowHost{}
			cache := imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now)
			reference.Registry, reference.Repository = at, "app"
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			start := time.Now()
			_, err = cache.Lookup(ctx, imageconfig.Query{Reference: reference, Namespace: "team"})
			if took := time.Since(start); err != nil || took != want {
				t.Errorf("%s: %v after %v, want %v", reference, err, took, want)
			}
			if mirror.most.Load() == 0 {
				t.Error("the mirror was not asked")
			}
			time.Sleep(2 * time.Hour) // until the mirror has answered
		})
	}
}

// digestOf is that of slowHost's image in a repository.
func digestOf(t *testing.T, repository string) string {
	t.Helper()
	text, err := image("linux", "amd64", repository).RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(text).String()
}
