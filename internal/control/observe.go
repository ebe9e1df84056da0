package control

import (
	_ "embed"
	"fmt"
	"net/http"
)

// OpenAPI is the OpenAPI document of this API.
//
//go:embed openapi.json
var OpenAPI []byte

// A Measurer is a backend that has metrics.
type Measurer interface {
	// Metrics serves them in Prometheus' text format.
	Metrics() http.Handler
}

// observeRoutes are for the programs that watch the daemon.
var observeRoutes = []Route{
	{
		Method: http.MethodGet, Path: "/v1/openapi.json", Type: "application/json",
		Doc: "This API as an OpenAPI document.",
		serve: func(_ *api, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(OpenAPI)
		},
	},
	{
		Method: http.MethodGet, Path: "/metrics", Type: "text/plain",
		Doc: "Metrics in Prometheus' text format.",
		serve: func(a *api, w http.ResponseWriter, r *http.Request) {
			if a.metrics == nil {
				fail(w, fmt.Errorf("%w: this daemon has no metrics", ErrNotFound))
				return
			}
			a.metrics.ServeHTTP(w, r)
		},
	},
	{
		Method: http.MethodGet, Path: "/healthz", Type: "text/plain", Open: true,
		Doc: "200 as long as the process answers.",
		serve: func(_ *api, w http.ResponseWriter, _ *http.Request) {
			say(w, http.StatusOK, "ok")
		},
	},
	{
		Method: http.MethodGet, Path: "/readyz", Type: "text/plain", Open: true,
		Doc: "200 when the daemon serves: started, its device there, its machines answering; 503 until then. Callers who may read are told why.",
		serve: func(a *api, w http.ResponseWriter, r *http.Request) {
			if err := a.backend.Ready(r.Context()); err != nil {
				text := "not ready"
				if mayRead(r) {
					text += ": " + err.Error()
				}
				say(w, http.StatusServiceUnavailable, text)
				return
			}
			say(w, http.StatusOK, "ready")
		},
	},
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text)
}
