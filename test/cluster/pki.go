package cluster

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/podinit/podinit/test/pki"
)

const apiserverURL = "https://" + NodeIP + ":6443"

// pkiFile returns the path of a certificate or key of the cluster.
func pkiFile(name string) string { return filepath.Join(Dir, "pki", name) }

// kubeconfig returns the path of a component's kubeconfig.
func kubeconfig(component string) string { return filepath.Join(Dir, "etc", component+".kubeconfig") }

// identity is one that Kubernetes' own RBAC rules know
// (https://kubernetes.io/docs/setup/best-practices/certificates/), and the kubeconfig for it.
type identity struct{ file, name, group string }

// writePKI writes one authority, the certificates of the control plane, the key that signs service
// account tokens, and a kubeconfig for each client.
func writePKI() error {
	ca := pki.NewAuthority("podinit test cluster")
	if err := write(pkiFile("ca"), ca); err != nil {
		return err
	}
	for name, template := range map[string]*x509.Certificate{
		"apiserver": {
			Subject:     pkix.Name{CommonName: "kube-apiserver"},
			DNSNames:    []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"},
			IPAddresses: []net.IP{net.ParseIP(NodeIP), net.ParseIP("10.96.0.1"), net.ParseIP("127.0.0.1")},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		},
		"apiserver-kubelet-client": {
			Subject:     pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		},
	} {
		if err := write(pkiFile(name), ca.Issue(template)); err != nil {
			return err
		}
	}
	for _, client := range []identity{
		{Kubeconfig, "podinit-cluster-admin", "system:masters"},
		{kubeconfig("kube-controller-manager"), "system:kube-controller-manager", ""},
		{kubeconfig("kube-scheduler"), "system:kube-scheduler", ""},
	} {
		if err := writeKubeconfig(ca, client); err != nil {
			return err
		}
	}
	return write(pkiFile("service-account"), ca.Issue(&x509.Certificate{}))
}

// writeNodePKI writes what the programs of a node need, by the authority that writePKI has made.
func writeNodePKI(i index) error {
	ca, err := readAuthority()
	if err != nil {
		return err
	}
	for _, dir := range []string{"pki", "etc"} {
		if err := os.MkdirAll(filepath.Join(i.dir(), dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(i.dir(), "pki", "ca.crt"), ca.PEM(), 0o644); err != nil {
		return err
	}
	if err := write(filepath.Join(i.dir(), "pki", "kubelet"), ca.Issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: i.name()},
		IPAddresses: []net.IP{net.ParseIP(i.address())},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})); err != nil {
		return err
	}
	for _, client := range []identity{
		{filepath.Join(i.dir(), "etc", "kubelet.kubeconfig"), "system:node:" + i.name(), "system:nodes"},
		{filepath.Join(i.dir(), "etc", "kube-proxy.kubeconfig"), "system:kube-proxy", ""},
	} {
		if err := writeKubeconfig(ca, client); err != nil {
			return err
		}
	}
	return nil
}

// readAuthority reads the one that writePKI has made.
func readAuthority() (*pki.Pair, error) {
	pair, err := tls.LoadX509KeyPair(pkiFile("ca.crt"), pkiFile("ca.key"))
	if err != nil {
		return nil, err
	}
	return &pki.Pair{Certificate: pair.Leaf, Key: pair.PrivateKey.(crypto.Signer)}, nil
}

// write writes a certificate and its key to files of that name.
func write(name string, pair *pki.Pair) error {
	if err := os.WriteFile(name+".crt", pair.PEM(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(name+".key", pair.KeyPEM(), 0o600)
}

// writeKubeconfig writes a client's kubeconfig, with a certificate.
func writeKubeconfig(ca *pki.Pair, client identity) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: client.name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if client.group != "" {
		template.Subject.Organization = []string{client.group}
	}
	pair := ca.Issue(template)
	config := clientcmdapi.NewConfig()
	config.Clusters["podinit"] = &clientcmdapi.Cluster{Server: apiserverURL, CertificateAuthorityData: ca.PEM()}
	config.AuthInfos["podinit"] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.PEM(), ClientKeyData: pair.KeyPEM()}
	config.Contexts["podinit"] = &clientcmdapi.Context{Cluster: "podinit", AuthInfo: "podinit"}
	config.CurrentContext = "podinit"
	return clientcmd.WriteToFile(*config, client.file)
}
