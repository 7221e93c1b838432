package clusterstate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podinit/podinit/internal/canary"
)

const initImage = "r.example/init:1"

// prepullJSON is a Pod of the DaemonSet on node n, whose init is in a state.
func prepullJSON(state string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"podinit-system","name":"podinit-prepull-x","uid":"u","resourceVersion":"%d",`+
		`"ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet","name":"podinit-prepull","uid":"d","controller":true}]},`+
		`"spec":{"nodeName":"n","containers":[{"name":"init","image":"r.example/init:1"}]},"status":{"containerStatuses":[{"name":"init","state":%s}]}}`, resourceVersion.Add(1), state)
}

// pulling is an apiserver of a cluster whose only node cannot pull the init image.
func pulling() *apiserver {
	server := oneNode()
	server.items[podsPath] = prepullJSON(`{"waiting":{"reason":"ErrImagePull","message":"m"}}`)
	server.events[podsPath] = make(chan string)
	return server
}

// A Pod that waits has its architecture left out, not before the time that is promised, and one that runs ends that.
func TestCanaries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := pulling()
		changes := make(chan string, 10)
		began := time.Now()
		w := start(t, server, func(o *Options) {
			o.InitImageChanged = func(_ context.Context, opening canary.Opening, open bool) {
				changes <- fmt.Sprintf("%s open %t: %s %s", opening.Architecture, open, opening.Pod, opening.Reason)
			}
		})
		if got, want := <-changes, "arm64 open true: podinit-prepull-x ErrImagePull"; got != want || strings.Join(w.Unavailable(), " ") != "arm64" {
			t.Errorf("change %q, want %q; unavailable %q", got, want, w.Unavailable())
		}
		if took := time.Since(began); took < canary.WaitTime {
			t.Errorf("it opens after %s", took)
		}
		if s, _ := setting(t, w, "team", ""); strings.Join(s.Unavailable, " ") != "arm64" {
			t.Errorf("a pod's setting has %q", s.Unavailable)
		}
		server.events[podsPath] <- fmt.Sprintf(`{"type":"MODIFIED","object":%s}`, prepullJSON(`{"running":{"startedAt":"2026-01-01T00:00:00Z"}}`))
		if got := <-changes; !strings.HasPrefix(got, "arm64 open false") || len(w.Unavailable()) > 0 {
			t.Errorf("change %q; unavailable %q", got, w.Unavailable())
		}
	})
}
