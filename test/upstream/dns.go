package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/podinit/podinit/test/cluster"
)

// dnsAddress is the address of the cluster's nameserver, dnsDomain is the domain that it serves. The other suites have no nameserver.
const dnsAddress, dnsDomain = "10.96.0.10", "cluster.local"

// coreDNS is Kubernetes' manifest of CoreDNS (cluster/addons/dns/coredns/coredns.yaml.base) filled in for the test cluster, and the name
// of its image without the registry. The manifest forwards names of other domains to the node's nameserver. The test cluster has none,
// and CoreDNS answers SERVFAIL there.
func coreDNS(base string) (manifest, image string, err error) {
	found := coreDNSImage.FindStringSubmatch(base)
	if found == nil || !forward.MatchString(base) {
		return "", "", errors.New("the manifest names no image of CoreDNS, or forwards no names")
	}
	filled := strings.NewReplacer("__DNS__SERVER__", dnsAddress, "__DNS__DOMAIN__", dnsDomain, "__DNS__MEMORY__LIMIT__", "170Mi").Replace(base)
	return forward.ReplaceAllString(filled, ""), found[1], nil
}

var (
	coreDNSImage = regexp.MustCompile(`image: ` + regexp.QuoteMeta(upstreamRegistry) + `/(\S+)`)
	forward      = regexp.MustCompile(`(?m)^ +forward \. [^{]*\{[^}]*\}\n`)
)

// readCoreDNS is coreDNS of the manifest among the programs, if CoreDNS there is of the version that the manifest names.
func readCoreDNS(programs string) (manifest, image string, err error) {
	base, err := os.ReadFile(filepath.Join(programs, "coredns.yaml.base"))
	if err != nil {
		return "", "", err
	}
	if manifest, image, err = coreDNS(string(base)); err != nil {
		return "", "", err
	}
	built, err := buildinfo.ReadFile(filepath.Join(programs, "coredns"))
	if err != nil {
		return "", "", err
	}
	_, version, _ := strings.Cut(image, ":")
	for _, module := range built.Deps {
		if module.Path == "github.com/coredns/coredns" && module.Version != version {
			return "", "", fmt.Errorf("CoreDNS is built of %s, but Kubernetes' manifest names %s", module.Version, version)
		}
	}
	return manifest, image, nil
}

// startDNS starts CoreDNS in the cluster and has the kubelet name it to every container that it starts from now on.
func (i installer) startDNS(ctx context.Context, manifest string) error {
	path := filepath.Join(cluster.Dir, "etc", "kubelet.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), "clusterDNS:") {
		text = fmt.Appendf(text, "clusterDNS: [%s]\nclusterDomain: %s\n", dnsAddress, dnsDomain)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
		if err := i.Restart(ctx, "kubelet"); err != nil {
			return err
		}
	}
	if err := i.kubectl(ctx, manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	return i.kubectl(ctx, "", "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=3m")
}
