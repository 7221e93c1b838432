package observe

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/events"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/node/plugin"
	"github.com/podinit/podinit/internal/reason"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/webhook"
)

const root = "../.."

// promtool runs it in a directory with the alerts as rules.yaml and their tests.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	directory := t.TempDir()
	rules, err := ReadRules(root)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(rules)
	if err == nil {
		err = os.WriteFile(filepath.Join(directory, "rules.yaml"), text, 0o644)
	}
	for _, file := range testFiles {
		if err == nil {
			text, err = os.ReadFile(file)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(directory, file), text, 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "promtool", args...)
	command.Dir = directory
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %s: %v (it is in Debian's package prometheus)\n%s", strings.Join(args, " "), err, out)
	}
	t.Logf("promtool %s:\n%s", strings.Join(args, " "), out)
}

var testFiles = []string{"alerts.test.yaml", "days.test.yaml"}

// promtool accepts the alerts.
func TestCheckRules(t *testing.T) { promtool(t, "check", "rules", "--lint-fatal", "rules.yaml") }

// They fire and do not fire as their tests say.
func TestRules(t *testing.T) { promtool(t, append([]string{"test", "rules"}, testFiles...)...) }

// promtool finds nothing wrong with the metrics.
func TestCheckMetrics(t *testing.T) {
	var text strings.Builder
	for _, f := range families(t) {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	command.Stdin = strings.NewReader(text.String())
	if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// Every alert is seen to fire and not to fire, says how urgent it is and what it means, and is explained where it says.
func TestAlerts(t *testing.T) {
	rules, err := ReadRules(root)
	if err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, file := range testFiles {
		var tests struct {
			Tests []struct {
				Cases []struct {
					Alert  string `json:"alertname"`
					Alerts []any  `json:"exp_alerts"`
				} `json:"alert_rule_test"`
			} `json:"tests"`
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = yaml.Unmarshal(text, &tests)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range tests.Tests {
			for _, c := range test.Cases {
				if len(c.Alerts) > 0 {
					fires[c.Alert] = true
				} else {
					silent[c.Alert] = true
				}
			}
		}
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, heading := range regexp.MustCompile(`(?m)^## (Podinit\w+)$`).FindAllSubmatch(page, -1) {
		explained = append(explained, string(heading[1]))
	}
	var names []string
	for _, a := range rules.Alerts() {
		names = append(names, a.Alert)
		if !fires[a.Alert] || !silent[a.Alert] {
			t.Errorf("%s: tested to fire %v, tested not to fire %v", a.Alert, fires[a.Alert], silent[a.Alert])
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) {
			t.Errorf("%s: severity %q", a.Alert, a.Labels["severity"])
		}
		if want := "https://github.com/podinit/podinit/blob/main/docs/alerts.md#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s says too little: %v", a.Alert, a.Annotations)
		}
	}
	if diff := cmp.Diff(names, explained); diff != "" {
		t.Errorf("headings of docs/alerts.md (-alerts +headings):\n%s", diff)
	}
}

// What Grafana would stumble over is not there. Grafana itself has not seen the dashboard in this test.
func TestDashboard(t *testing.T) {
	d, err := ReadDashboard(root)
	if err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || len(d.UID) > 40 || d.Title == "" || d.SchemaVersion != 42 {
		t.Errorf("uid %q, title %q, schemaVersion %d", d.UID, d.Title, d.SchemaVersion)
	}
	if i := slices.IndexFunc(d.Templating.List, func(v Variable) bool { return v.Name == "datasource" && v.Type == "datasource" }); i != 0 {
		t.Error("the first variable is not the data source, which the others need")
	}
	ids := map[int]string{}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		if other, ok := ids[p.ID]; ok || p.ID <= 0 {
			t.Errorf("panels %q and %q have the same id %d, or one has none", p.Title, other, p.ID)
		}
		ids[p.ID] = p.Title
		at := p.GridPos
		if p.Title == "" || at.X < 0 || at.Y < 0 || at.W <= 0 || at.H <= 0 || at.X+at.W > 24 {
			t.Errorf("panel %q is at %+v; a dashboard is 24 wide", p.Title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("panels %q and %q overlap", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 || !fromVariable(p.Datasource) {
			t.Errorf("panel %q: description %q, %d queries, data source %v", p.Title, p.Description, len(p.Targets), p.Datasource)
		}
		references := map[string]bool{}
		for _, target := range p.Targets {
			if references[target.RefID] || target.RefID == "" || !fromVariable(target.Datasource) {
				t.Errorf("panel %q: query %q is there twice, or its data source is %v", p.Title, target.RefID, target.Datasource)
			}
			references[target.RefID] = true
			for _, v := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !strings.HasPrefix(v[1], "__") && !slices.ContainsFunc(d.Templating.List, func(is Variable) bool { return is.Name == v[1] }) {
					t.Errorf("panel %q: there is no variable %s", p.Title, v[1])
				}
			}
		}
	}
}

func fromVariable(d *Datasource) bool {
	return d != nil && *d == Datasource{Type: "prometheus", UID: "${datasource}"}
}

// elsewhere are metrics of other programs, with the labels that are asked for. Those of the apiserver are compared with a
// real one by test/e2e.
var elsewhere = map[string][]string{
	"apiserver_admission_webhook_fail_open_count":                   {"name", "type"},
	"apiserver_admission_webhook_rejection_count":                   {"name", "type", "operation", "error_type", "rejection_code"},
	"apiserver_admission_webhook_admission_duration_seconds_bucket": {"name", "type", "operation", "rejected", "le"},
	"kube_daemonset_status_desired_number_scheduled":                {"daemonset"},                 // kube-state-metrics, docs/metrics/workload/daemonset-metrics.md
	"kube_daemonset_status_number_ready":                            {"daemonset"},                 // the same
	"kube_pod_labels":                                               {"label_podinit_dev_version"}, // kube-state-metrics, docs/metrics/workload/pod-metrics.md
	"kube_pod_init_container_status_waiting_reason":                 {"container", "reason"},       // the same
}

// TestMetricsExist holds every metric, label and value that an alert or a panel names against those that the webhook and
// podinit-node have.
func TestMetricsExist(t *testing.T) {
	samples := gather(t)
	labels := map[string]map[string]map[string]bool{} // metric, label, value
	for _, sample := range samples {
		name := string(sample.Metric[model.MetricNameLabel])
		if labels[name] == nil {
			labels[name] = map[string]map[string]bool{}
		}
		for label, value := range sample.Metric {
			if labels[name][string(label)] == nil {
				labels[name][string(label)] = map[string]bool{}
			}
			labels[name][string(label)][string(value)] = true
		}
	}
	for _, r := range reason.All() {
		labels["podinit_lookup_duration_seconds_count"]["outcome"][string(r)] = true // there once it happens
	}
	expressions, err := Expressions(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, e := range expressions {
		if e.Error != "" {
			t.Errorf("%s: %s\n%s", e.Where, e.Error, e.Text)
			continue
		}
		some := map[string]bool{} // labels that one of its metrics has
		for _, s := range e.Selectors {
			used[s.Metric] = true
			if others, ok := elsewhere[s.Metric]; ok {
				for _, label := range others {
					some[label] = true
				}
				for _, m := range s.Matchers {
					if !TargetLabel(m.Label) && !slices.Contains(others, m.Label) {
						t.Errorf("%s: %s has no label %s", e.Where, s.Metric, m.Label)
					}
				}
				continue
			}
			if !s.Finds(samples) {
				t.Errorf("%s: there is no %s with %v", e.Where, s.Metric, s.Matchers)
			}
			for label := range labels[s.Metric] {
				some[label] = true
			}
			for _, m := range s.Matchers {
				if TargetLabel(m.Label) {
					continue
				}
				for _, value := range m.Values() {
					if !labels[s.Metric][m.Label][value] {
						t.Errorf("%s: %s never has %s=%q", e.Where, s.Metric, m.Label, value)
					}
				}
			}
		}
		wanted := e.Labels
		for _, l := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(e.Legend, -1) {
			wanted = append(wanted, l[1])
		}
		for _, label := range wanted {
			if !some[label] && !TargetLabel(label) {
				t.Errorf("%s: none of its metrics has the label %s", e.Where, label)
			}
		}
	}
	for name := range elsewhere {
		if !used[name] {
			t.Errorf("%s is used nowhere", name)
		}
	}
	// What nobody looks at need not be there.
	for name := range labels {
		base := regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "podinit_") && !used[name] && !used[base+"_bucket"] && !used[base+"_count"] {
			t.Errorf("%s is in no panel and no alert", name)
		}
	}
}

// gather is every time series of families.
func gather(t *testing.T) model.Vector {
	t.Helper()
	samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.Now()}, families(t)...)
	if err != nil {
		t.Fatal(err)
	}
	if !(Selector{Metric: "podinit_lookup_duration_seconds_count", Matchers: []Matcher{{"outcome", "=", "lookup-off"}}}).Finds(samples) {
		t.Error("the lookup was not counted")
	}
	return samples
}

// families are the metrics of podinit-node, and the webhook's after it has answered for a Pod that names a container without a command.
func families(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	metrics := prometheus.NewRegistry()
	off := false
	registries, err := registry.New(registry.Config{Registries: []registry.Host{{Host: "registry.example", Lookup: &off}}}, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	cache := imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now)
	handler := &webhook.Handler{
		Mutator: admission.Planner{Config: inject.Config{Image: "registry.example/init:1", Version: "v1.2.3"}, Images: cache, LookupTimeout: time.Second},
		Metrics: webhook.NewMetrics(metrics), Events: events.NewRecorder(nil, "", metrics, testr.New(t)), Log: testr.New(t),
	}
	plugin.NewMetrics(metrics)
	metrics.MustRegister(plugin.NewBuildInfo("v1.2.3"), plugin.NewSuspended(func() bool { return false }))
	metrics.MustRegister(cache, webhook.NewBuildInfo("v1.2.3"), webhook.NewSuspended(func() bool { return false }), webhook.NewInitImageUnavailable(func() []string { return nil }), webhook.NewCertificateExpiry(func() float64 { return 1 }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	request := httptest.NewRequest(http.MethodPost, "/mutate?timeout=5s", strings.NewReader(fmt.Sprintf(
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","resource":{"resource":"pods"},"namespace":"a","operation":"CREATE","object":%s}}`,
		`{"metadata":{"name":"p"},"spec":{"containers":[{"name":"own","image":"x","command":["x"]},{"name":"app","image":"registry.example/app:1"}]}}`)))
	request.Header.Set("Content-Type", "application/json")
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}
