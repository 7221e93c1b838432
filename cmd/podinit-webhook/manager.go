package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/delivery"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/profile"
	"github.com/podinit/podinit/internal/suspend"
	"github.com/podinit/podinit/internal/version"
	"github.com/podinit/podinit/webhook"
)

// mutatePath is where the MutatingWebhookConfiguration sends Pods.
const mutatePath = "/mutate"

const (
	// drainTime is how long the webhook serves on when it is told to end: until every node has heard that the endpoint
	// is gone, and the apiserver has asked something on each of its connections.
	drainTime = 10 * time.Second
	// finishTime is how long requests under way may then still take: longer than the apiserver waits. Both together are
	// less than the Pod's terminationGracePeriodSeconds.
	finishTime = 15 * time.Second
)

// newManager puts the parts together: the admission server, its certificate, health and metrics. There is no leader:
// every replica serves.
func newManager(ctx context.Context, o options, kubeconfig *rest.Config, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	certificate := &servingCertificate{log: log.WithName("certificate")}
	byObject := certificateObjects(o)
	byObject[&corev1.Namespace{}] = cache.ByObject{Transform: profile.Trim}
	byObject[&corev1.ConfigMap{}] = suspend.ByObject(o.Namespace)
	byObject[&corev1.Node{}] = cache.ByObject{Transform: delivery.Trim}
	byObject[&corev1.Pod{}] = cache.ByObject{Namespaces: map[string]cache.Config{o.Namespace: {}}, Transform: canary.Trim}
	wait := drainTime + finishTime
	manager, err := ctrl.NewManager(kubeconfig, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  log,
		Metrics:                 metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:  o.HealthAddress,
		GracefulShutdownTimeout: &wait,
		Cache: cache.Options{
			// A read of what is not watched fails at once instead of waiting for a list that may never come.
			ReaderFailOnMissingInformer: true,
			DefaultTransform:            cache.TransformStripManagedFields(),
			// InitProfiles must not be named here: the cache would want to know them before it starts.
			ByObject: byObject,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the manager: %w", err)
	}
	suspension := &suspend.Watcher{Cache: manager.GetCache(), Namespace: o.Namespace, Always: o.Suspend, Log: log.WithName("suspend")}
	if err := manager.Add(suspension); err != nil {
		return nil, fmt.Errorf("setting up the manager: %w", err)
	}
	for _, metric := range []prometheus.Collector{
		webhook.NewCertificateExpiry(certificate.expiry), webhook.NewSuspended(suspension.Gauge), webhook.NewBuildInfo(version.Version),
	} {
		if err := metrics.Registry.Register(metric); err != nil {
			return nil, fmt.Errorf("setting up metrics: %w", err)
		}
	}
	checks, err := addCertificate(ctx, manager, o, certificate)
	if err != nil {
		return nil, err
	}

	profiles, nodes, err := addWatchers(manager, log)
	if err != nil {
		return nil, err
	}

	canaries, err := addCanaries(manager, o, nodes, log.WithName("canary"))
	if err != nil {
		return nil, err
	}
	if err := metrics.Registry.Register(webhook.NewInitImageUnavailable(canaries.Unavailable)); err != nil {
		return nil, fmt.Errorf("setting up metrics: %w", err)
	}

	images, err := newImages(o, manager.GetAPIReader(), metrics.Registry)
	if err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	mux.Handle(mutatePath, &webhook.Handler{
		Mutator: webhook.Injector{
			Config: inject.Config{Image: o.InitImage, Version: version.Version, ExcludedNamespaces: o.ExcludedNamespaces},
			Setting: func(ctx context.Context, namespace string, pod *inject.Pod) inject.Setting {
				if suspension.Suspended() {
					return inject.Setting{Namespace: namespace, Selected: true, Suspended: true}
				}
				setting := profiles.Setting(ctx, namespace, pod)
				setting.ImageVolumes = nodes.ImageVolumes()
				setting.Architectures = nodes.Architectures()
				setting.Unavailable = canaries.Unavailable()
				return setting
			},
			Images: images, LookupTime: o.LookupTime,
		},
		Metrics: webhook.NewMetrics(metrics.Registry),
		Log:     log.WithName("admission"),
	})
	callers, err := addCallers(manager, o, log)
	if err != nil {
		return nil, err
	}
	server := &webhook.Server{
		Address: fmt.Sprintf(":%d", o.Port),
		TLS: &tls.Config{
			GetCertificate: certificate.get,
			MinVersion:     tls.VersionTLS12,
		},
		Callers: callers,
		Handler: mux,
		Drain:   drainTime, Finish: finishTime,
		Log: log.WithName("server"),
	}
	if err := manager.Add(server); err != nil {
		return nil, fmt.Errorf("setting up the server: %w", err)
	}

	checks["listener"] = server.Ready
	checks["profiles"] = profiles.Ready
	checks["suspend"] = suspension.Ready
	for name, check := range checks {
		if err := manager.AddReadyzCheck(name, check); err != nil {
			return nil, fmt.Errorf("setting up readyz: %w", err)
		}
	}
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("setting up healthz: %w", err)
	}
	return manager, nil
}

// addCallers has the manager follow the authority of the clients that may call; nil where anybody may.
func addCallers(manager ctrl.Manager, o options, log logr.Logger) (*webhook.Callers, error) {
	if o.ClientCAFile == "" {
		return nil, nil
	}
	callers, err := webhook.NewCallers(o.ClientCAFile, o.ClientNames, log.WithName("callers"))
	if err != nil {
		return nil, fmt.Errorf("-client-ca-file: %w", err)
	}
	if err := manager.Add(callers); err != nil {
		return nil, fmt.Errorf("setting up the manager: %w", err)
	}
	return callers, nil
}

// addWatchers has the manager watch what admission goes by. They begin after its cache has started, so that a list that
// fails keeps nothing else from starting.
func addWatchers(manager ctrl.Manager, log logr.Logger) (*profile.Watcher, *delivery.Watcher, error) {
	discovered, err := discovery.NewDiscoveryClientForConfigAndClient(manager.GetConfig(), manager.GetHTTPClient())
	if err != nil {
		return nil, nil, fmt.Errorf("setting up a client: %w", err)
	}
	profiles := profile.NewWatcher(manager.GetCache(), manager.GetAPIReader(), log.WithName("profile"))
	nodes := &delivery.Watcher{Cache: manager.GetCache(), Discovery: discovered, Log: log.WithName("delivery")}
	for _, watcher := range []ctrlmanager.Runnable{profiles, nodes} {
		if err := manager.Add(watcher); err != nil {
			return nil, nil, fmt.Errorf("setting up the manager: %w", err)
		}
	}
	return profiles, nodes, nil
}

// addCertificate has the manager follow the certificate that is served. It returns what tells whether it can be served
// and trusted.
func addCertificate(ctx context.Context, manager ctrl.Manager, o options, certificate *servingCertificate) (map[string]healthz.Checker, error) {
	checks := map[string]healthz.Checker{"certificate": certificate.loaded}
	if o.CertificateDirectory != "" {
		files, err := certificate.watchFiles(o.CertificateDirectory)
		if err != nil {
			return nil, err
		}
		return checks, manager.Add(files)
	}
	authority := newAuthority(certificate, o.secret(), o.WebhookConfiguration, certificate.log)
	checks["ca-bundle"] = authority.injected
	return checks, addAuthority(ctx, manager, authority)
}
