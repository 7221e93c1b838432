package canary

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// WaitTime is how long a canary must have been unable to pull the image before it counts. The kubelet tries again after
	// 10 s, so it has then failed twice.
	WaitTime = 15 * time.Second
	// forgetTime is how long a breaker stays open although there is no canary any more, such as while its DaemonSet is made
	// anew.
	forgetTime = time.Minute
)

// Opening is why the init image counts as one that the nodes of an architecture cannot pull.
type Opening struct {
	Architecture string
	// Since is when that was found out.
	Since time.Time
	// Waiting is how many nodes wait for the image, Pulled how many have it.
	Waiting, Pulled int
	// Pod, Node, Reason and Message are of the newest canary that waits, for the administrator that corrects it.
	Pod, Node, Reason, Message string
}

// Breaker decides, for each architecture, whether its nodes can pull the init image. The zero value is closed everywhere:
// the image counts as one that can be pulled until canaries show otherwise.
//
// It opens for an architecture where one node waits for the image and none has it, or where two nodes wait whose canaries
// were made after the last canary has started. So one broken node of many does not open it, and an image that is deleted
// while old nodes have it does, as soon as two new ones are there. It closes when a node has the image and none whose
// canary was made later waits. A canary that has started stays started: to open again takes new Pods of podinit's own, so
// that it cannot flap.
type Breaker struct {
	// since is when a canary was first seen waiting, by UID.
	since map[string]time.Time
	open  map[string]*opened
}

type opened struct {
	Opening
	// seen is when there was last a canary of the architecture.
	seen time.Time
}

// group is what the canaries of one architecture show.
type group struct {
	// nodes by name, each with the canary that says most about it: that of the highest State.
	nodes map[string]Canary
	// lastStarted is when a canary has started last.
	lastStarted time.Time
}

// Look takes in all canaries that there are. Architecture names that of a node; canaries whose node it does not know are
// left out. It returns where the breaker is open, sorted, and when to look again though nothing changes, zero if that is
// not needed.
func (b *Breaker) Look(now time.Time, canaries []Canary, architecture func(node string) (name string, known bool)) (open []Opening, again time.Time) {
	groups, since := map[string]*group{}, map[string]time.Time{}
	for _, c := range canaries {
		name, known := architecture(c.Node)
		if !known {
			continue
		}
		g := groups[name]
		if g == nil {
			g = &group{nodes: map[string]Canary{}}
			groups[name] = g
		}
		if c.Started.After(g.lastStarted) {
			g.lastStarted = c.Started
		}
		if c.State == Waiting {
			first, ok := b.since[c.UID]
			if !ok {
				first = now
			}
			since[c.UID] = first
			if due := first.Add(WaitTime); due.After(now) {
				again = earlier(again, due)
			}
		}
		if other, ok := g.nodes[c.Node]; !ok || c.State > other.State {
			g.nodes[c.Node] = c
		}
	}
	b.since = since
	for name, g := range groups {
		b.decide(now, name, g)
	}
	for name, o := range b.open {
		if groups[name] != nil {
			continue
		}
		if due := o.seen.Add(forgetTime); due.After(now) {
			again = earlier(again, due)
		} else {
			delete(b.open, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.open)) {
		open = append(open, b.open[name].Opening)
	}
	return open, again
}

func (b *Breaker) decide(now time.Time, name string, g *group) {
	waiting, pulled, later := 0, 0, 0
	var newest Canary
	for _, node := range slices.Sorted(maps.Keys(g.nodes)) {
		c := g.nodes[node]
		switch {
		case c.State == Running || c.State == Ended:
			pulled++
		case c.State == Waiting && !b.since[c.UID].Add(WaitTime).After(now):
			waiting++
			if c.Created.After(g.lastStarted) {
				later++
			}
			if newest.Node == "" || cmp.Or(c.Created.Compare(newest.Created), cmp.Compare(newest.Name, c.Name)) > 0 {
				newest = c
			}
		}
	}
	o := b.open[name]
	switch {
	case waiting > 0 && pulled == 0, later > 1:
		if o == nil {
			o = &opened{Opening: Opening{Architecture: name, Since: now}}
			if b.open == nil {
				b.open = map[string]*opened{}
			}
			b.open[name] = o
		}
		o.Pod, o.Node, o.Reason, o.Message = newest.Name, newest.Node, newest.Reason, newest.Message
	case o == nil:
		return
	case pulled > 0 && later == 0:
		delete(b.open, name)
		return
	}
	o.seen, o.Waiting, o.Pulled = now, waiting, pulled
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
