// Command lookup measures what it costs to find out what images run: for a registry, which answers slowly, while pods
// of a few images are created in a burst; how many pods are wrapped of a burst that has another image for each, none of
// which is known, at a registry that wants a token; and what a pod whose image is known costs, beside pods that name a
// command and need no lookup. Admission is the webhook's own handler, in process.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-containerregistry/pkg/name"
	fake "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/webhook"
)

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "lookup:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, args []string) error {
	flags := flag.NewFlagSet("lookup", flag.ContinueOnError)
	pods := flags.Int("pods", 1000, "how many pods are created")
	images := flags.Int("images", 10, "of how many images they are")
	over := flags.Duration("over", time.Minute, "in what time")
	slow := flags.Duration("slow", 300*time.Millisecond, "how long the registry takes for each answer")
	cold := flags.Int("cold", 100, "how many pods are created at once, each of another image that is not known")
	coldSlow := flags.Duration("cold-slow", 100*time.Millisecond, "how long the registry then takes for each answer")
	known := flags.Int("known", 20000, "how many pods of each kind are admitted in a round when the images are known")
	rounds := flags.Int("rounds", 5, "how many such rounds; of what they give, the median is told")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := newSlowRegistry()
	defer r.server.Close()
	for i := range *images {
		if err := r.push(i); err != nil {
			return err
		}
	}
	handler, err := newHandler(r.host)
	if err != nil {
		return err
	}

	r.set(*slow)
	burst := latencies{}
	var all sync.WaitGroup
	var mu sync.Mutex
	left := 0
	for i := range *pods {
		body := review(fmt.Sprintf("%s/app-%d:1", r.host, i%*images), "")
		all.Go(func() {
			took, wrapped := admit(handler, body)
			mu.Lock()
			defer mu.Unlock()
			burst = append(burst, took)
			if !wrapped {
				left++
			}
		})
		time.Sleep(*over / time.Duration(*pods))
	}
	all.Wait()
	fmt.Fprintf(out, "%d pods of %d images in %v, from a registry that takes %v for each answer:\n", *pods, *images, *over, *slow)
	fmt.Fprintf(out, "  the registry is asked %s\n", r.asked())
	fmt.Fprintf(out, "  a pod waits %v (p50), %v (p99), %v (at most); %d are left alone\n\n", burst.at(50), burst.at(99), burst.at(100), left)

	if err := measureCold(out, *cold, *coldSlow); err != nil {
		return err
	}

	r.set(0)
	var of [2][3][]float64 // by p50 and p99: with a command, looked up, their ratio
	for range *rounds {
		var image, command latencies
		for i := range *known { // by turns, so that a busy machine is busy for both
			took, _ := admit(handler, review(fmt.Sprintf("%s/app-%d:1", r.host, i%*images), ""))
			image = append(image, took)
			took, _ = admit(handler, review(r.host+"/unknown:1", `,"command":["app"]`))
			command = append(command, took)
		}
		for i, percent := range []int{50, 99} {
			a, b := command.at(percent).Seconds(), image.at(percent).Seconds()
			of[i][0], of[i][1], of[i][2] = append(of[i][0], a), append(of[i][1], b), append(of[i][2], b/a)
		}
	}
	fmt.Fprintf(out, "%d pods of each kind when the images are known, by turns; the median of %d rounds:\n", *known, *rounds)
	for i, kind := range []string{"with a command", "without, looked up"} {
		fmt.Fprintf(out, "  %-18s  %.0f µs (p50)  %.0f µs (p99)\n", kind, median(of[0][i])*1e6, median(of[1][i])*1e6)
	}
	fmt.Fprintf(out, "  %-18s  %.2f (p50)  %.2f (p99; %.2f to %.2f)\n", "ratio", median(of[0][2]), median(of[1][2]), slices.Min(of[1][2]), slices.Max(of[1][2]))
	return nil
}

