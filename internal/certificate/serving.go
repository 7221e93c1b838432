// Package certificate makes, renews and serves the webhook's certificate, so that the apiserver trusts what is served at
// every moment.
//
// A Keeper makes the certificate and writes its authority into the MutatingWebhookConfiguration; it serves nothing. The
// replicas follow both with an Authority, and serve what Serving holds. A certificate that is made elsewhere comes from files.
package certificate

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Serving is the certificate that is served, as of the last time it could be read. The webhook's own comes from the Secret
// itself (see Authority) and not from a volume, which lags behind by up to 90 s. One that is renewed elsewhere comes from
// files: its Secret is not podinit's.
type Serving struct {
	log     logr.Logger
	current atomic.Pointer[tls.Certificate]
}

// NewServing serves nothing yet. It logs which certificate is served.
func NewServing(log logr.Logger) *Serving { return &Serving{log: log} }

var errNoCertificate = errors.New("there is no certificate yet")

// Get is for tls.Config.GetCertificate.
func (s *Serving) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.current.Load(); c != nil {
		return c, nil
	}
	return nil, errNoCertificate
}

// Loaded is a health check.
func (s *Serving) Loaded(*http.Request) error {
	_, err := s.Get(nil)
	return err
}

// Expiry is for a gauge: when the certificate that is served ends, in seconds since 1970; 0 if there is none.
func (s *Serving) Expiry() float64 {
	if c := s.current.Load(); c != nil {
		return float64(c.Leaf.NotAfter.Unix())
	}
	return 0
}

// WatchFiles follows tls.crt and tls.key in a directory; what it returns does so as long as it runs. Both must be there:
// a Pod that mounts a Secret starts when it exists.
func (s *Serving) WatchFiles(directory string) (manager.Runnable, error) {
	certificate, key := filepath.Join(directory, corev1.TLSCertKey), filepath.Join(directory, corev1.TLSPrivateKeyKey)
	watcher, err := certwatcher.New(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate from %s and %s: %w", certificate, key, err)
	}
	watcher.RegisterCallback(s.serve) // with what is there now, too
	return watcher, nil
}

func (s *Serving) serve(pair tls.Certificate) {
	before := s.current.Swap(&pair)
	if before == nil || !before.Leaf.Equal(pair.Leaf) {
		s.log.Info("serving", "notAfter", pair.Leaf.NotAfter, "serial", pair.Leaf.SerialNumber.String())
	}
}
