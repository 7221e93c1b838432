package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCoreDNS(t *testing.T) {
	manifest, image, err := coreDNS(`
    .:53 {
        ready
        kubernetes __DNS__DOMAIN__ in-addr.arpa ip6.arpa {
            ttl 30
        }
        forward . /etc/resolv.conf {
            max_concurrent 1000
        }
        cache 30
        loop
        loadbalance
    }
      - image: registry.k8s.io/coredns/coredns:v1.2.3
        resources: {limits: {memory: __DNS__MEMORY__LIMIT__}}
  clusterIP: __DNS__SERVER__
`)
	if err != nil {
		t.Fatal(err)
	}
	if image != "coredns/coredns:v1.2.3" {
		t.Errorf("the image is %q", image)
	}
	if diff := cmp.Diff(`
    .:53 {
        ready
        kubernetes cluster.local in-addr.arpa ip6.arpa {
            ttl 30
        }
        cache 30
        loop
        loadbalance
    }
      - image: registry.k8s.io/coredns/coredns:v1.2.3
        resources: {limits: {memory: 170Mi}}
  clusterIP: 10.96.0.10
`, manifest); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, base := range []string{"", "image: registry.k8s.io/coredns/coredns:v1.2.3", "        loop\n"} {
		if _, _, err := coreDNS(base); err == nil {
			t.Errorf("%q was taken for a manifest of CoreDNS", base)
		}
	}
}
