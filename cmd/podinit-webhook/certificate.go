package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// servingCertificate is the certificate that is served, as of the last time it could be read. The webhook's own comes from
// the Secret itself and not from a volume, which lags behind by up to 90 s: a new one is served the moment it is there.
// One that somebody else renews comes from files, since its Secret is none of our business.
type servingCertificate struct {
	secret  types.NamespacedName
	log     logr.Logger
	current atomic.Pointer[tls.Certificate]
}

var errNoCertificate = errors.New("there is no certificate yet")

// get is for tls.Config.GetCertificate.
func (s *servingCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.current.Load(); c != nil {
		return c, nil
	}
	return nil, errNoCertificate
}

// loaded is a health check.
func (s *servingCertificate) loaded(*http.Request) error {
	_, err := s.get(nil)
	return err
}

// expiry is for a gauge: when the certificate that is served ends, in seconds since 1970; 0 if there is none.
func (s *servingCertificate) expiry() float64 {
	if c := s.current.Load(); c != nil {
		return float64(c.Leaf.NotAfter.Unix())
	}
	return 0
}

// watch follows the Secret as long as the cache runs. It does not wait for the cache.
func (s *servingCertificate) watch(ctx context.Context, c cache.Cache) error {
	informer, err := c.GetInformer(ctx, &corev1.Secret{}, cache.BlockUntilSynced(false))
	if err == nil {
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { s.update(object) },
			UpdateFunc: func(_, object any) { s.update(object) },
		})
	}
	if err != nil {
		return fmt.Errorf("watching Secret %s: %w", s.secret, err)
	}
	return nil
}

// update takes over what a Secret holds. If that is no certificate, the one before stays.
func (s *servingCertificate) update(object any) {
	secret, ok := object.(*corev1.Secret)
	if !ok || secret.Namespace != s.secret.Namespace || secret.Name != s.secret.Name {
		return
	}
	certificate, key := secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]
	if len(certificate) == 0 && len(key) == 0 {
		return // as it is shipped; the rotator fills it
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		s.log.Info("the Secret holds no usable certificate; the one before stays until a new one is made", "secret", s.secret.String(), "error", err.Error())
		return
	}
	s.serve(pair)
}

// watchFiles follows tls.crt and tls.key in a directory; what it returns does so as long as it runs. Both must be there:
// a Pod that mounts a Secret starts when it exists.
func (s *servingCertificate) watchFiles(directory string) (manager.Runnable, error) {
	certificate, key := filepath.Join(directory, corev1.TLSCertKey), filepath.Join(directory, corev1.TLSPrivateKeyKey)
	watcher, err := certwatcher.New(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate from %s and %s: %w", certificate, key, err)
	}
	watcher.RegisterCallback(s.serve) // with what is there now, too
	return watcher, nil
}

func (s *servingCertificate) serve(pair tls.Certificate) {
	before := s.current.Swap(&pair)
	if before == nil || !before.Leaf.Equal(pair.Leaf) {
		s.log.Info("serving", "notAfter", pair.Leaf.NotAfter, "serial", pair.Leaf.SerialNumber.String())
	}
}

// markerDirectory makes a directory with an empty tls.crt. cert-controller takes a file of that name for the sign that
// the Secret has been mounted, and ends the program if it never comes. We mount none.
func markerDirectory() (string, error) {
	directory, err := os.MkdirTemp("", "podinit-webhook-")
	if err == nil {
		err = os.WriteFile(filepath.Join(directory, corev1.TLSCertKey), nil, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("writing to the temporary directory (mount an emptyDir at /tmp): %w", err)
	}
	return directory, nil
}
