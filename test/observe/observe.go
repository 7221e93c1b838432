// Package observe reads what config/prometheus has for Prometheus and Grafana, and says which metrics it wants, so that
// tests can hold it against the metrics that there are.
package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"
)

// Rules is the spec of a PrometheusRule, which is a rule file of Prometheus.
type Rules struct {
	Groups []struct {
		Name  string  `json:"name"`
		Rules []Alert `json:"rules"`
	} `json:"groups"`
}

// Alert is one alerting rule.
type Alert struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// Alerts of all groups.
func (r Rules) Alerts() (alerts []Alert) {
	for _, g := range r.Groups {
		alerts = append(alerts, g.Rules...)
	}
	return alerts
}

// ReadRules reads the PrometheusRules below the repository's root: the webhook's, and those of node mode.
func ReadRules(root string) (Rules, error) {
	var all Rules
	for _, of := range []string{"prometheus", "nodeprometheus"} {
		var rule struct {
			Spec Rules `json:"spec"`
		}
		text, err := os.ReadFile(filepath.Join(root, "config", of, "prometheus_rule.yaml"))
		if err == nil {
			err = yaml.Unmarshal(text, &rule)
		}
		if err != nil {
			return Rules{}, err
		}
		all.Groups = append(all.Groups, rule.Spec.Groups...)
	}
	return all, nil
}

// Dashboard is as much of a Grafana dashboard as can be checked without Grafana.
type Dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []Variable `json:"list"`
	} `json:"templating"`
	Panels []Panel `json:"panels"`
}

// Variable of a dashboard.
type Variable struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	Definition string `json:"definition"`
}

// Panel of a dashboard; a row is one too.
type Panel struct {
	ID          int         `json:"id"`
	Type        string      `json:"type"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Datasource  *Datasource `json:"datasource"`
	GridPos     struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Targets     []Target `json:"targets"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

// Datasource of a panel or a target.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Target is one query of a panel.
type Target struct {
	RefID        string      `json:"refId"`
	Datasource   *Datasource `json:"datasource"`
	Expr         string      `json:"expr"`
	LegendFormat string      `json:"legendFormat"`
}

// ReadDashboard reads the dashboard below the repository's root.
func ReadDashboard(root string) (Dashboard, error) {
	var d Dashboard
	text, err := os.ReadFile(filepath.Join(root, "config/prometheus/dashboard.json"))
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	return d, err
}

// grafana replaces what Grafana replaces in an expression before Prometheus sees it.
var grafana = strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$job", ".*")

// Expression is what an expression selects.
type Expression struct {
	// Where it stands, for people.
	Where string `json:"-"`
	Text  string `json:"-"`
	// Legend that a dashboard makes of its labels; empty for a rule.
	Legend string `json:"-"`

	Error     string     `json:"error"`
	Selectors []Selector `json:"selectors"`
	// Labels by which it groups and matches.
	Labels []string `json:"labels"`
}

// Selector is a metric and what its labels must be.
type Selector struct {
	Metric   string    `json:"metric"`
	Matchers []Matcher `json:"matchers"`
}

// Matcher is one label's.
type Matcher struct {
	Label string `json:"label"`
	Type  string `json:"type"` // =, !=, =~, !~
	Value string `json:"value"`
}

// Expressions are those of all alerts and of all panels, read by Prometheus' own parser.
func Expressions(ctx context.Context, root string) ([]Expression, error) {
	rules, err := ReadRules(root)
	if err != nil {
		return nil, err
	}
	dashboard, err := ReadDashboard(root)
	if err != nil {
		return nil, err
	}
	var expressions []Expression
	var texts []string
	add := func(where, text, legend string) {
		expressions = append(expressions, Expression{Where: where, Text: text, Legend: legend})
		texts = append(texts, text)
	}
	for _, a := range rules.Alerts() {
		add("alert "+a.Alert, a.Expr, "")
	}
	for _, p := range dashboard.Panels {
		for _, t := range p.Targets {
			add("panel "+p.Title+", "+t.RefID, grafana.Replace(t.Expr), t.LegendFormat)
		}
	}
	if len(expressions) == 0 {
		return nil, errors.New("there are no alerts and no panels")
	}
	in, err := json.Marshal(texts)
	if err != nil {
		return nil, err
	}
	parser := exec.CommandContext(ctx, "go", "run", ".")
	parser.Dir = filepath.Join(root, "test/observe/promql")
	parser.Stdin = bytes.NewReader(in)
	var problems bytes.Buffer
	parser.Stderr = &problems
	out, err := parser.Output()
	if err != nil {
		return nil, fmt.Errorf("running test/observe/promql: %w\n%s", err, problems.Bytes())
	}
	return expressions, json.Unmarshal(out, &expressions)
}

// TargetLabel says that a label is given by Prometheus to what it scrapes, and by no program.
func TargetLabel(label string) bool {
	return slices.Contains([]string{"job", "instance", "pod", "namespace", "node"}, label)
}

// Finds says whether a selector finds one of these samples, whatever was scraped where.
func (s Selector) Finds(samples model.Vector) bool {
	return slices.ContainsFunc(samples, func(sample *model.Sample) bool {
		return string(sample.Metric[model.MetricNameLabel]) == s.Metric && !slices.ContainsFunc(s.Matchers, func(m Matcher) bool {
			return !TargetLabel(m.Label) && !m.matches(string(sample.Metric[model.LabelName(m.Label)]))
		})
	})
}

func (m Matcher) matches(value string) bool {
	switch m.Type {
	case "=":
		return value == m.Value
	case "!=":
		return value != m.Value
	}
	is := regexp.MustCompile("^(?:" + m.Value + ")$").MatchString(value)
	return is == (m.Type == "=~")
}

// Values are those that a matcher names: the value itself, or the words of a regular expression that only lists words.
func (m Matcher) Values() []string {
	if m.Type == "=" || m.Type == "!=" {
		return []string{m.Value}
	}
	expression, err := syntax.Parse(m.Value, syntax.Perl)
	if err != nil {
		return nil
	}
	words, _ := words(expression)
	return words
}

func words(e *syntax.Regexp) ([]string, bool) {
	switch e.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		return []string{string(e.Rune)}, true
	case syntax.OpCapture:
		return words(e.Sub[0])
	case syntax.OpAlternate:
		var all []string
		for _, sub := range e.Sub {
			some, ok := words(sub)
			if !ok {
				return nil, false
			}
			all = append(all, some...)
		}
		return all, true
	case syntax.OpConcat:
		all := []string{""}
		for _, sub := range e.Sub {
			ends, ok := words(sub)
			if !ok {
				return nil, false
			}
			var longer []string
			for _, begin := range all {
				for _, end := range ends {
					longer = append(longer, begin+end)
				}
			}
			all = longer
		}
		return all, true
	}
	return nil, false
}
