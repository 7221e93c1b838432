// Package operate shows that an installation may be upgraded, drained, rotated, killed, scaled and removed under a load of
// pod creations, and what that costs: on a real cluster, the one of package cluster, with images that 'make images' has
// built. 'make test-operate' does all of that. See docs/high-availability.md.
package operate

import (
	"flag"
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

const (
	system            = "podinit-system"
	deploymentName    = "podinit-webhook"
	configurationName = "zz-podinit"
	secretName        = "podinit-webhook-certificate"
	keeperName        = "podinit-certificates"
	keeperSelector    = "app.kubernetes.io/name=podinit,app.kubernetes.io/component=certificates"
)

var (
	images = flag.String("images", "../../bin/images/amd64", "`directory` of the archives that make images writes")
	helm   = flag.String("helm", "", "`program` with which to install from the chart, too")
	rate   = flag.Int("rate", 100, "pods created in a second, on average")
	rounds = flag.Int("rounds", 1, "how often each replica is killed and each certificate renewed")

	running *cluster.Cluster
	client  *kubernetes.Clientset
)

func TestMain(m *testing.M) { suite.Main(m, "test-operate", runTests) }

func runTests(m *testing.M) (_ int, err error) {
	if running, client, err = suite.Open(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}
