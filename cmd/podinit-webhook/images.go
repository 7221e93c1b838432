package main

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/internal/webhookoptions"
)

// newImages makes what finds out what images run; nil if that is turned off. It asks no registry yet. Secrets are read
// from the apiserver one by one: a cache would list and watch those of the whole cluster.
func newImages(o webhookoptions.Options, uncached client.Reader, metrics prometheus.Registerer) (imageconfig.Source, error) {
	if !o.Lookups {
		return nil, nil
	}
	var config registry.Config
	if o.RegistryConfig != "" {
		var err error
		if config, err = registry.ReadConfig(o.RegistryConfig); err != nil {
			return nil, err
		}
	}
	var secrets registry.SecretReader
	if o.PullSecrets {
		secrets = func(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
			secret := &corev1.Secret{}
			return secret, uncached.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, secret)
		}
	}
	registries, err := registry.New(config, secrets, time.Now)
	if err != nil {
		return nil, err
	}
	registries.Log = ctrl.Log.WithName("registry")
	cache := imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now)
	if err := metrics.Register(cache); err != nil {
		return nil, fmt.Errorf("setting up metrics: %w", err)
	}
	return cache, nil
}
