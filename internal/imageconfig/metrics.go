package imageconfig

import "github.com/prometheus/client_golang/prometheus"

var (
	bytesMetric = prometheus.NewDesc("podinit_image_cache_bytes",
		"Estimated memory of the cache of what images run, in bytes.", nil, nil)
	limitMetric = prometheus.NewDesc("podinit_image_cache_limit_bytes",
		"Maximum memory of the cache, in bytes. When it is reached, the least recently used entries are evicted.", nil, nil)
	imagesMetric = prometheus.NewDesc("podinit_image_cache_images",
		"Images in the cache.", nil, nil)
	entriesMetric = prometheus.NewDesc("podinit_image_cache_entries",
		"All entries in the cache: images, digests of references, permissions of namespaces, and failures.", nil, nil)
	hitsMetric = prometheus.NewDesc("podinit_image_cache_hits_total",
		"Lookups of images that the cache answered.", nil, nil)
	missesMetric = prometheus.NewDesc("podinit_image_cache_misses_total",
		"Lookups of images that the cache could not answer, or only with a stale entry.", nil, nil)
	forgottenMetric = prometheus.NewDesc("podinit_image_cache_evictions_total",
		"Entries evicted from the cache to make room for others.", nil, nil)
	requestsMetric = prometheus.NewDesc("podinit_registry_lookups_in_flight",
		"Lookups in registries that are in flight.", nil, nil)
)

var _ prometheus.Collector = (*Cache)(nil)

// Describe is prometheus.Collector's.
func (c *Cache) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{bytesMetric, limitMetric, imagesMetric, entriesMetric, hitsMetric, missesMetric, forgottenMetric, requestsMetric} {
		descriptions <- d
	}
}

// Collect is prometheus.Collector's.
func (c *Cache) Collect(metrics chan<- prometheus.Metric) {
	c.mu.Lock()
	bytes, images, entries := c.memory.bytes, len(c.images.byKey), c.memory.used.Len()
	forgotten, requests := c.memory.forgotten, len(c.requests)
	c.mu.Unlock()
	gauge := func(d *prometheus.Desc, value int) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value))
	}
	counter := func(d *prometheus.Desc, value uint64) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value))
	}
	gauge(bytesMetric, bytes)
	gauge(limitMetric, c.limits.Bytes)
	gauge(imagesMetric, images)
	gauge(entriesMetric, entries)
	counter(hitsMetric, c.hits.Load())
	counter(missesMetric, c.misses.Load())
	counter(forgottenMetric, forgotten)
	gauge(requestsMetric, requests)
}
