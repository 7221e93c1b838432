package events_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/events"
	"github.com/podinit/podinit/internal/inject"
)

// apiserver keeps Events.
type apiserver struct {
	mu     sync.Mutex
	events map[types.NamespacedName]corev1.Event
	// refuses is what it answers, if anything.
	refuses error
}

func (a *apiserver) create(_ context.Context, e *corev1.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuses != nil {
		return a.refuses
	}
	key := types.NamespacedName{Namespace: e.Namespace, Name: e.Name}
	if _, exists := a.events[key]; exists {
		return apierrors.NewAlreadyExists(corev1.Resource("events"), e.Name)
	}
	a.events[key] = *e.DeepCopy()
	return nil
}

// stage is some replicas of the webhook, and the apiserver that they write to.
type stage struct {
	apiserver
	registry  *prometheus.Registry
	recorders []*events.Recorder
}

// newStage must be called in a bubble, whose clock the recorders go by.
func newStage(t *testing.T, replicas int, start bool) *stage {
	t.Helper()
	s := &stage{apiserver: apiserver{events: map[types.NamespacedName]corev1.Event{}}, registry: prometheus.NewRegistry()}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	for i := range replicas {
		registry := s.registry
		if i > 0 {
			registry = prometheus.NewRegistry()
		}
		r := events.NewRecorder(s.create, fmt.Sprint("podinit-webhook-", i), registry, logr.Discard())
		s.recorders = append(s.recorders, r)
		if start {
			go func() { _ = r.Start(ctx) }()
		}
	}
	return s
}

// written are the Events that there are.
func (s *stage) written() []corev1.Event {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.events))
}

// counted holds what the first replica has counted, as outcome and number.
func (s *stage) counted(t *testing.T, want string) {
	t.Helper()
	var text strings.Builder
	text.WriteString("# HELP podinit_events_total Events for what authors of pods can correct: written; known, if the same was written before; dropped, if there are too many; failed, if the apiserver does not take them.\n# TYPE podinit_events_total counter\n")
	var dropped, failed, known, written int
	if _, err := fmt.Sscanf(want, "dropped %d failed %d known %d written %d", &dropped, &failed, &known, &written); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&text, "podinit_events_total{outcome=\"dropped\"} %d\npodinit_events_total{outcome=\"failed\"} %d\npodinit_events_total{outcome=\"known\"} %d\npodinit_events_total{outcome=\"written\"} %d\n", dropped, failed, known, written)
	if err := testutil.GatherAndCompare(s.registry, strings.NewReader(text.String()), "podinit_events_total"); err != nil {
		t.Error(err)
	}
}

func owner(namespace string, n int) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Namespace: namespace, Name: fmt.Sprint("web-", n), UID: types.UID(fmt.Sprint("uid-", n))}
}

var problem = []inject.Problem{{Reason: v1alpha1.ReasonMountConflict, Sentence: "container \"web\" left alone because of a mount. Move it."}}

func TestEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1, true)
		s.recorders[0].Record(owner("shop", 1), problem)
		all := s.written()
		if len(all) != 1 {
			t.Fatalf("%d Events", len(all))
		}
		e := all[0]
		if e.Namespace != "shop" || e.InvolvedObject != owner("shop", 1) || e.Type != "Warning" || e.Reason != "mount-conflict" || e.Message != problem[0].Sentence || e.Source.Component != "podinit-webhook" {
			t.Errorf("%+v", e)
		}
		if !strings.HasPrefix(e.Name, "web-1.") {
			t.Errorf("name %q", e.Name)
		}
		s.counted(t, "dropped 0 failed 0 known 0 written 1")
	})
}

// Neither a replica nor another one repeats an Event within an hour. After that the apiserver has forgotten it.
func TestRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2, true)
		for range 10 {
			s.recorders[0].Record(owner("shop", 1), problem)
		}
		if all := s.written(); len(all) != 1 {
			t.Errorf("%d Events of one replica", len(all))
		}
		s.counted(t, "dropped 0 failed 0 known 9 written 1")
		s.recorders[1].Record(owner("shop", 1), problem)
		if all := s.written(); len(all) != 1 {
			t.Errorf("%d Events of two replicas", len(all))
		}
		s.recorders[0].Record(owner("shop", 2), problem)
		s.recorders[0].Record(owner("shop", 1), []inject.Problem{{Reason: v1alpha1.ReasonHostPID, Sentence: "pod left alone"}})
		all := s.written()
		if len(all) != 3 {
			t.Errorf("%d Events about two owners and two reasons", len(all))
		}
		time.Sleep(time.Hour)
		clear(s.events)
		s.recorders[0].Record(owner("shop", 1), problem)
		if all := s.written(); len(all) != 1 {
			t.Errorf("%d Events an hour later", len(all))
		}
	})
}

// A namespace cannot take the Events of the others, and all together cannot fill the apiserver or the memory.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1, true)
		for n := range 1000 {
			s.recorders[0].Record(owner("noisy", n), problem)
		}
		s.recorders[0].Record(owner("shop", 1), problem)
		time.Sleep(time.Minute)
		of := map[string]int{}
		for _, e := range s.written() {
			of[e.Namespace]++
		}
		if of["noisy"] != 20 || of["shop"] != 1 {
			t.Errorf("Events by namespace: %v", of)
		}
		for n := range 5_000 {
			s.recorders[0].Record(owner(fmt.Sprint("namespace-", n), n), problem)
		}
		began := time.Now()
		time.Sleep(10 * time.Second)
		if n, most := len(s.written()), 21+50+int(time.Since(began).Seconds())*5+1; n > most {
			t.Errorf("%d Events, more than %d", n, most)
		}
	})
}

// Before it is started, Record does not wait; what does not fit into the queue is dropped and may come again.
func TestNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1, false)
		for n := range 300 {
			s.recorders[0].Record(owner(fmt.Sprint("namespace-", n), n), problem)
		}
		s.counted(t, "dropped 44 failed 0 known 0 written 0")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = s.recorders[0].Start(ctx) }()
		time.Sleep(time.Minute)
		s.recorders[0].Record(owner("namespace-299", 299), problem)
		time.Sleep(time.Second)
		if all := s.written(); len(all) != 257 {
			t.Errorf("%d Events", len(all))
		}
	})
}

// What the apiserver refuses is tried again with the next pod.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1, true)
		s.refuses = fmt.Errorf("forbidden")
		s.recorders[0].Record(owner("shop", 1), problem)
		if all := s.written(); len(all) != 0 {
			t.Fatalf("%d Events", len(all))
		}
		s.counted(t, "dropped 0 failed 1 known 0 written 0")
		s.refuses = nil
		s.recorders[0].Record(owner("shop", 1), problem)
		if all := s.written(); len(all) != 1 {
			t.Errorf("%d Events", len(all))
		}
	})
}

func TestLongTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1, true)
		about := owner("shop", 1)
		about.Name = strings.Repeat("x", 199) + "-" + strings.Repeat("y", 40)
		s.recorders[0].Record(about, []inject.Problem{{Reason: v1alpha1.ReasonHostPID, Sentence: strings.Repeat("é", 2000)}})
		all := s.written()
		if len(all) != 1 || len(all[0].Message) > 1024 || len(all[0].Name) > 253 || strings.Contains(all[0].Name, "-.") {
			t.Errorf("%+v", all)
		}
	})
}
