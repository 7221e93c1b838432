// Package suite is what the suites on the test cluster do alike. Each is a package of tests that a target of the Makefile prepares.
package suite

import (
	"context"
	"flag"
	"log"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podinit/podinit/test/cluster"
)

// Patience bounds every wait for a condition. It is long, because machines are shared and slow; a test that passes never waits that long.
const Patience = 2 * time.Minute

// Main is a suite's TestMain: run sets up, runs the tests and cleans up.
func Main(m *testing.M, target string, run func(*testing.M) (code int, err error)) {
	flag.Parse()
	ctrllog.SetLogger(logr.Discard())
	code, err := run(m)
	if err != nil {
		log.Fatalf("cannot set up the tests ('make %s' prepares all they need): %v", target, err)
	}
	os.Exit(code)
}

// Open returns the test cluster and a client for it.
func Open() (running *cluster.Cluster, client *kubernetes.Clientset, err error) {
	if running, err = cluster.Open(); err == nil {
		client, err = running.Client()
	}
	return running, client, err
}

// Eventually waits until done says so. An error of done ends the wait.
func Eventually(t *testing.T, what string, done wait.ConditionWithContextFunc) {
	t.Helper()
	if err := poll(t, done); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

// Retry waits until done says so, and asks again after an error: a part of the cluster may be away.
func Retry(t *testing.T, what string, done wait.ConditionWithContextFunc) {
	t.Helper()
	var last error
	err := poll(t, func(ctx context.Context) (bool, error) {
		ok, err := done(ctx)
		if err != nil {
			last = err
		}
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v (last error: %v)", what, err, last)
	}
}

func poll(t *testing.T, done wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, Patience, true, done)
}
