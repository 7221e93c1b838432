package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/keyutil"
)

const apiserverURL = "https://" + NodeIP + ":6443"

// pki returns the path of a certificate or key of the cluster.
func pki(name string) string { return filepath.Join(Dir, "pki", name) }

// kubeconfig returns the path of a component's kubeconfig.
func kubeconfig(component string) string { return filepath.Join(Dir, "etc", component+".kubeconfig") }

// identity is one that Kubernetes' own RBAC rules know
// (https://kubernetes.io/docs/setup/best-practices/certificates/), and the kubeconfig for it.
type identity struct{ file, name, group string }

// writePKI writes one authority, the certificates of the control plane, the key that signs service
// account tokens, and a kubeconfig for each client.
func writePKI() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	if err := os.WriteFile(pki("ca.crt"), ca.pem, 0o644); err != nil {
		return err
	}
	key, err := keyPEM(ca.key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(pki("ca.key"), key, 0o600); err != nil {
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
		if err := ca.write(pki(name), template); err != nil {
			return err
		}
	}
	for _, client := range []identity{
		{Kubeconfig, "podinit-cluster-admin", "system:masters"},
		{kubeconfig("kube-controller-manager"), "system:kube-controller-manager", ""},
		{kubeconfig("kube-scheduler"), "system:kube-scheduler", ""},
	} {
		if err := ca.writeKubeconfig(client); err != nil {
			return err
		}
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err = keyPEM(signer)
	if err != nil {
		return err
	}
	return os.WriteFile(pki("service-account.key"), key, 0o600)
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
	if err := os.WriteFile(filepath.Join(i.dir(), "pki", "ca.crt"), ca.pem, 0o644); err != nil {
		return err
	}
	if err := ca.write(filepath.Join(i.dir(), "pki", "kubelet"), &x509.Certificate{
		Subject:     pkix.Name{CommonName: i.name()},
		IPAddresses: []net.IP{net.ParseIP(i.address())},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return err
	}
	for _, client := range []identity{
		{filepath.Join(i.dir(), "etc", "kubelet.kubeconfig"), "system:node:" + i.name(), "system:nodes"},
		{filepath.Join(i.dir(), "etc", "kube-proxy.kubeconfig"), "system:kube-proxy", ""},
	} {
		if err := ca.writeKubeconfig(client); err != nil {
			return err
		}
	}
	return nil
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

const lifetime = 30 * 24 * time.Hour

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "podinit test cluster"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, pem: certPEM(der)}, nil
}

// readAuthority reads the one that writePKI has made.
func readAuthority() (*authority, error) {
	pair, err := tls.LoadX509KeyPair(pki("ca.crt"), pki("ca.key"))
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s has a key of type %T", pki("ca.key"), pair.PrivateKey)
	}
	return &authority{cert: pair.Leaf, key: key, pem: certPEM(pair.Certificate[0])}, nil
}

// write issues a certificate and writes it and its key to files of that name.
func (a *authority) write(name string, template *x509.Certificate) error {
	cert, key, err := a.issue(template)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".crt", cert, 0o644); err != nil {
		return err
	}
	return os.WriteFile(name+".key", key, 0o600)
}

// writeKubeconfig writes a client's kubeconfig, with a certificate.
func (a *authority) writeKubeconfig(client identity) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: client.name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if client.group != "" {
		template.Subject.Organization = []string{client.group}
	}
	cert, key, err := a.issue(template)
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["podinit"] = &clientcmdapi.Cluster{Server: apiserverURL, CertificateAuthorityData: a.pem}
	config.AuthInfos["podinit"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts["podinit"] = &clientcmdapi.Context{Cluster: "podinit", AuthInfo: "podinit"}
	config.CurrentContext = "podinit"
	return clientcmd.WriteToFile(*config, client.file)
}

// issue signs template, whose serial number and validity it sets, for a new key.
func (a *authority) issue(template *x509.Certificate) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, err
	}
	template.NotBefore, template.NotAfter = a.cert.NotBefore, a.cert.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(private)
	return certPEM(der), key, err
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	return keyutil.MarshalPrivateKeyToPEM(key)
}
