package main

import (
	"fmt"
	"maps"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/clusterstate"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/node"
	"github.com/podinit/podinit/internal/node/plugin"
	"github.com/podinit/podinit/internal/node/report"
	"github.com/podinit/podinit/internal/version"
)

// newManager puts the parts together: what is watched, the plugin, health and metrics.
func newManager(o options, kubeconfig *rest.Config, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	manager, err := ctrl.NewManager(kubeconfig, ctrl.Options{
		Scheme:                 scheme,
		Logger:                 log,
		Metrics:                metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress: o.HealthAddress,
		Cache: cache.Options{
			// A read of what is not watched fails at once instead of waiting for a list that may never come.
			ReaderFailOnMissingInformer: true,
			DefaultTransform:            cache.TransformStripManagedFields(),
			ByObject:                    byObject(o.Namespace),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the manager: %w", err)
	}
	profiles := clusterstate.NewProfiles(manager.GetCache(), manager.GetAPIReader(), log.WithName("profile"))
	suspension := clusterstate.NewSuspension(manager.GetCache(), o.Namespace, o.Suspend, "containers are created unchanged", log.WithName("suspend"))
	p := &plugin.Plugin{
		Socket: o.Socket, Index: o.Index, Directory: o.Directory, Program: o.InitProgram, Version: version.Version,
		Decider: node.Decider{
			Config: inject.Config{Version: version.Version, ExcludedNamespaces: o.ExcludedNamespaces},
			Setting: func(namespace string, pod *inject.Pod) inject.Setting {
				setting := profiles.Known(namespace, pod)
				setting.Suspended = suspension.Now()
				return setting
			},
		},
		Synced:    func() bool { return profiles.Synced() && suspension.Settled() },
		Suspended: suspension.Now,
		Metrics:   plugin.NewMetrics(metrics.Registry),
		Log:       log.WithName("plugin"),
	}
	for _, collector := range []prometheus.Collector{plugin.NewBuildInfo(version.Version), plugin.NewSuspended(suspension.Now)} {
		if err := metrics.Registry.Register(collector); err != nil {
			return nil, fmt.Errorf("setting up metrics: %w", err)
		}
	}
	for _, part := range []ctrlmanager.Runnable{profiles, suspension, p} {
		if err := manager.Add(part); err != nil {
			return nil, fmt.Errorf("setting up the manager: %w", err)
		}
	}
	if o.Report {
		if err := manager.AddMetricsServerExtraHandler(report.Path, p); err != nil {
			return nil, fmt.Errorf("setting up the report: %w", err)
		}
	}
	if err := manager.AddReadyzCheck("registered", p.Ready); err != nil {
		return nil, fmt.Errorf("setting up readyz: %w", err)
	}
	if err := manager.AddHealthzCheck("alive", p.Alive); err != nil {
		return nil, fmt.Errorf("setting up healthz: %w", err)
	}
	return manager, nil
}

// byObject restricts the cache to what is looked at: Namespaces, InitProfiles, and the ConfigMap that suspends podinit.
func byObject(namespace string) map[client.Object]cache.ByObject {
	all := clusterstate.ProfilesByObject()
	maps.Copy(all, clusterstate.SuspensionByObject(namespace))
	return all
}
