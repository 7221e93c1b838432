package live

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podinit/podinit/test/observe"
)

// elsewhere are metrics of programs that are not here: apiservers, kube-state-metrics, and podinit-node.
var elsewhere = []string{"apiserver_", "kube_pod_", "podinit_node_"}

// TestDashboard asks a real Prometheus, which scrapes the webhook's handler under load, everything that the dashboard asks.
func TestDashboard(t *testing.T) {
	dashboard, err := observe.ReadDashboard("../../..")
	if err != nil {
		t.Fatal(err)
	}
	stage, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	loading, cancel := context.WithTimeout(t.Context(), 15*Scrape)
	defer cancel()
	if err := stage.Load(loading); err != nil {
		t.Fatal(err)
	}
	recording, err := stage.Ask(t.Context(), dashboard, 15)
	if err != nil {
		t.Fatal(err)
	}
	answered := map[string]bool{}
	for _, panel := range recording.Panels {
		answered[panel.Title] = slices.ContainsFunc(panel.Series, func(s Series) bool {
			return slices.ContainsFunc(s.Values, func(value *float64) bool { return value != nil })
		})
	}
	for _, panel := range dashboard.Panels {
		if panel.Type == "row" || slices.ContainsFunc(elsewhere, func(prefix string) bool {
			return strings.Contains(panel.Targets[0].Expr, prefix)
		}) {
			continue
		}
		if !answered[panel.Title] {
			t.Errorf("panel %q has no answer", panel.Title)
		}
	}
	if wrapped := last(series(t, recording, "Containers wrapped")); wrapped == nil || *wrapped < 0.3 || *wrapped > 0.9 {
		t.Errorf("4 of 6 containers are wrapped once their images are known; the panel says %v", wrapped)
	}
}

func series(t *testing.T, r Recording, title string) Series {
	t.Helper()
	for _, panel := range r.Panels {
		if panel.Title == title && len(panel.Series) == 1 {
			return panel.Series[0]
		}
	}
	t.Fatalf("panel %q has not one series", title)
	return Series{}
}

func TestDraw(t *testing.T) {
	dashboard, err := observe.ReadDashboard("../../..")
	if err != nil {
		t.Fatal(err)
	}
	half, rate := 0.5, 12.0
	picture := Draw(dashboard, Recording{Seconds: 60, Panels: []Panel{
		{Title: "Containers wrapped", Series: []Series{{Values: []*float64{nil, &half}}}},
		{Title: "Requests by outcome", Series: []Series{{Name: "wrapped", Values: []*float64{&rate, nil, &rate, &rate}}}},
	}})
	for decoder := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, picture)
		}
	}
	for _, want := range []string{">50 %<", ">wrapped<", ">12/s<", ">No data<", ">Overview<", ">Admission<"} {
		if !strings.Contains(picture, want) {
			t.Errorf("the picture does not have %s", want)
		}
	}
	if strings.Contains(picture, ">Process<") {
		t.Error("a section without an answer is drawn")
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{0, "short", "0"}, {1, "none", "1"}, {0.25, "percentunit", "25 %"}, {3 << 20, "bytes", "3 MiB"}, {0.00025, "s", "250 µs"},
		{1.5, "s", "1.5 s"}, {(300 * 24 * time.Hour).Seconds(), "s", "300 days"}, {12, "reqps", "12/s"}, {1000, "short", "1000"},
	} {
		if got := format(c.value, c.unit); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}
