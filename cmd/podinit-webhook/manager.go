package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/go-logr/logr"
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
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/certificate"
	"github.com/podinit/podinit/internal/clusterstate"
	"github.com/podinit/podinit/internal/events"
	"github.com/podinit/podinit/internal/version"
	"github.com/podinit/podinit/internal/webhookoptions"
	"github.com/podinit/podinit/webhook"
)

// mutatePath is where the MutatingWebhookConfiguration sends Pods.
const mutatePath = "/mutate"

const (
	// drainTime is how long the webhook serves on when it is to end: until every node has heard that the endpoint
	// is gone, and the apiserver has asked something on each of its connections.
	drainTime = 10 * time.Second
	// finishTime is how long requests under way may then still take: longer than the apiserver waits. Both together are
	// less than the Pod's terminationGracePeriodSeconds.
	finishTime = 15 * time.Second
)

// newManager puts the parts together: the admission server, its certificate, health and metrics. There is no leader:
// every replica serves.
func newManager(ctx context.Context, o webhookoptions.Options, kubeconfig *rest.Config, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	byObject := clusterstate.ByObject(o.Namespace)
	maps.Copy(byObject, certificateNames(o).ByObject())
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
			ByObject:                    byObject,
			NewInformer:                 clusterstate.NewInformer,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the manager: %w", err)
	}
	serving := certificate.NewServing(log.WithName("certificate"))
	checks, err := addCertificate(ctx, manager, o, serving, log)
	if err != nil {
		return nil, err
	}
	state, err := addState(manager, o, log)
	if err != nil {
		return nil, err
	}
	images, err := newImages(o, manager.GetAPIReader(), metrics.Registry)
	if err != nil {
		return nil, err
	}
	recorder, err := addEvents(manager, o, log)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(mutatePath, &webhook.Handler{
		Events: recorder,
		Mutator: admission.Planner{
			Config: o.Injection(), Setting: state.Setting, Images: images, NodesDiffer: state.NodesDiffer, LookupTimeout: o.LookupTime,
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
		TLS:     &tls.Config{GetCertificate: serving.Get, MinVersion: tls.VersionTLS12},
		Callers: callers,
		Handler: mux,
		Drain:   drainTime, Finish: finishTime,
		Log: log.WithName("server"),
	}
	if err := manager.Add(server); err != nil {
		return nil, fmt.Errorf("setting up the server: %w", err)
	}
	err = errors.Join(metrics.Registry.Register(webhook.NewCertificateExpiry(serving.Expiry)), metrics.Registry.Register(webhook.NewSuspended(state.Suspended)),
		metrics.Registry.Register(webhook.NewInitImageUnavailable(state.Unavailable)), metrics.Registry.Register(webhook.NewBuildInfo(version.Version)))
	if err != nil {
		return nil, fmt.Errorf("setting up metrics: %w", err)
	}
	checks["listener"], checks["profiles"], checks["suspend"] = server.Ready, state.Ready, state.SuspensionReady
	return manager, addChecks(manager, checks)
}

// addChecks has the manager serve readyz, and healthz for as long as it runs.
func addChecks(manager ctrl.Manager, ready map[string]healthz.Checker) error {
	for name, check := range ready {
		if err := manager.AddReadyzCheck(name, check); err != nil {
			return fmt.Errorf("setting up readyz: %w", err)
		}
	}
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("setting up healthz: %w", err)
	}
	return nil
}

// addState has the manager watch what admission goes by. It begins after its cache has started, so that a list that fails
// keeps nothing else from starting.
func addState(manager ctrl.Manager, o webhookoptions.Options, log logr.Logger) (*clusterstate.Watcher, error) {
	discovered, err := discovery.NewDiscoveryClientForConfigAndClient(manager.GetConfig(), manager.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("setting up a client: %w", err)
	}
	events := &canary.Events{
		Reader: manager.GetAPIReader(), Writer: manager.GetClient(), Namespace: o.Namespace, Pod: o.Pod, Image: o.InitImage, Log: log.WithName("canary"),
	}
	state := clusterstate.New(clusterstate.Options{
		Cache: manager.GetCache(), Live: manager.GetAPIReader(), Discovery: discovered, Namespace: o.Namespace,
		InitImage: o.InitImage, InitImageChanged: events.Changed, Suspended: o.Suspend, Log: log,
	})
	for _, part := range []ctrlmanager.Runnable{events, state} {
		if err := manager.Add(part); err != nil {
			return nil, fmt.Errorf("setting up the manager: %w", err)
		}
	}
	return state, nil
}

// addEvents has the manager write Events; nil where it is to write none.
func addEvents(manager ctrl.Manager, o webhookoptions.Options, log logr.Logger) (webhook.Recorder, error) {
	if !o.Events {
		return nil, nil
	}
	create := func(ctx context.Context, e *corev1.Event) error { return manager.GetClient().Create(ctx, e) }
	recorder := events.NewRecorder(create, o.Pod, metrics.Registry, log.WithName("events"))
	if err := manager.Add(recorder); err != nil {
		return nil, fmt.Errorf("setting up the manager: %w", err)
	}
	return recorder, nil
}

// addCallers has the manager follow the authority of the clients that may call; nil where every client may.
func addCallers(manager ctrl.Manager, o webhookoptions.Options, log logr.Logger) (*webhook.Callers, error) {
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

// addCertificate has the manager follow the certificate that is served. It returns what tells whether it can be served
// and trusted.
func addCertificate(ctx context.Context, manager ctrl.Manager, o webhookoptions.Options, serving *certificate.Serving, log logr.Logger) (map[string]healthz.Checker, error) {
	checks := map[string]healthz.Checker{"certificate": serving.Loaded}
	if o.CertificateDirectory != "" {
		files, err := serving.WatchFiles(o.CertificateDirectory)
		if err != nil {
			return nil, err
		}
		return checks, manager.Add(files)
	}
	authority := certificate.NewAuthority(serving, certificateNames(o), log.WithName("certificate"))
	checks["ca-bundle"] = authority.Trusted
	return checks, authority.AddTo(ctx, manager)
}
