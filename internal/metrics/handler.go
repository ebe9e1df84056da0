package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves the metrics of take's snapshots, of the Go runtime and of the
// process. Scrapes that come at the same time wait for each other.
func Handler(take func() (Snapshot, error)) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(New(take), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, EnableOpenMetrics: true})
}
