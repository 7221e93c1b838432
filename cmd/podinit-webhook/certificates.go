package main

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/podinit/podinit/internal/certificate"
	"github.com/podinit/podinit/internal/webhookoptions"
)

// newCertificates puts together the process that makes and renews the certificate in the Secret, and writes its CA into the
// MutatingWebhookConfiguration. An account that may write that configuration is worth stealing, so this process listens to
// the kubelet alone, sends requests to the apiserver alone, and reads no pod and no pull secret.
func newCertificates(ctx context.Context, o webhookoptions.Options, kubeconfig *rest.Config, log logr.Logger) (ctrl.Manager, error) {
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
			ByObject:                    certificateNames(o).ByObject(),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the manager: %w", err)
	}
	dnsName := fmt.Sprintf("%s.%s.svc", o.Service, o.Namespace)
	keeper := certificate.NewKeeper(certificateNames(o), dnsName, manager.GetClient(), log.WithName("certificate"))
	if err := keeper.AddTo(ctx, manager); err != nil {
		return nil, err
	}
	return manager, addChecks(manager, map[string]healthz.Checker{"ca-bundle": keeper.Trusted})
}

// certificateNames say where the certificate and its authority are kept.
func certificateNames(o webhookoptions.Options) certificate.Names {
	return certificate.Names{
		Secret: types.NamespacedName{Namespace: o.Namespace, Name: o.Secret}, Configuration: o.WebhookConfiguration,
	}
}
