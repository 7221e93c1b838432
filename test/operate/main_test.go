// Package operate shows that an installation may be upgraded, drained, rotated, killed, scaled and removed under a load of
// pod creations, and what that costs: on a real cluster, the one of package cluster, with images that 'make images' has
// built. 'make test-operate' does all of that. See docs/high-availability.md.
package operate

import (
	"context"
	"flag"
	"log"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podinit/podinit/test/cluster"
)

const (
	system            = "podinit-system"
	deploymentName    = "podinit-webhook"
	configurationName = "zz-podinit"
	secretName        = "podinit-webhook-certificate"
	webhookSelector   = "app.kubernetes.io/name=podinit,app.kubernetes.io/component=webhook"
	keeperName        = "podinit-certificates"
	keeperSelector    = "app.kubernetes.io/name=podinit,app.kubernetes.io/component=certificates"

	// patience bounds every wait for a condition. It is long, because machines are shared and slow;
	// a test that passes never waits that long.
	patience = 2 * time.Minute
)

var (
	images = flag.String("images", "../../bin/images/amd64", "`directory` of the archives that make images writes")
	helm   = flag.String("helm", "", "`program` with which to install from the chart, too")
	rate   = flag.Int("rate", 100, "pods created in a second, on average")
	rounds = flag.Int("rounds", 1, "how often each replica is killed and each certificate renewed")

	running *cluster.Cluster
	client  *kubernetes.Clientset
)

func TestMain(m *testing.M) {
	flag.Parse()
	ctrllog.SetLogger(logr.Discard())
	if err := setUp(); err != nil {
		log.Fatalf("cannot set up the tests ('make test-operate' prepares all they need): %v", err)
	}
	os.Exit(m.Run())
}

func setUp() error {
	var err error
	if running, err = cluster.Open(); err != nil {
		return err
	}
	client, err = running.Client()
	return err
}

// eventually waits until done says so. It asks again after an error of the cluster.
func eventually(t *testing.T, what string, done func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
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

// ignoreNotFound drops the error of what is already gone.
func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
