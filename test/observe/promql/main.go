// Command promql says what PromQL expressions select. It reads a JSON array of expressions and writes one of Expressions.
//
// It is in a module of its own, so that Prometheus is no dependency of podinit's.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Expression is what one expression selects, or why it is none.
type Expression struct {
	Error     string     `json:"error,omitempty"`
	Selectors []Selector `json:"selectors,omitempty"`
	// Labels by which it groups and matches.
	Labels []string `json:"labels,omitempty"`
}

// Selector is a metric and what its labels must be.
type Selector struct {
	Metric   string    `json:"metric"`
	Matchers []Matcher `json:"matchers,omitempty"`
}

// Matcher is one label's.
type Matcher struct {
	Label string `json:"label"`
	Type  string `json:"type"` // =, !=, =~, !~
	Value string `json:"value"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
}

func run() error {
	var texts []string
	if err := json.NewDecoder(os.Stdin).Decode(&texts); err != nil {
		return fmt.Errorf("reading expressions: %w", err)
	}
	expressions := make([]Expression, len(texts))
	for i, text := range texts {
		expressions[i] = parse(text)
	}
	return json.NewEncoder(os.Stdout).Encode(expressions)
}

func parse(text string) Expression {
	tree, err := parser.ParseExpr(text)
	if err != nil {
		return Expression{Error: err.Error()}
	}
	var e Expression
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			s := Selector{Metric: node.Name}
			for _, m := range node.LabelMatchers {
				if m.Name == labels.MetricName {
					continue
				}
				if _, err := regexp.Compile(m.Value); err != nil && (m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp) {
					e.Error = err.Error()
				}
				s.Matchers = append(s.Matchers, Matcher{m.Name, m.Type.String(), m.Value})
			}
			e.Selectors = append(e.Selectors, s)
		case *parser.AggregateExpr:
			e.Labels = append(e.Labels, node.Grouping...)
		case *parser.BinaryExpr:
			if node.VectorMatching != nil {
				e.Labels = append(e.Labels, node.VectorMatching.MatchingLabels...)
			}
		}
		return nil
	})
	return e
}
