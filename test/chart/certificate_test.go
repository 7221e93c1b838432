package chart

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/load"
	"github.com/podinit/podinit/test/pki"
	"github.com/podinit/podinit/test/suite"
)

// TestCertificates goes through the ways to a certificate with one release: each serves, and each may do no more than
// it must. The renewal of each is served without a restart.
func TestCertificates(t *testing.T) {
	l := open(t)
	l.empty(t)
	r := release{live: l, helm: "helm4", chart: chart}
	namespace := l.namespace(t)

	t.Run("self-managed", func(t *testing.T) {
		r.install(t)
		l.wraps(t, namespace)
		l.mayMakeCertificates(t, true)
	})

	t.Run("pull secrets of some namespaces", func(t *testing.T) {
		if !l.may(t, webhookAccount, "get", "", "secrets", "", "default") {
			t.Error("the webhook may not get Secrets of namespace default, without any being named")
		}
		r.upgrade(t, "--set=lookups.pullSecretNamespaces={"+namespace+"}")
		for of, want := range map[string]bool{namespace: true, "default": false, system: false} {
			if got := l.may(t, webhookAccount, "get", "", "secrets", "", of); got != want {
				t.Errorf("the webhook may get Secrets of namespace %s: %v, want %v", of, got, want)
			}
		}
		l.wraps(t, namespace)
		r.upgrade(t, "--set-json=lookups.pullSecretNamespaces=[]")
	})

	t.Run("wrapping policy", func(t *testing.T) {
		r.upgrade(t, "--set=wrappingPolicy.enabled=true")
		out := pod()
		out.Labels = map[string]string{"podinit.dev/inject": "disabled", "podinit.dev/version": "v1"}
		suite.Eventually(t, "a pod that opts out to be refused", func(ctx context.Context) (bool, error) {
			_, err := l.client.CoreV1().Pods(namespace).Create(ctx, out, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err != nil && strings.Contains(err.Error(), "container app does not start /podinit/init"), nil
		})
		l.wraps(t, namespace)
		r.upgrade(t, "--set=wrappingPolicy.enabled=false")
		suite.Eventually(t, "it to be created again", func(ctx context.Context) (bool, error) {
			_, err := l.client.CoreV1().Pods(namespace).Create(ctx, out, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err == nil, nil
		})
	})

	t.Run("existing", func(t *testing.T) {
		ours := pki.NewAuthority("ours")
		l.writeSecret(t, "webhook-tls", issue(ours, time.Now().Add(time.Hour)))
		file := filepath.Join(t.TempDir(), "ca.crt")
		if err := os.WriteFile(file, ours.PEM(), 0o644); err != nil {
			t.Fatal(err)
		}
		// With Helm 4 the caBundle that the webhook has written must be wrested from it: docs/install.md.
		r.upgrade(t, "--force-conflicts", "--set=certificate.mode=existing,certificate.existing.secretName=webhook-tls", "--set-file=certificate.existing.caBundle="+file)
		if got := l.caBundle(t); !bytes.Equal(got, ours.PEM()) {
			t.Errorf("caBundle:\n%s\nwant:\n%s", got, ours.PEM())
		}
		l.wraps(t, namespace)
		l.mayMakeCertificates(t, false)

		end := time.Now().Add(2 * time.Hour)
		l.writeSecret(t, "webhook-tls", issue(ours, end))
		l.serves(t, end)
		l.wraps(t, namespace)
	})

	t.Run("cert-manager", func(t *testing.T) {
		l.certManager(t)
		r.upgrade(t, "--set=certificate.mode=cert-manager")
		l.wrapsSoon(t, namespace) // cainjector is told when Helm is done
		l.mayMakeCertificates(t, false)
		if ca := l.secret(t, "podinit-webhook-tls").Data["ca.crt"]; len(ca) == 0 || !bytes.Equal(ca, l.caBundle(t)) {
			t.Errorf("caBundle:\n%s\nwant what cert-manager has issued from:\n%s", l.caBundle(t), ca)
		}
		l.serves(t, l.notAfter(t, "podinit-webhook-tls"))

		// cert-manager issues anew what has gone.
		before := l.caBundle(t)
		time.Sleep(1100 * time.Millisecond) // certificates end at whole seconds
		l.kubectl(t, "-n", system, "delete", "secret", "podinit-webhook-tls")
		suite.Eventually(t, "another certificate", func(ctx context.Context) (bool, error) {
			secret, err := l.client.CoreV1().Secrets(system).Get(ctx, "podinit-webhook-tls", metav1.GetOptions{})
			return err == nil && len(secret.Data["tls.crt"]) > 0, nil
		})
		l.serves(t, l.notAfter(t, "podinit-webhook-tls"))
		if !bytes.Equal(before, l.caBundle(t)) {
			t.Error("the authority has changed with the certificate")
		}
		l.wraps(t, namespace)
	})

	t.Run("back to the first", func(t *testing.T) {
		r.do(t, "rollback", "podinit", "1")
		l.wraps(t, namespace)
		l.mayMakeCertificates(t, true)
	})
}

// podinit's service accounts.
const webhookAccount, keeperAccount = "podinit-webhook", "podinit-certificates"

// mayMakeCertificates fails if podinit-certificates lacks a right that it takes to make certificates, or, if that is not
// wanted, has one; and in any case if the webhook may write something.
func (l *live) mayMakeCertificates(t *testing.T, want bool) {
	t.Helper()
	for _, right := range [][]string{ // verb, group, resource, name, namespace
		{"update", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "zz-podinit", ""},
		{"watch", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "zz-podinit", ""},
		{"update", "", "secrets", "podinit-webhook-certificate", system},
		{"list", "", "secrets", "", system},
	} {
		if got := l.may(t, keeperAccount, right[0], right[1], right[2], right[3], right[4]); got != want {
			t.Errorf("podinit-certificates may %v: %v, want %v", right, got, want)
		}
		reads := right[0] == "watch" && want // only a certificate of podinit's own must be trusted before it is served
		if got := l.may(t, webhookAccount, right[0], right[1], right[2], right[3], right[4]); got != reads {
			t.Errorf("the webhook may %v: %v, want %v", right, got, reads)
		}
	}
	for _, account := range []string{webhookAccount, keeperAccount} {
		for _, verb := range []string{"create", "update", "patch", "delete", "list"} {
			if l.may(t, account, verb, "", "secrets", "", "default") {
				t.Errorf("%s may %s Secrets of others", account, verb)
			}
		}
	}
	if l.may(t, keeperAccount, "get", "", "secrets", "", "default") {
		t.Error("podinit-certificates may get Secrets of others")
	}
}

// certManager runs cert-manager's controllers and cainjector until the test ends.
func (l *live) certManager(t *testing.T) {
	t.Helper()
	l.kubectl(t, "apply", "--server-side", "-f", filepath.Join(*programsFlag, "crds"))
	var log bytes.Buffer
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(*programsFlag, "certmanager"))
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		cmd.Wait()
		if t.Failed() {
			t.Logf("cert-manager:\n%s", log.String())
		}
	})
}

