package canary_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podinit/podinit/internal/canary"
)

// architecture of a node is the beginning of its name.
func architecture(node string) (string, bool) {
	name, _, ok := strings.Cut(node, "-")
	return name, ok
}

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is so many seconds after the begin.
func at(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }

func runs(node string, started int) canary.Canary {
	return canary.Canary{Name: "runs-" + node, UID: "runs-" + node, Node: node, Created: at(started), State: canary.Running, Started: at(started)}
}

func ended(node string, started int) canary.Canary {
	c := runs(node, started)
	c.UID, c.State = "ended-"+node, canary.Ended
	return c
}

func waits(node string, created int) canary.Canary {
	return canary.Canary{
		Name: "waits-" + node, UID: fmt.Sprint("waits-", node, created), Node: node, Created: at(created),
		State: canary.Waiting, Reason: "ImagePullBackOff", Message: "not found",
	}
}

func pulls(node string, created int) canary.Canary {
	return canary.Canary{UID: "pulls-" + node, Node: node, Created: at(created)}
}

// look is one look, and where the breaker is open after it.
type look struct {
	at       int
	canaries []canary.Canary
	want     string
}

func TestBreaker(t *testing.T) {
	for name, looks := range map[string][]look{
		"no canary":                   {{at: 0}, {at: 1000}},
		"a failure that passes":       {{at: 0, canaries: []canary.Canary{waits("amd64-1", 0)}}, {at: 14, canaries: []canary.Canary{waits("amd64-1", 0)}}, {at: 20, canaries: []canary.Canary{runs("amd64-1", 19)}}},
		"the only node cannot pull":   {{at: 0, canaries: []canary.Canary{waits("amd64-1", 0)}}, {at: 15, canaries: []canary.Canary{waits("amd64-1", 0)}, want: "amd64"}},
		"it can again":                {{at: 0, canaries: []canary.Canary{waits("amd64-1", 0)}}, {at: 15, canaries: []canary.Canary{waits("amd64-1", 0)}, want: "amd64"}, {at: 40, canaries: []canary.Canary{runs("amd64-1", 39)}}},
		"all nodes cannot":            {{at: 0, canaries: []canary.Canary{waits("amd64-1", 0), waits("amd64-2", 0)}}, {at: 15, canaries: []canary.Canary{waits("amd64-1", 0), waits("amd64-2", 0)}, want: "amd64"}},
		"one broken node of many":     {{at: 0, canaries: []canary.Canary{runs("amd64-1", -9), waits("amd64-2", 0)}}, {at: 1000, canaries: []canary.Canary{runs("amd64-1", -9), waits("amd64-2", 0)}}},
		"one of another architecture": {{at: 0, canaries: []canary.Canary{runs("amd64-1", -9), waits("arm64-1", 0)}}, {at: 15, canaries: []canary.Canary{runs("amd64-1", -9), waits("arm64-1", 0)}, want: "arm64"}},
		"two new nodes, old ones have it": {
			{at: 0, canaries: []canary.Canary{runs("amd64-1", -9), runs("amd64-2", -9), waits("amd64-3", 0), waits("amd64-4", 1)}},
			{at: 16, canaries: []canary.Canary{runs("amd64-1", -9), runs("amd64-2", -9), waits("amd64-3", 0), waits("amd64-4", 1)}, want: "amd64"},
			// One is deleted: nothing says that the image is there again.
			{at: 17, canaries: []canary.Canary{runs("amd64-1", -9), runs("amd64-2", -9), waits("amd64-3", 0)}, want: "amd64"},
			{at: 30, canaries: []canary.Canary{runs("amd64-1", -9), runs("amd64-2", -9), waits("amd64-3", 0), runs("amd64-4", 29)}},
		},
		"two broken nodes, others have pulled since": {
			{at: 0, canaries: []canary.Canary{runs("amd64-1", 5), waits("amd64-3", 0), waits("amd64-4", 1)}},
			{at: 1000, canaries: []canary.Canary{runs("amd64-1", 5), waits("amd64-3", 0), waits("amd64-4", 1)}},
		},
		"the node has lost it since a replica began there": {
			{at: 0, canaries: []canary.Canary{ended("amd64-1", -99), waits("amd64-1", 0)}},
			{at: 15, canaries: []canary.Canary{ended("amd64-1", -99), waits("amd64-1", 0)}, want: "amd64"},
		},
		"it runs there": {
			{at: 0, canaries: []canary.Canary{runs("amd64-1", -99), waits("amd64-1", 0)}},
			{at: 15, canaries: []canary.Canary{runs("amd64-1", -99), waits("amd64-1", 0)}},
		},
		"without prepull, a replica moves to a broken node": {
			{at: 0, canaries: []canary.Canary{ended("amd64-1", -99), waits("amd64-2", 0)}},
			{at: 1000, canaries: []canary.Canary{ended("amd64-1", -99), waits("amd64-2", 0)}},
		},
		"a pull that takes long":        {{at: 0, canaries: []canary.Canary{pulls("amd64-1", 0)}}, {at: 1000, canaries: []canary.Canary{pulls("amd64-1", 0)}}},
		"a node whose name says it not": {{at: 0, canaries: []canary.Canary{waits("unknown", 0)}}, {at: 1000, canaries: []canary.Canary{waits("unknown", 0)}}},
		"the DaemonSet is made anew": {
			{at: 0, canaries: []canary.Canary{waits("amd64-1", 0)}},
			{at: 15, canaries: []canary.Canary{waits("amd64-1", 0)}, want: "amd64"},
			{at: 20, want: "amd64"},
			{at: 30, canaries: []canary.Canary{waits("amd64-1", 29)}, want: "amd64"},
			{at: 31, canaries: []canary.Canary{pulls("amd64-1", 29)}, want: "amd64"},
			{at: 90, canaries: []canary.Canary{runs("amd64-1", 89)}},
		},
		"the DaemonSet is gone": {
			{at: 0, canaries: []canary.Canary{waits("amd64-1", 0)}},
			{at: 15, canaries: []canary.Canary{waits("amd64-1", 0)}, want: "amd64"},
			{at: 74, want: "amd64"},
			{at: 75},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b canary.Breaker
			for _, l := range looks {
				open, _ := b.Look(at(l.at), l.canaries, architecture)
				var got []string
				for _, o := range open {
					got = append(got, o.Architecture)
				}
				if strings.Join(got, " ") != l.want {
					t.Errorf("at %d s: open for %q, want %q", l.at, got, l.want)
				}
			}
		})
	}
}

