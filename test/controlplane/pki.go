package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"time"
)

// writePKI writes the webhook's certificate, the apiservers' for it with its authority, and the key for service accounts.
func (c *ControlPlane) writePKI() error {
	ca := &identity{template: &x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	return errors.Join(
		c.issue("ca", ca, ca),
		c.issue("tls", &identity{template: &x509.Certificate{
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}}, ca),
		c.issue("apiserver", &identity{template: &x509.Certificate{
			Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}}, ca),
		c.issue("accounts", &identity{template: &x509.Certificate{}}, ca),
	)
}

// identity is a certificate and its key.
type identity struct {
	template, certificate *x509.Certificate
	key                   *ecdsa.PrivateKey
}

// issue makes a certificate that an issuer signs, perhaps its own, and writes it and its key to files of that name.
func (c *ControlPlane) issue(name string, i, issuer *identity) (err error) {
	if i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	i.template.SerialNumber = big.NewInt(time.Now().UnixNano())
	i.template.NotBefore, i.template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent := issuer.certificate
	if parent == nil {
		parent = issuer.template
	}
	signed, err := x509.CreateCertificate(rand.Reader, i.template, parent, &i.key.PublicKey, issuer.key)
	if err != nil {
		return err
	}
	if i.certificate, err = x509.ParseCertificate(signed); err != nil {
		return err
	}
	key, err := x509.MarshalECPrivateKey(i.key)
	if err != nil {
		return err
	}
	return errors.Join(
		c.Write(name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))),
		c.Write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}))))
}
