// Package pki issues certificates for tests.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// Pair is a certificate and its key. That of an authority issues others, and an empty one issues those that sign themselves.
type Pair struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// NewAuthority is an authority that has signed itself.
func NewAuthority(name string) *Pair {
	return new(Pair).Issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
}

// Issue makes a key and its certificate, which has a serial number and is valid for years unless the template says otherwise. It panics if
// the template is wrong.
func (p *Pair) Issue(template *x509.Certificate) *Pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(time.Now().UnixNano())
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().AddDate(-10, 0, 0)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().AddDate(10, 0, 0)
	}
	if p.Certificate == nil {
		p = &Pair{template, key}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, p.Certificate, key.Public(), p.Key)
	must(err)
	certificate, err := x509.ParseCertificate(signed)
	must(err)
	return &Pair{certificate, key}
}

// PEM is the certificate's text.
func (p *Pair) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate.Raw})
}

// KeyPEM is the key's text.
func (p *Pair) KeyPEM() []byte {
	key, err := x509.MarshalPKCS8PrivateKey(p.Key)
	must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
}

// TLS is what a server or a client presents.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Certificate.Raw}, PrivateKey: p.Key, Leaf: p.Certificate}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
