package canary_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/podinit/podinit/internal/canary"
)

// Until all canaries are known, as where Pods may not be read, no architecture is left out.
func TestNotSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var synced atomic.Bool
		w := canary.NewWatcher(image, func(string) (string, bool) { return "arm64", true }, testr.New(t))
		w.Synced = synced.Load
		w.Set(prepull(waiting("ErrImagePull"), nil))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.Run(ctx)
		time.Sleep(canary.WaitTime + 10*time.Second)
		if got := w.Unavailable(); got != nil {
			t.Errorf("unavailable %q, though not all canaries are known", got)
		}
		synced.Store(true)
		time.Sleep(canary.WaitTime + 10*time.Second)
		if got := w.Unavailable(); !slices.Equal(got, []string{"arm64"}) {
			t.Errorf("unavailable %q", got)
		}
	})
}
