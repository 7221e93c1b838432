package imageconfig

import "github.com/prometheus/client_golang/prometheus"

var (
	bytesMetric = prometheus.NewDesc("podinit_image_cache_bytes",
		"About how much memory the cache of what images run takes, in bytes.", nil, nil)
	limitMetric = prometheus.NewDesc("podinit_image_cache_limit_bytes",
		"How much memory the cache may take, in bytes. Then what was not used for longest is forgotten.", nil, nil)
	imagesMetric = prometheus.NewDesc("podinit_image_cache_images",
		"Images of which it is known what they run.", nil, nil)
	entriesMetric = prometheus.NewDesc("podinit_image_cache_entries",
		"Everything in the cache: images, what references stand for, to whom that is known, and failures.", nil, nil)
	hitsMetric = prometheus.NewDesc("podinit_image_cache_hits_total",
		"Questions about images that the cache could answer.", nil, nil)
	missesMetric = prometheus.NewDesc("podinit_image_cache_misses_total",
		"Questions about images that the cache could not answer, or only with what is older than it should be.", nil, nil)
	forgottenMetric = prometheus.NewDesc("podinit_image_cache_evictions_total",
		"Entries that were forgotten to make room for others.", nil, nil)
	flightsMetric = prometheus.NewDesc("podinit_registry_lookups_in_flight",
		"Errands to registries that are under way.", nil, nil)
)

var _ prometheus.Collector = (*Cache)(nil)

// Describe is prometheus.Collector's.
func (c *Cache) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{bytesMetric, limitMetric, imagesMetric, entriesMetric, hitsMetric, missesMetric, forgottenMetric, flightsMetric} {
		descriptions <- d
	}
}

// Collect is prometheus.Collector's.
func (c *Cache) Collect(metrics chan<- prometheus.Metric) {
	c.mu.Lock()
	bytes, images, entries := c.memory.bytes, c.memory.images, len(c.memory.entries)
	forgotten, flights := c.memory.forgotten, len(c.flights)
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
	gauge(flightsMetric, flights)
}
