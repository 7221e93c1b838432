package main

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// newCertificates puts together the process that makes and renews the certificate in the Secret, and writes its CA into the
// MutatingWebhookConfiguration. An account that may write that configuration is worth stealing, so this process listens to
// the kubelet alone, sends requests to the apiserver alone, and reads no pod and no pull secret.
func newCertificates(ctx context.Context, o options, kubeconfig *rest.Config, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	manager, err := ctrl.NewManager(kubeconfig, ctrl.Options{
		Scheme:                 scheme,
		Logger:                 log,
		Metrics:                metricsserver.Options{BindAddress: "0"}, // the replicas have the metrics of the certificate
		HealthProbeBindAddress: o.HealthAddress,
		Cache: cache.Options{
			ReaderFailOnMissingInformer: true,
			DefaultTransform:            cache.TransformStripManagedFields(),
			ByObject:                    certificateObjects(o),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the manager: %w", err)
	}
	// It goes by the same times as the replicas, but serves nothing.
	unserved := &servingCertificate{log: logr.Discard()}
	authority := newAuthority(unserved, o.secret(), o.WebhookConfiguration, log.WithName("certificate")).writing(manager.GetClient())
	if err := addAuthority(ctx, manager, authority); err != nil {
		return nil, err
	}
	if err := addRotator(manager, o); err != nil {
		return nil, err
	}
	if err := manager.AddReadyzCheck("ca-bundle", authority.injected); err != nil {
		return nil, fmt.Errorf("setting up readyz: %w", err)
	}
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("setting up healthz: %w", err)
	}
	return manager, nil
}

// certificateObjects are what an authority watches: one Secret and one MutatingWebhookConfiguration.
func certificateObjects(o options) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Secret{}: {Namespaces: map[string]cache.Config{
			o.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", o.Secret)},
		}},
		newConfiguration(): {Field: fields.OneTermEqualSelector("metadata.name", o.WebhookConfiguration)},
	}
}

// addAuthority has the manager run an authority, which sees what the manager's cache does.
func addAuthority(ctx context.Context, manager ctrl.Manager, a *authority) error {
	if err := a.watch(ctx, manager.GetCache()); err != nil {
		return err
	}
	if err := manager.Add(a); err != nil {
		return fmt.Errorf("setting up the certificate: %w", err)
	}
	return nil
}

// addRotator has the manager make and renew the certificate and its authority in the Secret. Where two processes write at
// once, as in a rollout, one meets a conflict and reads again.
func addRotator(manager ctrl.Manager, o options) error {
	directory, err := markerDirectory()
	if err != nil {
		return err
	}
	err = rotator.AddRotator(manager, &rotator.CertRotator{
		SecretKey:      o.secret(),
		CertDir:        directory,
		CAName:         "podinit-ca",
		CAOrganization: "podinit",
		DNSName:        fmt.Sprintf("%s.%s.svc", o.Service, o.Namespace),
		IsReady:        make(chan struct{}), // it closes it; the check of authority is ours
		FieldOwner:     fieldOwner,
	})
	if err != nil {
		return fmt.Errorf("setting up the renewal of certificates: %w", err)
	}
	return nil
}