func (l *live) caBundle(t *testing.T) []byte {
	t.Helper()
	configuration, err := l.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "zz-podinit", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range configuration.Webhooks {
		if !bytes.Equal(w.ClientConfig.CABundle, configuration.Webhooks[0].ClientConfig.CABundle) {
			t.Errorf("webhook %s has another caBundle than the first", w.Name)
		}
	}
	return configuration.Webhooks[0].ClientConfig.CABundle
}

// wrapsSoon waits until pods are wrapped, and then wants them to be.
func (l *live) wrapsSoon(t *testing.T, namespace string) {
	t.Helper()
	suite.Eventually(t, "pods to be wrapped", func(ctx context.Context) (bool, error) {
		made, err := l.client.CoreV1().Pods(namespace).Create(ctx, pod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && load.Wrapped(made), err
	})
	l.wraps(t, namespace)
}

// serves waits until every webhook says that what it serves ends at a time. The kubelet writes a changed Secret to its
// volume when it looks at the pod again, which it does at once if the pod changes.
func (l *live) serves(t *testing.T, end time.Time) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"podinit.dev/test":"%d"}}}`, time.Now().UnixNano())
	suite.Eventually(t, "every webhook to serve what ends at "+end.String(), func(ctx context.Context) (bool, error) {
		pods, err := l.client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
		if err != nil {
			return false, err
		}
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp != nil {
				continue
			}
			if _, err := l.client.CoreV1().Pods(system).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				return false, err
			}
			families, err := cluster.Metrics(ctx, l.client, system, pod.Name)
			if err != nil || int64(cluster.Sum(families["podinit_certificate_expiry_seconds"])) != end.Unix() {
				return false, nil //nolint:nilerr // it may be ending
			}
		}
		return len(pods.Items) > 0, nil
	})
}

func (l *live) secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	secret, err := l.client.CoreV1().Secrets(system).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// notAfter is when the certificate in a Secret ends.
func (l *live) notAfter(t *testing.T, name string) time.Time {
	t.Helper()
	block, _ := pem.Decode(l.secret(t, name).Data["tls.crt"])
	if block == nil {
		t.Fatalf("Secret %s holds no certificate", name)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate.NotAfter
}

func (l *live) writeSecret(t *testing.T, name string, data map[string][]byte) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: system}, Type: corev1.SecretTypeTLS, Data: data}
	_, err := l.client.CoreV1().Secrets(system).Update(t.Context(), secret, metav1.UpdateOptions{})
	if err != nil {
		_, err = l.client.CoreV1().Secrets(system).Create(t.Context(), secret, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// issue makes the data of a Secret of type kubernetes.io/tls for the webhook, as a company's own authority would.
func issue(authority *pki.Pair, end time.Time) map[string][]byte {
	pair := authority.Issue(&x509.Certificate{
		DNSNames: []string{"podinit-webhook." + system + ".svc"}, NotAfter: end, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return map[string][]byte{"tls.crt": pair.PEM(), "tls.key": pair.KeyPEM()}
}