// It says when to look again, so that nobody has to look all the time.
func TestAgain(t *testing.T) {
	var b canary.Breaker
	for _, l := range []struct {
		at       int
		canaries []canary.Canary
		want     time.Time
	}{
		{at: 0, canaries: []canary.Canary{runs("amd64-1", 0)}},
		{at: 1, canaries: []canary.Canary{runs("amd64-1", 0), waits("amd64-2", 1)}, want: at(16)},
		{at: 2, canaries: []canary.Canary{waits("amd64-1", 2), waits("amd64-2", 1)}, want: at(16)},
		{at: 16, canaries: []canary.Canary{waits("amd64-1", 2), waits("amd64-2", 1)}, want: at(17)},
		{at: 17, canaries: []canary.Canary{waits("amd64-1", 2), waits("amd64-2", 1)}},
		{at: 18, want: at(77)},
		{at: 77},
	} {
		if _, again := b.Look(at(l.at), l.canaries, architecture); !again.Equal(l.want) {
			t.Errorf("at %d s: again at %v, want %v", l.at, again, l.want)
		}
	}
}

// What it says is about the newest one that waits.
func TestOpening(t *testing.T) {
	var b canary.Breaker
	canaries := []canary.Canary{waits("amd64-2", 5), waits("amd64-1", 0), waits("amd64-3", 5)}
	b.Look(at(6), canaries, architecture)
	open, _ := b.Look(at(30), canaries, architecture)
	want := canary.Opening{Architecture: "amd64", Since: at(30), Waiting: 3, Pod: "waits-amd64-2", Node: "amd64-2", Reason: "ImagePullBackOff", Message: "not found"}
	if len(open) != 1 || open[0] != want {
		t.Errorf("got %+v, want %+v", open, want)
	}
	open, _ = b.Look(at(40), canaries[1:], architecture)
	if len(open) != 1 || open[0].Since != at(30) || open[0].Pod != "waits-amd64-3" {
		t.Errorf("got %+v", open)
	}
}

// However canaries come and go: it is never open where none has waited, it opens at most once for each canary that waits,
// and is closed where all run.
func TestDoesNotFlap(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		var b canary.Breaker
		nodes := map[string]canary.Canary{}
		made, opened, was := 0, 0, false
		for second := range 600 {
			for n := range 4 {
				node := fmt.Sprint("amd64-", n)
				c, ok := nodes[node]
				switch random.IntN(40) {
				case 0: // made anew, and waits
					made++
					nodes[node] = waits(node, second)
				case 1: // it is there at last
					if ok {
						c.State, c.Started = canary.Running, at(second)
						nodes[node] = c
					}
				case 2:
					delete(nodes, node)
				}
			}
			var all []canary.Canary
			allRun := true
			for _, c := range nodes {
				all = append(all, c)
				allRun = allRun && c.State == canary.Running
			}
			random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			open, _ := b.Look(at(second), slices.Clone(all), architecture)
			if len(open) > 0 && !was {
				opened++
			}
			was = len(open) > 0
			if was && len(all) > 0 && allRun {
				t.Fatalf("seed %d: open though all canaries run", seed)
			}
		}
		if opened > made {
			t.Fatalf("seed %d: it opened %d times with %d canaries that waited", seed, opened, made)
		}
	}
}
