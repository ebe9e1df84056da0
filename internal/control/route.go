package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// A Route is one row of the API. The server, the OpenAPI document and the
// tests are made from the rows; what a caller may do follows from the method:
// GET reads, everything else changes.
type Route struct {
	Method string
	Path   string // as in http.ServeMux, with /v1
	Name   string // of the answer's member that holds what was asked; "" when the answer is not such an object
	Doc    string // one sentence
	Query  []Parameter
	Body   any    // a zero value of what is sent; nil for nothing
	Shape  any    // a zero value of the member Name
	Type   string // the answer's content type when Name is empty
	Open   bool   // whether it is answered without a token: it says nothing about anybody

	serve func(a *api, w http.ResponseWriter, r *http.Request)
}

// A Parameter is something that may stand in a route's query or path.
type Parameter struct {
	Name string
	Doc  string
	Type string // of JSON Schema: "string", "integer"
}

// An api is what routes are served with.
type api struct {
	backend Backend
	pages   *pages
	metrics http.Handler // nil for a backend that has none
}

// Routes lists the API in the order in which documents show it.
func Routes() []Route {
	return slices.Concat(showRoutes, pictureRoutes, eventRoutes, operateRoutes, observeRoutes, revokeRoutes, notifyRoutes, poolRoutes, enrolRoutes, portalRoutes, aaaRoutes)
}

// showRoutes are the routes that show something, one for each of [Names].
var showRoutes = []Route{
	show("status", "The daemon at a glance.", Status{}),
	list("bindings", "Who is bound to where, at a home agent.", []Binding{}),
	{
		Method: http.MethodGet, Path: "/v1/binding/{node}", Name: "binding", Shape: []Binding{},
		Doc:   "One mobile node's bindings in full; the node is a home address or a NAI.",
		serve: func(a *api, w http.ResponseWriter, r *http.Request) { a.show(w, r, "binding", r.PathValue("node")) },
	},
	list("registrations", "The latest registrations: asked for, answered, relayed.", []Registration{}),
	list("visitors", "The mobile nodes at a foreign agent.", []Visitor{}),
	show("advertisements", "What the agents on this host say of themselves on each link.", []Advertisement{}),
	show("agents", "The mobility agents that a mobile node hears.", []Agent{}),
	show("uplinks", "The interfaces of a mobile node, and why each is used or not.", []Uplink{}),
	show("networks", "The mobile networks: those bound at a home agent, and a mobile router's own.", []MobileNetwork{}),
	show("host", "What a mobile node was told about its home network, by which home agent, and what became of it.", []HostConfiguration{}),
	show("associations", "Security associations, without their keys.", []Association{}),
	show("enrolled", "The mobile nodes that have joined with a token, and those that are invited to.", []Enrolled{}),
	show("blocked", "The mobile nodes that the home agent keeps out.", []Blocked{}),
	show("pool", "The home agents of a home agent's pool, itself first.", []PoolMember{}),
	show("aaa", "Who is asked about mobile nodes, how the servers do, and which sessions they are told of.", AAA{}),
	show("stages", "How a message is processed, stage by stage.", []Stage{}),
	show("counters", "Everything that is counted.", []Counter{}),
	show("plane", "The data plane's entries and tunnels.", []Entry{}),
	show("config", "The configuration in force, defaults filled in; secrets are fingerprints.", []Setting{}),
}

// show is the row of something that is shown whole.
func show(name, doc string, shape any) Route {
	return Route{
		Method: http.MethodGet, Path: "/v1/" + name, Name: name, Doc: doc, Shape: shape,
		serve: func(a *api, w http.ResponseWriter, r *http.Request) { a.show(w, r, name, "") },
	}
}

// list is the row of something that may be long, and can be had in pages.
func list(name, doc string, shape any) Route {
	row := show(name, doc, shape)
	row.Query = pageParameters
	row.serve = func(a *api, w http.ResponseWriter, r *http.Request) {
		if !wantsPage(r) {
			a.show(w, r, name, "")
			return
		}
		a.page(w, r, name)
	}
	return row
}

// show answers with what the backend shows under a name.
func (a *api) show(w http.ResponseWriter, r *http.Request, name, argument string) {
	value, err := a.ask(r.Context(), name, argument)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"schema": Schema, name: value})
}

// ask puts a question to the backend, for a bounded time.
func (a *api) ask(ctx context.Context, name, argument string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	value, err := a.backend.Show(ctx, name, argument)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: the daemon is too busy to answer", ErrTimeout)
	}
	return value, err
}

// Handler serves the API of a backend to callers that somebody else has
// admitted: the unix socket and the TCP listener, each in its own way.
func Handler(backend Backend) http.Handler {
	a := &api{backend: backend, pages: newPages()}
	if m, has := backend.(Measurer); has {
		a.metrics = m.Metrics()
	}
	mux := http.NewServeMux()
	for _, row := range Routes() {
		mux.HandleFunc(row.Method+" "+row.Path, func(w http.ResponseWriter, r *http.Request) { row.serve(a, w, r) })
	}
	profiles(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, fmt.Errorf("%w: the API has no %s %s (GET /v1/openapi.json lists what it has)", ErrNotFound, r.Method, r.URL.Path))
	})
	return mux
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// An error here means that the caller has gone away.
	_ = json.NewEncoder(w).Encode(value)
}

func fail(w http.ResponseWriter, err error) {
	answer(w, statusOf(err), map[string]any{"schema": Schema, "error": err.Error()})
}
