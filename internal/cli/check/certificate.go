package check

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/pemtext"
)

// soon is when a certificate should have been renewed: podinit and cert-manager do so earlier.
const soon = 14 * 24 * time.Hour

const dateFormat = "2006-01-02 15:04 MST"

// chain is the certificate that is served, and those between it and the CA.
func chain(f *Facts) ([]*x509.Certificate, error) { return pemtext.Certificates(f.Certificate.Value) }

// renew is how to have another certificate.
func renew(f *Facts) string {
	return "The log of the certificate's issuer says why: of podinit itself, " + kubectl(f, "logs -l", keeperSelector) + ", or cert-manager."
}

// checkKeeper looks at the Deployment that makes and renews the certificate. With cert-manager or a certificate of the
// user's own there is none.
func checkKeeper(f *Facts, r *Result) {
	if f.Deployment.Err == nil && installation.Flag(f.Deployment.Value, certificateDirectory) != "" {
		r.say("not issued by podinit")
		return
	}
	if f.Keeper.missing() {
		r.fail(reinstall(f), "no Deployment in namespace %s is labelled %s: the certificate will expire, and a new webhook gets no certificate",
			f.Namespace, keeperSelector)
		return
	}
	if !f.Keeper.usable(r, "Deployments in namespace "+f.Namespace) {
		return
	}
	d := f.Keeper.Value
	if replicasOf(d) == 0 {
		r.fail(kubectl(f, "scale deployment", d.Name, "--replicas=1"), "Deployment %s is scaled to 0: the certificate will expire", d.Name)
		return
	}
	rollout := kubectl(f, "rollout status deployment", d.Name)
	if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas < replicasOf(d) {
		r.fail(rollout, "the last change of Deployment %s is not rolled out", d.Name)
	} else if d.Status.ReadyReplicas < 1 {
		r.fail(kubectl(f, "logs -l", keeperSelector), "Deployment %s has no pod that is ready: the certificate is not renewed", d.Name)
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			r.fail("See "+kubectl(f, "get events"), "cannot create pods: %s", c.Message)
		}
	}
	if f.KeeperPods.Err == nil {
		for i := range f.KeeperPods.Value {
			why(f, r, &f.KeeperPods.Value[i])
		}
	}
}

func checkCertificate(f *Facts, r *Result) {
	if f.Certificate.missing() {
		r.fail(reinstall(f),
			"the Secret for the certificate is missing in namespace %s; podinit writes the certificate into it, but may not create it", f.Namespace)
		return
	}
	if !f.Certificate.usable(r, "the certificate's Secret (get secrets)") {
		return
	}
	if len(f.Certificate.Value) == 0 {
		r.fail(renew(f), "the Secret has no certificate yet")
	} else if _, err := chain(f); err != nil {
		r.fail(renew(f), "the Secret's tls.crt cannot be read: %v", err)
	}
}

// served is the certificate that is served; nil if there is none, which another check is for.
func served(f *Facts, r *Result) *x509.Certificate {
	if !f.Certificate.usable(r, "the certificate's Secret (get secrets)") {
		return nil
	}
	all, err := chain(f)
	if err != nil {
		r.skip("", "there is no certificate")
		return nil
	}
	return all[0]
}

func checkValidity(f *Facts, r *Result) {
	c := served(f, r)
	if c == nil {
		return
	}
	switch ends := c.NotAfter.UTC().Format(dateFormat); {
	case f.Now.After(c.NotAfter):
		r.fail(renew(f), "the certificate expired on %s", ends)
	case f.Now.Before(c.NotBefore):
		r.fail("Compare the clocks of the nodes with yours.", "the certificate is not valid before %s", c.NotBefore.UTC().Format(dateFormat))
	case f.Now.Add(soon).After(c.NotAfter):
		r.warn(renew(f), "the certificate expires on %s, and should have been renewed by now", ends)
	default:
		r.say("until %s", ends)
	}
}

func checkNames(f *Facts, r *Result) {
	c := served(f, r)
	if c == nil {
		return
	}
	name, _ := serviceOf(f)
	// The apiserver takes this name, whatever address it connects to (apiserver, pkg/util/webhook).
	host := fmt.Sprintf("%s.%s.svc", name, f.Namespace)
	if err := c.VerifyHostname(host); err != nil {
		r.fail(renew(f), "the apiserver asks for %s; the certificate is for %s", host, strings.Join(namesIn(c), ", "))
	}
}

func namesIn(c *x509.Certificate) []string {
	if len(c.DNSNames) == 0 {
		return []string{"no name"}
	}
	return c.DNSNames
}

func checkBundle(f *Facts, r *Result) {
	if !f.Configuration.usable(r, "webhook configuration") {
		return
	}
	c := served(f, r)
	entries(f, r, func(_, there *admissionregistrationv1.MutatingWebhook) {
		if len(there.ClientConfig.CABundle) == 0 {
			r.fail(renew(f), "webhook %s has no caBundle: the apiserver trusts no certificate of podinit", there.Name)
			return
		}
		authorities, err := pemtext.Certificates(there.ClientConfig.CABundle)
		if err != nil {
			r.fail(renew(f), "the caBundle of webhook %s cannot be read: %v", there.Name, err)
			return
		}
		if c == nil {
			return
		}
		if err := signed(f, authorities); err != nil {
			r.fail("Podinit, or cert-manager's cainjector, writes it; "+lower(renew(f)),
				"the caBundle of webhook %s does not match the certificate in the Secret: %q has signed the certificate, the caBundle has %q",
				there.Name, issuer(c), subjects(authorities))
		}
	})
}

func issuer(c *x509.Certificate) string {
	return fmt.Sprintf("%s, key %s", c.Issuer.CommonName, shortID(c.AuthorityKeyId))
}

func subjects(all []*x509.Certificate) string {
	var said []string
	for _, c := range all {
		said = append(said, fmt.Sprintf("%s, key %s", c.Subject.CommonName, shortID(c.SubjectKeyId)))
	}
	return strings.Join(said, "; ")
}

// shortID is enough of a key's identifier to distinguish two of one name.
func shortID(id []byte) string {
	if len(id) == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%x", id[:min(len(id), 4)])
}

// signed says whether the certificate was signed by one of these, at a time when all were valid: that it has ended is
// another check's business.
func signed(f *Facts, authorities []*x509.Certificate) error {
	all, err := chain(f)
	if err != nil {
		return err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range authorities {
		roots.AddCert(a)
	}
	for _, c := range all[1:] {
		between.AddCert(c)
	}
	at := f.Now
	if at.After(all[0].NotAfter) || at.Before(all[0].NotBefore) {
		at = all[0].NotBefore
		for _, a := range authorities {
			if a.NotBefore.After(at) {
				at = a.NotBefore
			}
		}
	}
	_, err = all[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}
