package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/podinit/podinit/test/pki"
)

// pair is a certificate of an authority for a use, with names.
func pair(authority *pki.Pair, use x509.ExtKeyUsage, commonName string, names ...string) *tls.Certificate {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: commonName}, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{use}}
	made := authority.Issue(template).TLS()
	return &made
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
	own := pki.NewAuthority("authority")
	s.roots.AddCert(own.Certificate)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = free.Addr().String()
	free.Close()
	server := &Server{
		Address: s.address, TLS: &tls.Config{Certificates: []tls.Certificate{*pair(own, x509.ExtKeyUsageServerAuth, "", "webhook.example")}},
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
	authority, other := pki.NewAuthority("authority"), pki.NewAuthority("authority")
	for name, c := range map[string]struct {
		names       []string
		certificate *tls.Certificate
		allowed     bool
	}{
		"of the authority":            {nil, pair(authority, x509.ExtKeyUsageClientAuth, "anything"), true},
		"with the common name":        {[]string{"x", "kube-apiserver"}, pair(authority, x509.ExtKeyUsageClientAuth, "kube-apiserver"), true},
		"with the DNS name":           {[]string{"kube-apiserver"}, pair(authority, x509.ExtKeyUsageClientAuth, "", "kube-apiserver"), true},
		"with another name":           {[]string{"kube-apiserver"}, pair(authority, x509.ExtKeyUsageClientAuth, "tenant", "kube-apiserver.tenant"), false},
		"of another authority":        {nil, pair(other, x509.ExtKeyUsageClientAuth, "kube-apiserver"), false},
		"for servers":                 {nil, pair(authority, x509.ExtKeyUsageServerAuth, "kube-apiserver"), false},
		"none":                        {nil, nil, false},
		"the authority's, no key use": {nil, &tls.Certificate{Certificate: [][]byte{authority.Certificate.Raw}, PrivateKey: other.Key}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t, string(authority.PEM()), c.names...)
			if status, err := s.call(s.client(c.certificate)); (status == http.StatusOK) != c.allowed {
				t.Errorf("status %d, error %v; want allowed: %v", status, err, c.allowed)
			}
		})
	}
}

// The authority changes under connections that are kept: who is not of the new one is refused, and who is is served. A
// file that cannot be used changes nothing.
func TestCallersFollowTheFile(t *testing.T) {
	before, after := pki.NewAuthority("authority"), pki.NewAuthority("authority")
	s := newServed(t, string(before.PEM()))
	old, both := s.client(pair(before, x509.ExtKeyUsageClientAuth, "a")), s.client(pair(after, x509.ExtKeyUsageClientAuth, "a"))
	expect := func(when string, client *http.Client, want int) {
		t.Helper()
		if status, err := s.call(client); status != want {
			t.Errorf("%s: status %d, %v; want %d", when, status, err, want)
		}
	}
	reads := func(when, text string, want bool, problem string) {
		t.Helper()
		s.write(text)
		changed, err := s.callers.read()
		if changed != want || (err != nil) != (problem != "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: changed %v, error %v; want %v, %q", when, changed, err, want, problem)
		}
	}
	expect("at first", old, http.StatusOK)
	reads("the same", string(before.PEM()), false, "")
	reads("emptied", "", false, "no certificate in PEM")
	reads("garbled", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", false, "x509")
	reads("too large", string(before.PEM())+strings.Repeat("\n", maxAuthority), false, "larger than")
	expect("after files that cannot be used", old, http.StatusOK)
	reads("both", string(before.PEM())+string(after.PEM()), true, "")
	expect("both, the old", old, http.StatusOK)
	expect("both, the new", both, http.StatusOK)
	s.callers.now = func() time.Time { // connections that are opened from now on are not looked at again
		expect("the new alone, the old on a connection that is opened just then", s.client(pair(before, x509.ExtKeyUsageClientAuth, "a")), 0)
		return time.Now()
	}
	reads("the new alone", string(after.PEM()), true, "")
	expect("the new alone, the old on its connection", old, http.StatusUnauthorized)
	expect("the new alone, the old on a new connection", old, 0)
	expect("the new alone, the new", both, http.StatusOK)
	if _, err := NewCallers(filepath.Join(t.TempDir(), "none"), nil, testr.New(t)); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("of a file that is not there: %v", err)
	}
}
