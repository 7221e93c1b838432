package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
)

const (
	// settleTime is how long the caBundle must have named an authority before a certificate of it takes the place of
	// another: until every apiserver has heard of it.
	settleTime = 5 * time.Second
	// overlapTime is how long the caBundle still names the authority before, once the new one's certificate is served:
	// until every replica serves that.
	overlapTime = 5 * time.Minute
	// maxAuthorities bounds the caBundle, however often a certificate is renewed.
	maxAuthorities = 4
	// retryTime is when a write that failed is tried again.
	retryTime = time.Second
	// writeTime is how long a write may take.
	writeTime = 10 * time.Second
	// fieldOwner is under which name the webhook's writes are known.
	fieldOwner = "podinit-webhook"
	// caKey is where the Secret has the authority's certificate.
	caKey = "ca.crt"
)

// Authority keeps in step what the apiserver trusts and what is served, so that a certificate may be renewed with its
// authority and no handshake fails: the caBundle names the new authority together with the old one, then the new certificate is
// served, and then the old authority goes. cert-controller, which makes both, would write the caBundle again after the
// certificate is in the Secret, and keep no old one.
//
// One process writes the caBundle (-certificates), and serves nothing. The replicas that serve only read, so that a replica
// that is taken over cannot have the apiserver send other objects, or send them elsewhere. All of them agree without talking
// to each other, since each goes by the Secret and the MutatingWebhookConfiguration alone.
type Authority struct {
	// certificate is what is served.
	certificate *Serving
	names       Names
	// write updates the MutatingWebhookConfiguration; nil where another process does.
	write func(context.Context, *unstructured.Unstructured) error
	log   logr.Logger

	// changed has an element when something new has been seen.
	changed chan struct{}

	mu                sync.Mutex
	seenSecret        *corev1.Secret
	seenConfiguration *unstructured.Unstructured
	// current is the authority in the Secret. trusted is since when the caBundle names it, served since when a
	// certificate of it is; both are zero if not.
	current         []byte
	trusted, served time.Time

	// once is set when an authority has been trusted. What then fails leaves the certificate before to be served. It is
	// asked by a probe, which must not wait for a write to the apiserver.
	once atomic.Bool
}

// newConfiguration is an empty MutatingWebhookConfiguration. It is not decoded into a type, which would lose the fields
// of a newer Kubernetes when it is written.
func newConfiguration() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"})
	return u
}

// Names of what a certificate is kept in.
type Names struct {
	// Secret has the certificate, its key, and the authority.
	Secret types.NamespacedName
	// Configuration is the MutatingWebhookConfiguration.
	Configuration string
}

// ByObject restricts a cache to what an Authority watches.
func (n Names) ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Secret{}: {Namespaces: map[string]cache.Config{
			n.Secret.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", n.Secret.Name)},
		}},
		newConfiguration(): {Field: fields.OneTermEqualSelector("metadata.name", n.Configuration)},
	}
}

// NewAuthority follows what is in the cluster under these names, and has the certificate served as soon as it is trusted.
func NewAuthority(serving *Serving, names Names, log logr.Logger) *Authority {
	return &Authority{certificate: serving, names: names, log: log, changed: make(chan struct{}, 1)}
}

// AddTo has a manager run the authority, which sees what the manager's cache does. It does not wait for the cache.
func (a *Authority) AddTo(ctx context.Context, manager ctrl.Manager) error {
	for _, object := range []client.Object{&corev1.Secret{}, newConfiguration()} {
		informer, err := manager.GetCache().GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err == nil {
			_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
				AddFunc:    a.see,
				UpdateFunc: func(_, object any) { a.see(object) },
			})
		}
		if err != nil {
			return fmt.Errorf("watching the certificate's Secret %s and MutatingWebhookConfiguration %s: %w", a.names.Secret, a.names.Configuration, err)
		}
	}
	if err := manager.Add(a); err != nil {
		return fmt.Errorf("setting up the certificate: %w", err)
	}
	return nil
}

// see takes note of an object that was added or has changed.
func (a *Authority) see(object any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o := object.(type) {
	case *corev1.Secret:
		if o.Namespace == a.names.Secret.Namespace && o.Name == a.names.Secret.Name {
			a.seenSecret = o
		}
	case *unstructured.Unstructured:
		if o.GetName() == a.names.Configuration {
			a.seenConfiguration = o
		}
	}
	select {
	case a.changed <- struct{}{}:
	default: // the signal is there already
	}
}

// NeedLeaderElection says that every replica does this.
func (*Authority) NeedLeaderElection() bool { return false }

// Start does what is to be done until ctx is done.
func (a *Authority) Start(ctx context.Context) error {
	for {
		again, err := a.step(ctx, time.Now())
		switch {
		case err == nil, ctx.Err() != nil:
		case apierrors.IsConflict(err):
			// Another writer was first, as in a rollout; what it wrote is about to be seen.
		default:
			a.log.Error(err, "cannot write the new CA to the MutatingWebhookConfiguration; trying again", "name", a.names.Configuration)
		}
		var timer <-chan time.Time
		if again > 0 {
			timer = time.After(again)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		case <-timer:
		}
	}
}

