package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/registry"
)

// newImages makes what finds out what images run; nil if that is turned off. It asks no registry yet. Secrets are read
// from the apiserver one by one: a cache would list and watch those of the whole cluster.
func newImages(o options, uncached client.Reader) (imageconfig.Source, error) {
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
	cache := imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now)
	for _, gauge := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "podinit_image_cache_bytes", Help: "About how much memory the cache of what images run takes, in bytes.",
		}, func() float64 { bytes, _ := cache.Size(); return float64(bytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "podinit_image_cache_images", Help: "Images of which it is known what they run.",
		}, func() float64 { _, images := cache.Size(); return float64(images) }),
	} {
		if err := metrics.Registry.Register(gauge); err != nil {
			return nil, err
		}
	}
	return cache, nil
}
