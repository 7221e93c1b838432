package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	testContenders = []contender{{name: "podinit"}, {name: "tini"}, {name: "dumb-init"}}
	testRows       = []row{
		{name: "memory", unit: "kB", figures: figures{"podinit": {100, 110, 90}, "tini": {400, 400, 400}, "dumb-init": {200, 200, 200}},
			budget: belowBest(0.5), drawing: bars},
		{name: "latency", unit: "µs", figures: figures{"podinit": {21}, "tini": {20}, "dumb-init": {30}, "no init": {10.25}},
			budget: belowPeer(1, "tini", "not above tini"), drawing: bars},
		{name: "wake-ups", figures: figures{"podinit": {0}, "tini": {10}, "dumb-init": {0}}, budget: atMost(0, "0")},
		{name: "speed", unit: "per second", figures: figures{"podinit": {3000}, "tini": {1000}, "dumb-init": {2000}}, moreIsBetter: true},
		{name: "kept <&>", yesNo: true, figures: figures{"podinit": {1}, "tini": {0}, "dumb-init": {1}}, budget: always()},
		{name: "lost", unit: "%", figures: figures{"podinit": {0}, "tini": {100}, "dumb-init": {4}}, budget: atMost(0, "none"), drawing: cells, moment: 100},
	}
)

func TestTable(t *testing.T) {
	want := `| measure | podinit | tini | dumb-init | no init | to the best peer | budget | met |
|---|---:|---:|---:|---:|---:|---|---|
| memory, kB | 100 | 400 | 200 |  | 0.500 (0.450 to 0.550) | at most 0.5 of the best peer | yes |
| latency, µs | 21 | 20 | 30 | 10.2 | 1.05 | not above tini | **no** |
| wake-ups | 0 | 10 | 0 |  |  | 0 | yes |
| speed, per second | 3000 | 1000 | 2000 |  | 1.50 |  |  |
| kept <&> | yes | no | yes |  |  | always | yes |
| lost, % | 0 | 100 | 4 |  | 0 | none | yes |
`
	if diff := cmp.Diff(want, table(testContenders, testRows)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
