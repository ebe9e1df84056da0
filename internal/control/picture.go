package control

import (
	"net/http"
	"time"
)

// Moment is one thing that happened to a mobile node, and how often.
type Moment struct {
	Event
	Times     int       `json:"times"`               // equal events in a row are one moment
	Last      time.Time `json:"last"`                // the last of them
	Refreshes int       `json:"refreshes,omitempty"` // renewals in place since then
	Refreshed time.Time `json:"refreshed,omitzero"`  // the last of those
}

// Topology is who is where, as this daemon sees it. Of very many nodes it has
// the ones that were bound or moved lately, and numbers for the others.
type Topology struct {
	Vertices []Vertex `json:"vertices"`
	Edges    []Edge   `json:"edges"`
	Nodes    int      `json:"nodes"` // mobile nodes altogether
	Shown    int      `json:"shown"` // of them in vertices
}

// Vertex is one thing in a topology.
type Vertex struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"` // "home-network", "home-agent", "foreign-agent", "network", "uplink", "link", "mobile-node"
	Label  string `json:"label"`
	Detail string `json:"detail,omitempty"`
	Self   bool   `json:"self,omitempty"`  // it is this daemon
	Nodes  int    `json:"nodes,omitempty"` // mobile nodes that are here
	State  string `json:"state,omitempty"` // of a node or an uplink
}

// Edge ties two vertices together.
type Edge struct {
	From          string `json:"from"`
	To            string `json:"to"`
	Kind          string `json:"kind"` // "tunnel", "attachment"
	Encapsulation string `json:"encapsulation,omitempty"`
	Active        bool   `json:"active"` // packets go here
}

var pictureRoutes = []Route{
	{
		Method: http.MethodGet, Path: "/v1/topology", Name: "topology", Shape: Topology{},
		Doc: "Networks, agents, nodes and tunnels, as this daemon sees them.",
		serve: func(a *api, w http.ResponseWriter, r *http.Request) {
			value, _, err := a.pages.take("topology", func() (any, error) { return a.ask(r.Context(), "topology", "") })
			if err != nil {
				fail(w, err)
				return
			}
			answer(w, http.StatusOK, map[string]any{"schema": Schema, "topology": value})
		},
	},
	{
		Method: http.MethodGet, Path: "/v1/timeline/{node}", Name: "timeline", Shape: []Moment{},
		Doc: "What happened to one mobile node, the latest first, as far as it is remembered. Refreshed bindings and equal events in a row are counted, not listed.",
		serve: func(a *api, w http.ResponseWriter, r *http.Request) {
			a.show(w, r, "timeline", r.PathValue("node"))
		},
	},
}
