package control

import (
	"fmt"
	"net/http"
	"net/http/pprof"
)

// profiles serves Go's profiles under /debug/pprof/: what the program spends
// processor time and memory on, for instance
//
//	curl --unix-socket /run/careof/careof.sock -o cpu 'http://careof/debug/pprof/profile?seconds=10'
//
// A profile shows no more than the binary does, but taking one costs time, and
// a memory profile costs a stop: they are for those who may change things.
func profiles(mux *http.ServeMux) {
	handle := func(pattern string, f http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !mayChange(r) {
				fail(w, fmt.Errorf("%w: profiles are for those who may change things", ErrDenied))
				return
			}
			f(w, r)
		})
	}
	handle("GET /debug/pprof/", pprof.Index)
	handle("GET /debug/pprof/cmdline", pprof.Cmdline)
	handle("GET /debug/pprof/profile", pprof.Profile)
	handle("GET /debug/pprof/symbol", pprof.Symbol)
	handle("GET /debug/pprof/trace", pprof.Trace)
}