// measureCold creates pods of images that are not known, all at once, and once more when what they have begun is done.
func measureCold(out io.Writer, pods int, slow time.Duration) error {
	r := newSlowRegistry()
	defer r.server.Close()
	for i := range pods {
		if err := r.push(i); err != nil {
			return err
		}
	}
	handler, err := newHandler(r.host)
	if err != nil {
		return err
	}
	r.tokens = true
	r.set(slow)
	fmt.Fprintf(out, "%d pods at once, each of another image, from a registry with tokens that takes %v for each answer:\n", pods, slow)
	for _, try := range []string{"none is known", "the next try"} {
		var took latencies
		var all sync.WaitGroup
		var mu sync.Mutex
		served := 0
		for i := range pods {
			body := review(fmt.Sprintf("%s/app-%d:1", r.host, i), "")
			all.Go(func() {
				one, wrapped := admit(handler, body)
				mu.Lock()
				defer mu.Unlock()
				if took = append(took, one); wrapped {
					served++
				}
			})
		}
		all.Wait()
		fmt.Fprintf(out, "  %-14s  %d are wrapped; a pod waits %v (p50), %v (at most); the registry is asked %s\n", try, served, took.at(50), took.at(100), r.asked())
		r.set(slow)
		time.Sleep(2 * time.Second) // a Deployment's controller tries again later than this
	}
	fmt.Fprintln(out)
	return nil
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

type latencies []time.Duration

// at is a percentile.
func (l latencies) at(percent int) time.Duration {
	slices.Sort(l)
	return l[(len(l)-1)*percent/100].Round(time.Microsecond)
}

// newHandler is the webhook as it is deployed, for a registry on loopback that speaks no TLS.
func newHandler(host string) (http.Handler, error) {
	registries, err := registry.New(registry.Config{
		Registries: []registry.Host{{Host: host, PlainHTTP: true}}, PrivateNetworks: []string{"127.0.0.0/8"},
	}, nil, time.Now)
	if err != nil {
		return nil, err
	}
	return &webhook.Handler{
		Mutator: admission.Planner{
			Config:        inject.Config{Image: "registry.example/podinit/init:v1.2.3", Version: "v1.2.3"},
			Images:        imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now),
			LookupTimeout: 3 * time.Second,
		},
		Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Log: logr.Discard(),
	}, nil
}

// review is an AdmissionReview of a small pod.
func review(image, command string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"0a1b","resource":{"group":"","version":"v1","resource":"pods"},
"namespace":"team","operation":"CREATE","object":{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"app-"},"spec":{"containers":[{"name":"app","image":%q,"imagePullPolicy":"IfNotPresent"%s}]}}}}`, image, command)
}

// admit says how long it takes, and whether the pod is wrapped.
func admit(handler http.Handler, body []byte) (took time.Duration, wrapped bool) {
	request := httptest.NewRequest(http.MethodPost, "/mutate?timeout=5s", bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	start := time.Now()
	handler.ServeHTTP(answer, request)
	took = time.Since(start)
	var in struct{ Response struct{ Patch []byte } }
	err := json.Unmarshal(answer.Body.Bytes(), &in)
	return took, err == nil && bytes.Contains(in.Response.Patch, []byte(`"/podinit/init"`))
}

// slowRegistry counts what it is asked.
type slowRegistry struct {
	server *httptest.Server
	host   string

	// tokens is set if it wants a token for each repository, as public registries do.
	tokens bool

	mu       sync.Mutex
	slow     time.Duration
	requests map[string]int
}

func newSlowRegistry() *slowRegistry {
	r := &slowRegistry{requests: map[string]int{}}
	inner := fake.New(fake.Logger(log.New(io.Discard, "", 0)))
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		kind := "ping"
		if request.URL.Path == "/token" {
			kind = "GET of tokens"
		}
		for _, k := range []string{"manifests", "blobs"} {
			if strings.Contains(request.URL.Path, k) {
				kind = request.Method + " of " + k
			}
		}
		r.requests[kind]++
		slow := r.slow
		r.mu.Unlock()
		time.Sleep(slow)
		path := strings.Split(request.URL.Path, "/")
		switch {
		case !r.tokens:
			inner.ServeHTTP(w, request)
		case request.URL.Path == "/token":
			fmt.Fprintf(w, `{"token":%q}`, request.URL.Query().Get("scope"))
		case strings.HasPrefix(request.Header.Get("Authorization"), "Bearer repository:"+path[2]+":") && path[2] != "":
			inner.ServeHTTP(w, request)
		default:
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="bench",scope="repository:%s:pull"`, request.Host, path[2]))
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	r.host = strings.TrimPrefix(r.server.URL, "http://")
	return r
}

// set begins to count, and to take this long.
func (r *slowRegistry) set(slow time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slow = slow
	clear(r.requests)
}

func (r *slowRegistry) asked() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for kind, n := range r.requests {
		all = append(all, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (r *slowRegistry) push(i int) error {
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{Entrypoint: []string{fmt.Sprintf("/app-%d", i)}}})
	if err != nil {
		return err
	}
	tag, err := name.NewTag(fmt.Sprintf("%s/app-%d:1", r.host, i))
	if err != nil {
		return err
	}
	return remote.Write(tag, image)
}
