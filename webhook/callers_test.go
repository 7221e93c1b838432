package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
)

// issuer signs certificates.
type issuer struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{t: t}
	i.certificate, i.key = i.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return i
}

func (i *issuer) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := i.certificate, i.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		i.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return certificate, key
}

func (i *issuer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.certificate.Raw}))
}

// pair is a certificate for a use, with names.
func (i *issuer) pair(use x509.ExtKeyUsage, commonName string, names ...string) *tls.Certificate {
	certificate, key := i.sign(&x509.Certificate{Subject: pkix.Name{CommonName: commonName}, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{use}})
	return &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
}

// served is a Server that only some may call, and the file with the authority of those.
type served struct {
	t       *testing.T
	callers *Callers
	file    string
	address string
	roots   *x509.CertPool
}

func newServed(t *testing.T, authority string, names ...string) *served {
	t.Helper()
	s := &served{t: t, file: filepath.Join(t.TempDir(), "ca.crt"), roots: x509.NewCertPool()}
	s.write(authority)
	var err error
	if s.callers, err = NewCallers(s.file, names, testr.New(t)); err != nil {
		t.Fatal(err)
	}
	own := newIssuer(t)
	s.roots.AddCert(own.certificate)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = free.Addr().String()
	free.Close()
	server := &Server{
		Address: s.address, TLS: &tls.Config{Certificates: []tls.Certificate{*own.pair(x509.ExtKeyUsageServerAuth, "", "webhook.example")}},
		Callers: s.callers, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), Finish: time.Second, Log: testr.New(t),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for began := time.Now(); server.Ready(nil) != nil; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the server does not listen")
		}
	}
	return s
}

func (s *served) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// client presents a certificate; nil for none.
func (s *served) client(certificate *tls.Certificate) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: s.roots, ServerName: "webhook.example",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if certificate == nil {
				return &tls.Certificate{}, nil
			}
			return certificate, nil
		},
	}}}
}

func (s *served) call(client *http.Client) (int, error) {
	response, err := client.Post("https://"+s.address+"/mutate", "application/json", strings.NewReader("{}"))
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// Only clients with a certificate for clients, of the authority, with one of the names, may call.
func TestCallers(t *testing.T) {
	authority, other := newIssuer(t), newIssuer(t)
	for name, c := range map[string]struct {
		names       []string
		certificate *tls.Certificate
		allowed     bool
	}{
		"of the authority":            {nil, authority.pair(x509.ExtKeyUsageClientAuth, "anything"), true},
		"with the common name":        {[]string{"x", "kube-apiserver"}, authority.pair(x509.ExtKeyUsageClientAuth, "kube-apiserver"), true},
		"with the DNS name":           {[]string{"kube-apiserver"}, authority.pair(x509.ExtKeyUsageClientAuth, "", "kube-apiserver"), true},
		"with another name":           {[]string{"kube-apiserver"}, authority.pair(x509.ExtKeyUsageClientAuth, "tenant", "kube-apiserver.tenant"), false},
		"of another authority":        {nil, other.pair(x509.ExtKeyUsageClientAuth, "kube-apiserver"), false},
		"for servers":                 {nil, authority.pair(x509.ExtKeyUsageServerAuth, "kube-apiserver"), false},
		"none":                        {nil, nil, false},
		"the authority's, no key use": {nil, &tls.Certificate{Certificate: [][]byte{authority.certificate.Raw}, PrivateKey: other.key}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t, authority.pem(), c.names...)
			if status, err := s.call(s.client(c.certificate)); (status == http.StatusOK) != c.allowed {
				t.Errorf("status %d, error %v; want allowed: %v", status, err, c.allowed)
			}
		})
	}
}

// The authority changes under connections that are kept: who is not of the new one is refused, and who is is served. A
// file that cannot be used changes nothing.
func TestCallersFollowTheFile(t *testing.T) {
	before, after := newIssuer(t), newIssuer(t)
	s := newServed(t, before.pem())
	old, both := s.client(before.pair(x509.ExtKeyUsageClientAuth, "a")), s.client(after.pair(x509.ExtKeyUsageClientAuth, "a"))
	expect := func(when string, client *http.Client, want int) {
		t.Helper()
		if status, err := s.call(client); status != want {
			t.Errorf("%s: status %d, %v; want %d", when, status, err, want)
		}
	}
	reads := func(when, text string, want bool, problem string) {
		t.Helper()
		s.write(text)
		changed, err := s.callers.read(time.Now())
		if changed != want || (err != nil) != (problem != "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: changed %v, error %v; want %v, %q", when, changed, err, want, problem)
		}
	}
	expect("at first", old, http.StatusOK)
	reads("the same", before.pem(), false, "")
	reads("emptied", "", false, "no certificate in PEM")
	reads("garbled", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", false, "x509")
	reads("too large", before.pem()+strings.Repeat("\n", maxAuthority), false, "larger than")
	expect("after files that cannot be used", old, http.StatusOK)
	reads("both", before.pem()+after.pem(), true, "")
	expect("both, the old", old, http.StatusOK)
	expect("both, the new", both, http.StatusOK)
	reads("the new alone", after.pem(), true, "")
	expect("the new alone, the old on its connection", old, http.StatusUnauthorized)
	expect("the new alone, the old on a new connection", old, 0)
	expect("the new alone, the new", both, http.StatusOK)
	if _, err := NewCallers(filepath.Join(t.TempDir(), "none"), nil, testr.New(t)); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("of a file that is not there: %v", err)
	}
}
