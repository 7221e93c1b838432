// Package live runs the webhook's handler under load beside a real Prometheus that scrapes it, asks Prometheus what the
// panels of the dashboard ask, and draws the answers.
package live

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-containerregistry/pkg/name"
	fake "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/events"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/test/observe"
	"github.com/podinit/podinit/webhook"
)

// Scrape is how often Prometheus asks for metrics, and Rate what stands for $__rate_interval, as in Grafana four times that.
const (
	Scrape = time.Second
	Rate   = 4 * Scrape
)

// Stage is a webhook, a registry that it asks, and a Prometheus.
type Stage struct {
	handler  http.Handler
	registry string
	// prometheus is its address.
	prometheus string
	began      time.Time
	end        []func()
}

// Start starts them. The caller ends them with Close.
func Start(ctx context.Context) (s *Stage, err error) {
	s = &Stage{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	images := httptest.NewServer(fake.New(fake.Logger(log.New(io.Discard, "", 0))))
	s.end = append(s.end, images.Close)
	s.registry = strings.TrimPrefix(images.URL, "http://")

	metrics := prometheus.NewRegistry()
	if s.handler, err = newHandler(s.registry, metrics); err != nil {
		return s, err
	}
	scraped := httptest.NewServer(promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	s.end = append(s.end, scraped.Close)
	return s, s.startPrometheus(ctx, strings.TrimPrefix(scraped.URL, "http://"))
}

// newHandler is the webhook's handler with all metrics that the program has.
func newHandler(host string, metrics *prometheus.Registry) (http.Handler, error) {
	registries, err := registry.New(registry.Config{
		Registries: []registry.Host{{Host: host, PlainHTTP: true}}, PrivateNetworks: []string{"127.0.0.0/8"},
	}, nil, time.Now)
	if err != nil {
		return nil, err
	}
	const version = "v0.1.0"
	cache := imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now)
	expiry := float64(time.Now().Add(300 * 24 * time.Hour).Unix())
	metrics.MustRegister(cache, webhook.NewBuildInfo(version), webhook.NewSuspended(func() bool { return false }),
		webhook.NewInitImageUnavailable(func() []string { return nil }), webhook.NewCertificateExpiry(func() float64 { return expiry }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &webhook.Handler{
		Mutator: admission.Planner{
			Config: inject.Config{Image: "registry.example/podinit/init:" + version, Version: version}, Images: cache, LookupTimeout: 3 * time.Second,
		},
		Metrics: webhook.NewMetrics(metrics), Events: events.NewRecorder(nil, "", metrics, logr.Discard()), Log: logr.Discard(),
	}, nil
}

// startPrometheus starts it and waits until it answers.
func (s *Stage) startPrometheus(ctx context.Context, target string) error {
	directory, err := os.MkdirTemp("", "podinit-prometheus-")
	if err != nil {
		return err
	}
	s.end = append(s.end, func() { os.RemoveAll(directory) })
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.prometheus = free.Addr().String()
	free.Close()
	config := fmt.Sprintf("global: {scrape_interval: %v}\nscrape_configs: [{job_name: podinit-webhook, static_configs: [{targets: [%q]}]}]\n", Scrape, target)
	file := filepath.Join(directory, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return err
	}
	var logged bytes.Buffer
	program := exec.CommandContext(ctx, "prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(directory, "data"), "--web.listen-address="+s.prometheus)
	program.Stderr = &logged
	if err := program.Start(); err != nil {
		return fmt.Errorf("%w (Debian's package prometheus)", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	s.end = append(s.end, func() { _ = program.Process.Kill(); <-ended })
	s.began = time.Now()
	for {
		if response, err := http.Get("http://" + s.prometheus + "/-/ready"); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("prometheus has ended: %w\n%s", err, logged.Bytes())
		case <-ctx.Done():
			return fmt.Errorf("prometheus does not become ready: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Close ends what Start has started, the last first.
func (s *Stage) Close() {
	for len(s.end) > 0 {
		last := len(s.end) - 1
		s.end[last]()
		s.end = s.end[:last]
	}
}

// kinds of containers that are admitted, in turn: their JSON after the name.
var kinds = []string{
	`"image":"HOST/web:1","command":["sh","-c","prepare && serve"]`,
	`"image":"HOST/app-N:1"`, // looked up
	`"image":"HOST/api:1","command":["api"]`,
	`"image":"HOST/app-N:1"`,
	`"image":"HOST/own:1","command":["/usr/bin/tini","--","own"]`, // has an init
	`"image":"HOST/missing:1"`,                                    // the registry does not have it
}

// Load has pods admitted until the context is done, more and fewer of them in turn.
func (s *Stage) Load(ctx context.Context) error {
	for pod := 0; ctx.Err() == nil; pod++ {
		if pod%25 == 0 { // a new image every now and then
			if err := s.push(ctx, pod/25); err != nil {
				return err
			}
		}
		container := strings.NewReplacer("HOST", s.registry, "N", fmt.Sprint(pod/25)).Replace(kinds[pod%len(kinds)])
		annotations := `{}`
		if pod%40 == 0 {
			annotations = `{"podinit.dev/skip-containers":"porxy"}`
		}
		review := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"%d","resource":{"group":"","version":"v1","resource":"pods"},
"namespace":"shop","operation":"CREATE","object":{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"app-","annotations":%s},"spec":{"containers":[{"name":"app","imagePullPolicy":"IfNotPresent",%s}]}}}}`, pod, annotations, container)
		request := httptest.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, "/mutate?timeout=5s", strings.NewReader(review))
		request.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		s.handler.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK {
			return fmt.Errorf("the webhook answers %d: %s", answer.Code, answer.Body)
		}
		select {
		case <-time.After(time.Duration(30+20*math.Sin(time.Since(s.began).Seconds()/10)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// push puts an image into the registry.
func (s *Stage) push(ctx context.Context, which int) error {
	image, err := mutate.Config(empty.Image, v1.Config{Entrypoint: []string{"/app"}})
	if err != nil {
		return err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return err
	}
	file.OS, file.Architecture = "linux", "amd64"
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return err
	}
	to, err := name.ParseReference(fmt.Sprintf("%s/app-%d:1", s.registry, which), name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(to, image, remote.WithContext(context.WithoutCancel(ctx)))
}

// Recording is what the panels of a dashboard show.
type Recording struct {
	// Seconds that they cover.
	Seconds float64 `json:"seconds"`
	Panels  []Panel `json:"panels"`
}

// Panel is one of the dashboard's, by its title.
type Panel struct {
	Title  string   `json:"title"`
	Series []Series `json:"series"`
}

// Series is one line of a panel: its values from the first to the last, null where there are none.
type Series struct {
	Name   string     `json:"name"`
	Values []*float64 `json:"values"`
}

// Ask asks Prometheus the queries of all panels, of the time since Start, for so many points.
func (s *Stage) Ask(ctx context.Context, dashboard observe.Dashboard, points int) (Recording, error) {
	now := time.Now()
	recording := Recording{Seconds: math.Round(now.Sub(s.began).Seconds())}
	for _, panel := range dashboard.Panels {
		if panel.Type == "row" {
			continue
		}
		asked := Panel{Title: panel.Title, Series: []Series{}}
		for _, target := range panel.Targets {
			query := strings.NewReplacer("$__rate_interval", Rate.String(), "$__range", fmt.Sprintf("%.0fs", max(recording.Seconds, 1)), "$job", ".*").Replace(target.Expr)
			series, err := s.query(ctx, query, target.LegendFormat, now, points)
			if err != nil {
				return recording, fmt.Errorf("panel %s: %s: %w", panel.Title, query, err)
			}
			asked.Series = append(asked.Series, series...)
		}
		recording.Panels = append(recording.Panels, asked)
	}
	return recording, nil
}

func (s *Stage) query(ctx context.Context, query, legend string, end time.Time, points int) ([]Series, error) {
	step := end.Sub(s.began) / time.Duration(points)
	values := url.Values{
		"query": {query}, "start": {seconds(s.began.Add(step))}, "end": {seconds(end)}, "step": {fmt.Sprintf("%f", step.Seconds())},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.prometheus+"/api/v1/query_range?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("prometheus: %s", answer.Error)
	}
	all := []Series{}
	for _, result := range answer.Data.Result {
		one := Series{Name: legendOf(legend, result.Metric), Values: make([]*float64, points)}
		for _, sample := range result.Values {
			at, _ := sample[0].(float64)
			text, _ := sample[1].(string)
			var value float64
			if _, err := fmt.Sscan(text, &value); err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
				continue
			}
			i := int(math.Round((at-float64(s.began.UnixMilli())/1000)/step.Seconds())) - 1
			if i >= 0 && i < points {
				rounded := round(value)
				one.Values[i] = &rounded
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// round keeps three digits, which is more than a picture shows.
func round(value float64) float64 {
	if value == 0 {
		return 0
	}
	digits := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(value))))
	if rounded := math.Round(value*digits) / digits; !math.IsNaN(rounded) {
		return rounded
	}
	return value
}

func seconds(at time.Time) string { return fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000) }

var label = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

// legendOf is the name of a series, as Grafana makes it.
func legendOf(legend string, labels map[string]string) string {
	if legend == "" || legend == "__auto" {
		var parts []string
		for _, value := range labels {
			parts = append(parts, value)
		}
		if len(parts) == 1 {
			return parts[0]
		}
		return ""
	}
	return label.ReplaceAllStringFunc(legend, func(l string) string { return labels[label.FindStringSubmatch(l)[1]] })
}
