package certificate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Keeper makes and renews the certificate in the Secret, and writes its authority into the MutatingWebhookConfiguration. It
// serves nothing. It watches what Names.ByObject says.
type Keeper struct {
	*Authority
	dnsName string
}

// NewKeeper keeps a certificate for a Service's DNS name. The client writes.
func NewKeeper(names Names, dnsName string, c client.Client, log logr.Logger) Keeper {
	a := NewAuthority(NewServing(logr.Discard()), names, log) // it goes by the same times as the replicas
	a.write = func(ctx context.Context, u *unstructured.Unstructured) error {
		return c.Update(ctx, u, client.FieldOwner(fieldOwner))
	}
	return Keeper{a, dnsName}
}

// AddTo has a manager run the keeper. Where two processes write at once, as in a rollout, one meets a conflict and reads again.
func (k Keeper) AddTo(ctx context.Context, manager ctrl.Manager) error {
	if err := k.Authority.AddTo(ctx, manager); err != nil {
		return err
	}
	directory, err := markerDirectory()
	if err != nil {
		return err
	}
	err = rotator.AddRotator(manager, &rotator.CertRotator{
		SecretKey:      k.names.Secret,
		CertDir:        directory,
		CAName:         "podinit-ca",
		CAOrganization: "podinit",
		DNSName:        k.dnsName,
		IsReady:        make(chan struct{}), // it closes it; the check of authority is ours
		FieldOwner:     fieldOwner,
	})
	if err != nil {
		return fmt.Errorf("setting up the renewal of certificates: %w", err)
	}
	return nil
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
