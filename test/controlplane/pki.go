package controlplane

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"

	"github.com/podinit/podinit/test/pki"
)

// writePKI writes the webhook's certificate, the apiservers' for it with its authority, and the key for service accounts.
func (c *ControlPlane) writePKI() error {
	ca := pki.NewAuthority("test")
	write := func(name string, pair *pki.Pair) error {
		return errors.Join(c.Write(name+".crt", string(pair.PEM())), c.Write(name+".key", string(pair.KeyPEM())))
	}
	return errors.Join(
		write("ca", ca),
		write("tls", ca.Issue(&x509.Certificate{
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})),
		write("apiserver", ca.Issue(&x509.Certificate{
			Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})),
		write("accounts", ca.Issue(&x509.Certificate{})),
	)
}
