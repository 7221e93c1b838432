package certificate

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// TestAuthorityRenewed renews certificate and authority again and again while two replicas serve, which may write nothing,
// one of which sees and does everything later, and of which one is started anew. What writes is started anew as well, in the
// middle of a renewal. The apiserver hears of the MutatingWebhookConfiguration late, too.
// What is served is trusted at every moment, and the authority before goes in the end.
func TestAuthorityRenewed(t *testing.T) {
	const (
		tick  = 500 * time.Millisecond
		lag   = 4 // ticks until the second replica has seen something
		heard = 8 // ticks until the apiserver has heard of a change: less than settleTime
	)
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	configuration := configurationOf("namespace.podinit.dev", "again.namespace.podinit.dev")
	var past []*unstructured.Unstructured // of each tick
	write := writer(&configuration)
	// One writes and serves nothing, and is started anew, too.
	keeper := newTestAuthority(t, write)
	replicas := []*Authority{newTestAuthority(t, nil), newTestAuthority(t, nil)}
	var serials int64
	var secret *corev1.Secret
	handshakes := 0
	for i := range 3 * int((overlapTime+time.Minute)/tick) {
		now = now.Add(tick)
		if i%int((overlapTime+time.Minute)/tick) == 0 {
			serials++
			secret = secretOf("podinit-system", "certificate", newPair(serials))
		}
		switch i {
		case 700:
			keeper = newTestAuthority(t, write)
		case 1600:
			replicas[0] = newTestAuthority(t, nil)
		}
		past = append(past, configuration)
		keeper.see(secret)
		keeper.see(configuration)
		if _, err := keeper.step(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		for r, a := range replicas {
			a.see(secret)
			a.see(past[max(0, i-r*lag)])
			if _, err := a.step(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			if a.certificate.Loaded(nil) != nil || a.Trusted(nil) != nil {
				continue // not ready, so nobody asks it
			}
			if i < 2*heard {
				continue // the apiserver has not heard of the first authority
			}
			handshakes++
			if err := trusts(past[i-heard], a.certificate); err != nil {
				t.Fatalf("tick %d, replica %d: %v", i, r, err)
			}
		}
	}
	if handshakes < 4000 {
		t.Errorf("only %d handshakes", handshakes)
	}
	entries, err := readBundles(configuration)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := pem.Decode(secret.Data["ca.crt"])
	for _, entry := range entries {
		if len(entry) != 1 || !contains(entry, want.Bytes) {
			t.Errorf("in the end %d authorities are trusted, want that of the Secret alone", len(entry))
		}
	}
	for r, a := range replicas {
		if a.certificate.Expiry() != float64(ends(serials).Unix()) {
			t.Errorf("replica %d does not serve the last certificate", r)
		}
	}
}

// TestAuthoritySecret takes away, garbles and mixes what is in the Secret: what was served stays.
func TestAuthoritySecret(t *testing.T) {
	var written int
	configuration := configurationOf("a", "b")
	a := newTestAuthority(t, func(_ context.Context, u *unstructured.Unstructured) error {
		written++
		configuration = u
		return nil
	})
	one, two := newPair(1), newPair(2)
	renewed := newPair(3)
	mixed := maps.Clone(one)
	mixed["ca.crt"], mixed["tls.crt"], mixed["tls.key"] = one["tls.crt"], renewed["tls.crt"], renewed["tls.key"]
	now := time.Now()
	for _, step := range []struct {
		name   string
		object any
		serial int64 // of what is served afterwards; 0 for nothing
	}{
		{"shipped empty", secretOf("podinit-system", "certificate", nil), 0},
		{"someone else's", secretOf("podinit-system", "other", one), 0},
		{"another namespace's", secretOf("theirs", "certificate", one), 0},
		{"no Secret", &corev1.ConfigMap{}, 0},
		{"the first", secretOf("podinit-system", "certificate", one), 1},
		{"garbage", secretOf("podinit-system", "certificate", map[string][]byte{"ca.crt": []byte("z"), "tls.crt": []byte("x"), "tls.key": []byte("y")}), 1},
		{"a key of another", secretOf("podinit-system", "certificate", map[string][]byte{"ca.crt": one["ca.crt"], "tls.crt": one["tls.crt"], "tls.key": two["tls.key"]}), 1},
		{"of another authority", secretOf("podinit-system", "certificate", mixed), 1},
		{"emptied", secretOf("podinit-system", "certificate", nil), 1},
		{"renewed with its authority", secretOf("podinit-system", "certificate", two), 2},
	} {
		a.see(step.object)
		for range 100 { // seconds: more than settleTime, less than overlapTime
			a.see(configuration)
			if _, err := a.step(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Second)
		}
		if serving := a.certificate.Loaded(nil) == nil; serving != (step.serial != 0) {
			t.Errorf("%s: serving is %t", step.name, serving)
		}
		if want := ends(step.serial).Unix(); step.serial != 0 && a.certificate.Expiry() != float64(want) {
			t.Errorf("%s: serves until %v, want %v", step.name, a.certificate.Expiry(), want)
		}
		if ready := a.Trusted(nil) == nil; ready != (step.serial != 0) {
			t.Errorf("%s: ready is %t", step.name, ready)
		}
	}
	if written != 2 {
		t.Errorf("the caBundle was written %d times, want once for each authority", written)
	}
}

// TestAuthorityHeals has an entry without caBundle, as after an upgrade that adds it, and a write that fails.
func TestAuthorityHeals(t *testing.T) {
	configuration := configurationOf("a")
	fail := errors.New("forbidden")
	var written *unstructured.Unstructured
	a := newTestAuthority(t, func(_ context.Context, u *unstructured.Unstructured) error {
		written = u
		return fail
	})
	a.see(secretOf("podinit-system", "certificate", newPair(1)))
	a.see(configuration)
	if again, err := a.step(t.Context(), time.Now()); !errors.Is(err, fail) || again != retryTime {
		t.Errorf("a write that fails: again in %v, %v", again, err)
	}
	if err := a.Trusted(nil); err == nil || !strings.Contains(err.Error(), "zz-podinit") {
		t.Errorf("ready with %v, though the CA could not be written", err)
	}
	fail = nil
	if _, err := a.step(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	a.see(written)
	_, _ = a.step(t.Context(), time.Now())
	if err := a.Trusted(nil); err != nil {
		t.Error(err)
	}
	grown := written.DeepCopy()
	webhooks, _, _ := unstructured.NestedSlice(grown.Object, "webhooks")
	webhooks = append(webhooks, configurationOf("new").Object["webhooks"].([]any)...)
	_ = unstructured.SetNestedSlice(grown.Object, webhooks, "webhooks")
	a.see(grown)
	written = nil
	if _, err := a.step(t.Context(), time.Now()); err != nil || written == nil {
		t.Fatalf("a new entry is given no CA: %v", err)
	}
	if err := trusts(written, a.certificate); err != nil {
		t.Error(err)
	}
	if a.Trusted(nil) != nil {
		t.Error("not ready while an entry is given its CA, though others can be served")
	}
}

// writer writes a configuration as an apiserver does: only over the version that was read.
func writer(configuration **unstructured.Unstructured) func(context.Context, *unstructured.Unstructured) error {
	return func(_ context.Context, u *unstructured.Unstructured) error {
		if u.GetResourceVersion() != (*configuration).GetResourceVersion() {
			return errors.New("conflict")
		}
		*configuration = u.DeepCopy()
		(*configuration).SetResourceVersion(u.GetResourceVersion() + "x")
		return nil
	}
}

// TestAuthorityTwoWriters has two write at once, as in a rollout, and as when a version is upgraded whose replicas all wrote:
// they agree, and what is served is trusted.
func TestAuthorityTwoWriters(t *testing.T) {
	configuration := configurationOf("a", "b")
	write := writer(&configuration)
	writers := []*Authority{newTestAuthority(t, write), newTestAuthority(t, write)}
	replica := newTestAuthority(t, nil)
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for serial := int64(1); serial < 4; serial++ {
		secret := secretOf("podinit-system", "certificate", newPair(serial))
		for range int((overlapTime + time.Minute) / time.Second) {
			now = now.Add(time.Second)
			seen := configuration
			for _, a := range append(writers, replica) {
				a.see(secret)
				a.see(seen)
				_, _ = a.step(t.Context(), now) // the second one's writes meet conflicts
			}
			if replica.Trusted(nil) == nil && replica.certificate.Loaded(nil) == nil {
				if err := trusts(configuration, replica.certificate); err != nil {
					t.Fatal(err)
				}
			}
		}
		if replica.certificate.Expiry() != float64(ends(serial).Unix()) {
			t.Errorf("certificate %d is not served", serial)
		}
		if entries, err := readBundles(configuration); err != nil || len(entries[0]) != 1 || len(entries[1]) != 1 {
			t.Errorf("certificate %d: %v, authorities %d", serial, err, len(entries[0]))
		}
	}
}

// TestAuthorityExternal: a caBundle that another is to write is left alone, and written when that is over.
func TestAuthorityExternal(t *testing.T) {
	written := 0
	a := newTestAuthority(t, func(context.Context, *unstructured.Unstructured) error { written++; return nil })
	configuration := configurationOf("a")
	configuration.SetAnnotations(map[string]string{"podinit.dev/ca-bundle": "external"})
	a.see(secretOf("podinit-system", "certificate", newPair(1)))
	a.see(configuration)
	if _, err := a.step(t.Context(), time.Now()); err != nil || written != 0 {
		t.Errorf("%d writes, error %v; want none", written, err)
	}
	a.see(configurationOf("a"))
	if _, err := a.step(t.Context(), time.Now()); err != nil || written != 1 {
		t.Errorf("%d writes, error %v; want one", written, err)
	}
}

// TestAuthorityReadyWhileWriting has an apiserver that takes its time with a write: who was ready stays so meanwhile, or all
// replicas would be taken out of the Service at once.
func TestAuthorityReadyWhileWriting(t *testing.T) {
	configuration := configurationOf("a")
	writing, written := make(chan struct{}, 1), make(chan struct{}, 1)
	a := newTestAuthority(t, func(_ context.Context, u *unstructured.Unstructured) error {
		configuration = u
		writing <- struct{}{}
		<-written
		return nil
	})
	written <- struct{}{}
	a.see(secretOf("podinit-system", "certificate", newPair(1)))
	for range 2 {
		a.see(configuration)
		if _, err := a.step(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	<-writing
	a.see(secretOf("podinit-system", "certificate", newPair(2)))
	over := make(chan error)
	go func() {
		_, err := a.step(t.Context(), time.Now())
		over <- err
	}()
	<-writing
	checked := make(chan error, 1)
	go func() { checked <- a.Trusted(nil) }()
	select {
	case err := <-checked:
		if err != nil {
			t.Errorf("not ready while the next authority is written: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the health check waits for the apiserver")
	}
	written <- struct{}{}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func newTestAuthority(t *testing.T, write func(context.Context, *unstructured.Unstructured) error) *Authority {
	a := NewAuthority(NewServing(testr.New(t)), Names{types.NamespacedName{Namespace: "podinit-system", Name: "certificate"}, "zz-podinit"}, testr.New(t))
	a.write = write
	return a
}

// configurationOf is a MutatingWebhookConfiguration with entries of these names, as it is shipped.
func configurationOf(names ...string) *unstructured.Unstructured {
	u := newConfiguration()
	u.SetName("zz-podinit")
	u.SetResourceVersion("1")
	var webhooks []any
	for _, name := range names {
		webhooks = append(webhooks, map[string]any{"name": name, "clientConfig": map[string]any{"service": map[string]any{"name": "podinit-webhook"}}})
	}
	u.Object["webhooks"] = webhooks
	return u
}

// trusts says whether an apiserver with that configuration accepts what is served, by every entry.
func trusts(configuration *unstructured.Unstructured, served *Serving) error {
	webhooks, _, _ := unstructured.NestedSlice(configuration.Object, "webhooks")
	for _, w := range webhooks {
		encoded, _, _ := unstructured.NestedString(w.(map[string]any), "clientConfig", "caBundle")
		text, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(text)
		pair, err := served.Get(nil)
		if err != nil {
			return err
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "podinit-webhook.podinit-system.svc", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err != nil {
			return fmt.Errorf("%v: %w", w.(map[string]any)["name"], err)
		}
	}
	return nil
}

// secretOf is a Secret as cert-controller writes it. The certificates of newPair are their own authorities.
func secretOf(namespace, name string, data map[string][]byte) *corev1.Secret {
	if data["tls.crt"] != nil && data["ca.crt"] == nil {
		data["ca.crt"] = data["tls.crt"]
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
}