// Trusted is a health check: it fails until the apiserver has the authority in the Secret among those that it trusts.
func (a *Authority) Trusted(*http.Request) error {
	if !a.once.Load() {
		return errors.New("the CA is not yet in MutatingWebhookConfiguration " + a.names.Configuration + "; podinit-certificates writes it")
	}
	return nil
}

// step does what is due now, and says in how long something will be, 0 if it is waiting for a change.
func (a *Authority) step(ctx context.Context, now time.Time) (again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seenSecret == nil || a.seenConfiguration == nil || len(a.seenSecret.Data) == 0 {
		return 0, nil // as it is shipped; the rotator fills it
	}
	if a.write != nil && a.seenConfiguration.GetAnnotations()[v1alpha1.CABundleAnnotation] == v1alpha1.CABundleExternal {
		return 0, nil // another takes over: what is written now would be added to its caBundle, and stay there
	}
	pair, ca, err := readSecret(a.seenSecret)
	if err != nil {
		a.log.Info("the Secret has no usable certificate; the previous one is served until there is a new one", "secret", a.names.Secret.String(), "error", err.Error())
		return 0, nil
	}
	if !bytes.Equal(a.current, ca) {
		a.current, a.trusted, a.served = ca, time.Time{}, time.Time{}
	}
	entries, err := readBundles(a.seenConfiguration)
	if err != nil {
		return 0, err
	}
	everywhere := true
	for _, entry := range entries {
		everywhere = everywhere && contains(entry, ca)
	}
	if !everywhere {
		a.trusted = time.Time{}
		if a.write == nil {
			return 0, nil // the certificate that is served stays until the apiserver trusts the new one
		}
		bundle := [][]byte{ca}
		for _, entry := range entries {
			for _, other := range entry {
				if !contains(bundle, other) && len(bundle) < maxAuthorities {
					bundle = append(bundle, other)
				}
			}
		}
		return retryTime, a.writeBundle(ctx, bundle)
	}
	if a.trusted.IsZero() {
		a.trusted = now
		a.once.Store(true)
	}
	if settled := a.trusted.Add(settleTime); a.certificate.Loaded(nil) == nil && a.served.IsZero() && now.Before(settled) {
		return settled.Sub(now), nil
	}
	a.certificate.serve(pair)
	if a.served.IsZero() {
		a.served = now
	}
	for _, entry := range entries {
		if len(entry) == 1 || a.write == nil {
			continue
		}
		if over := a.served.Add(overlapTime); now.Before(over) {
			return over.Sub(now), nil
		}
		return retryTime, a.writeBundle(ctx, [][]byte{ca})
	}
	return 0, nil
}

// writeBundle has every entry of the MutatingWebhookConfiguration trust these authorities.
func (a *Authority) writeBundle(ctx context.Context, bundle [][]byte) error {
	var text bytes.Buffer
	for _, der := range bundle {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	u := a.seenConfiguration.DeepCopy()
	webhooks, _, err := unstructured.NestedSlice(u.Object, "webhooks")
	if err != nil {
		return err
	}
	for _, w := range webhooks {
		if w, ok := w.(map[string]any); ok {
			if err := unstructured.SetNestedField(w, base64.StdEncoding.EncodeToString(text.Bytes()), "clientConfig", "caBundle"); err != nil {
				return err
			}
		}
	}
	if err := unstructured.SetNestedSlice(u.Object, webhooks, "webhooks"); err != nil {
		return err
	}
	if err := a.write(ctx, u); err != nil {
		return err
	}
	a.log.Info("wrote the CA to the MutatingWebhookConfiguration", "authorities", len(bundle))
	return nil
}

// readSecret returns the certificate with its key, and the authority that has signed it.
func readSecret(secret *corev1.Secret) (pair tls.Certificate, ca []byte, err error) {
	block, _ := pem.Decode(secret.Data[caKey])
	if block == nil {
		return pair, nil, errors.New(caKey + " is not a certificate")
	}
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return pair, nil, fmt.Errorf("%s: %w", caKey, err)
	}
	if pair, err = tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return pair, nil, err
	}
	if err := pair.Leaf.CheckSignatureFrom(authority); err != nil {
		return pair, nil, fmt.Errorf("the certificate is not signed by the authority in %s: %w", caKey, err)
	}
	return pair, authority.Raw, nil
}

// readBundles returns the certificates in each entry's caBundle. What is not a certificate is left out.
func readBundles(configuration *unstructured.Unstructured) (entries [][][]byte, err error) {
	webhooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
	if err != nil {
		return nil, err
	}
	for _, w := range webhooks {
		w, _ := w.(map[string]any)
		encoded, _, _ := unstructured.NestedString(w, "clientConfig", "caBundle")
		rest, _ := base64.StdEncoding.DecodeString(encoded)
		var entry [][]byte
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if _, err := x509.ParseCertificate(block.Bytes); err == nil {
				entry = append(entry, block.Bytes)
			}
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func contains(certificates [][]byte, one []byte) bool {
	for _, c := range certificates {
		if bytes.Equal(c, one) {
			return true
		}
	}
	return false
}
