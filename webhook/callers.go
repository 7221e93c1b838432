package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/podinit/podinit/internal/pemtext"
)

const (
	// authorityInterval is how often the file with the client authority is read.
	authorityInterval = 10 * time.Second
	// maxAuthority bounds that file, in bytes.
	maxAuthority = 1 << 20
)

// Callers are the clients that may send reviews: those that present a certificate for clients that an authority has
// signed, with one of some names. It is a Runnable of controller-runtime's manager, which follows the authority's file.
//
// An apiserver presents a certificate where its AdmissionConfiguration says so. Most managed clusters have no way to say it.
// A token in the request's header (KEP-6060) is to be checked in Allowed, too.
type Callers struct {
	file  string
	names []string
	log   logr.Logger
	now   func() time.Time

	authority atomic.Pointer[authority]
}

// authority is what the file has said since a time.
type authority struct {
	text  []byte
	roots *x509.CertPool
	// since is nil until the authority is in use: a connection that is opened just before may still be verified by the
	// previous one.
	since *time.Time
}

// NewCallers reads the certificates of the authority from a file, in PEM. A client's certificate must have one of names as
// its common name or as a DNS name; without names, any that the authority has signed will do.
func NewCallers(file string, names []string, log logr.Logger) (*Callers, error) {
	c := &Callers{file: file, names: names, log: log, now: time.Now}
	if _, err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// NeedLeaderElection says that every replica follows the file.
func (*Callers) NeedLeaderElection() bool { return false }

// Start follows the file until ctx is done. While the file cannot be used, what it said before holds.
func (c *Callers) Start(ctx context.Context) error {
	ticker := time.NewTicker(authorityInterval)
	defer ticker.Stop()
	failed := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			changed, err := c.read()
			switch {
			case err == nil && changed:
				c.log.Info("the client authority has changed", "file", c.file)
			case err != nil && err.Error() != failed: // once for each
				c.log.Error(err, "the client authority cannot be read; the previous one applies")
			}
			failed = ""
			if err != nil {
				failed = err.Error()
			}
		}
	}
}

// read takes up what the file says, and tells whether that is new.
func (c *Callers) read() (changed bool, err error) {
	text, err := readAuthority(c.file)
	if err != nil {
		return false, fmt.Errorf("reading the client authority: %w", err)
	}
	if before := c.authority.Load(); before != nil && bytes.Equal(before.text, text) {
		return false, nil
	}
	roots, err := authorities(text)
	if err != nil {
		return false, fmt.Errorf("reading the client authority from %s: %w", c.file, err)
	}
	c.authority.Store(&authority{text: text, roots: roots})
	since := c.now() // when no handshake begins with the previous authority any more
	c.authority.Store(&authority{text: text, roots: roots, since: &since})
	return true, nil
}

func readAuthority(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAuthority+1))
	if err == nil && len(text) > maxAuthority {
		err = fmt.Errorf("%s is larger than %d bytes", file, maxAuthority)
	}
	return text, err
}

// authorities are the certificates in a PEM text.
func authorities(text []byte) (*x509.CertPool, error) {
	all, err := pemtext.Certificates(text)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range all {
		pool.AddCert(c)
	}
	return pool, nil
}

// Configure has TLS ask for a certificate, and end the handshake of a client that may not call.
func (c *Callers) Configure(config *tls.Config) {
	config.ClientAuth = tls.RequireAnyClientCert // it is verified by verify, by the authority as it is then
	config.VerifyConnection = c.verify
	config.SessionTicketsDisabled = true // an earlier handshake proves nothing under another authority
}

// Allowed says whether a request comes from a client that may call. TLS has looked at its certificate when the connection
// was opened; where the authority has changed since, it is looked at again.
func (c *Callers) Allowed(r *http.Request) error {
	if r.TLS == nil {
		return errNoClientCertificate
	}
	opened := time.Time{}
	if connection, _ := r.Context().Value(connectionKey{}).(*connection); connection != nil {
		opened = connection.opened
	}
	if since := c.authority.Load().since; since != nil && opened.After(*since) {
		return nil
	}
	return c.verify(*r.TLS)
}

var errNoClientCertificate = errors.New("the client presents no certificate: -client-ca-file admits only apiservers that do")

// verify says whether the client of a connection may call.
func (c *Callers) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errNoClientCertificate
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, certificate := range state.PeerCertificates[1:] {
		between.AddCert(certificate)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.authority.Load().roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return fmt.Errorf("the client's certificate: %w", err)
	}
	if len(c.names) == 0 || slices.Contains(c.names, leaf.Subject.CommonName) ||
		slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return slices.Contains(c.names, name) }) {
		return nil
	}
	return fmt.Errorf("the client's certificate is for %.100q %.100q, and -client-names allows %s",
		leaf.Subject.CommonName, leaf.DNSNames, strings.Join(c.names, ", "))
}
