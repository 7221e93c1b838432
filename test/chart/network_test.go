package chart

import (
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/load"
)

// TestHostNetwork has the webhook on the node's own network, beside the kubelet, whose port is 10250.
func TestHostNetwork(t *testing.T) {
	l := open(t)
	l.empty(t)
	l.kubectl(t, "label", "--overwrite", "namespace", system, "pod-security.kubernetes.io/enforce=privileged") // docs/install.md
	r := release{live: l, helm: "helm4", chart: chart}
	namespace := l.namespace(t)
	load.MakeNamespaces(t, l.client)
	r.install(t, "--set=hostNetwork=true,replicas=1") // there is one node
	slices, err := l.client.DiscoveryV1().EndpointSlices(system).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=podinit-webhook"})
	if err != nil || len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != 1 {
		t.Fatalf("error %v, endpoints %+v", err, slices)
	}
	if address, port := slices.Items[0].Endpoints[0].Addresses[0], *slices.Items[0].Ports[0].Port; address != cluster.NodeIP || port != 10260 {
		t.Errorf("the webhook is at %s port %d, want the node's address, port 10260", address, port)
	}
	l.wraps(t, namespace)
	// A pod that is to take the place of another on its node has to wait for its ports.
	l.during(t, "upgrade", false, func() { r.upgrade(t, "--set=verbosity=1") })
	l.wraps(t, namespace)
	r.do(t, "uninstall", "podinit")
}

// TestValidated has the apiserver look at what every variant of values makes, without making it.
func TestValidated(t *testing.T) {
	l := open(t)
	l.empty(t)
	l.kubectl(t, "apply", "--server-side", "-f", *programsFlag+"/crds")
	for name, v := range variants() {
		t.Run(name, func(t *testing.T) {
			l.apply(t, v.arguments(t)...)
		})
	}
	for _, file := range valuesFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) { l.apply(t, "--values="+file) })
	}
}
