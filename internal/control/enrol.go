package control

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// An Enroller invites mobile nodes to a home network.
type Enroller interface {
	Enrol(ctx context.Context, order EnrolOrder) (Invitation, error)
	Unenrol(ctx context.Context, order UnenrolOrder) (Enrolled, error)
	ExportEnrolled(ctx context.Context) (Export, error)
}

// EnrolOrder is the body of POST /v1/enrol.
type EnrolOrder struct {
	NAI         string     `json:"nai,omitempty"`
	HomeAddress netip.Addr `json:"home_address,omitzero"` // left out: a free one
	// Prefixes are networks that the node brings along; Assigned, that it asks
	// for one of the home agent's pools (RFC 6626).
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	Assigned bool           `json:"assigned,omitempty"`
	For      Seconds        `json:"for"` // how long the token is good
}

// Invitation is a token that was made.
type Invitation struct {
	Token       string         `json:"token"` // a secret, good once
	NAI         string         `json:"nai,omitempty"`
	HomeAddress netip.Addr     `json:"home_address"`
	Prefixes    []netip.Prefix `json:"prefixes,omitempty"` // of the networks behind it
	Assigned    bool           `json:"assigned,omitempty"` // another one comes from a pool
	Until       time.Time      `json:"until"`
}

// UnenrolOrder is the body of POST /v1/unenrol.
type UnenrolOrder struct {
	Node string `json:"node"` // home address or NAI
}

// Enrolled is a mobile node that has joined, or is invited to.
type Enrolled struct {
	Node        string         `json:"node"` // its name
	NAI         string         `json:"nai,omitempty"`
	HomeAddress netip.Addr     `json:"home_address,omitzero"`
	Prefixes    []netip.Prefix `json:"prefixes,omitempty"` // of the networks behind it
	Assigned    bool           `json:"assigned,omitempty"` // another one comes from a pool
	Host        string         `json:"host,omitempty"`     // what it calls itself
	State       string         `json:"state"`              // "enrolled", "invited"
	Blocked     bool           `json:"blocked,omitempty"`  // careof revoke --block keeps it out, also when it joins anew
	Since       time.Time      `json:"since"`
	Until       time.Time      `json:"until,omitzero"` // of an invitation
}

// Networks are what is behind the node, in words.
func (e *Enrolled) Networks() string {
	var list []string
	for _, p := range e.Prefixes {
		list = append(list, p.String())
	}
	if e.Assigned {
		list = append(list, "pool")
	}
	return strings.Join(list, " ")
}

// Export is the enrolled nodes as configuration, with their keys.
type Export struct {
	TOML string `json:"toml"`
}

// enrolRoutes are for who may join.
var enrolRoutes = []Route{
	{
		Method: http.MethodPost, Path: "/v1/enrol", Name: "invitation", Body: EnrolOrder{}, Shape: Invitation{},
		Doc: "Make a one-time token with which a mobile node joins.",
		serve: with(func(o Enroller, w http.ResponseWriter, r *http.Request) {
			var body EnrolOrder
			if readBody(w, r, &body) {
				made, err := o.Enrol(r.Context(), body)
				reply(w, "invitation", made, err)
			}
		}),
	},
	{
		Method: http.MethodPost, Path: "/v1/unenrol", Name: "enrolled", Body: UnenrolOrder{}, Shape: Enrolled{},
		Doc: "Forget an enrolled node, or an invitation; its bindings end.",
		serve: with(func(o Enroller, w http.ResponseWriter, r *http.Request) {
			var body UnenrolOrder
			if readBody(w, r, &body) {
				gone, err := o.Unenrol(r.Context(), body)
				reply(w, "enrolled", gone, err)
			}
		}),
	},
	{
		// Not GET: it shows keys.
		Method: http.MethodPost, Path: "/v1/enrolled/export", Name: "export", Shape: Export{},
		Doc: "The enrolled nodes as configuration, with their keys.",
		serve: with(func(o Enroller, w http.ResponseWriter, r *http.Request) {
			all, err := o.ExportEnrolled(r.Context())
			reply(w, "export", all, err)
		}),
	},
}

// Enrol makes a token.
func (c *Client) Enrol(ctx context.Context, order EnrolOrder) (Invitation, error) {
	var made Invitation
	return made, c.do(ctx, http.MethodPost, "/v1/enrol", order, "invitation", &made)
}

// Unenrol forgets an enrolled node or an invitation.
func (c *Client) Unenrol(ctx context.Context, node string) (Enrolled, error) {
	var gone Enrolled
	return gone, c.do(ctx, http.MethodPost, "/v1/unenrol", UnenrolOrder{Node: node}, "enrolled", &gone)
}

// ExportEnrolled is the enrolled nodes as configuration, with their keys.
func (c *Client) ExportEnrolled(ctx context.Context) (Export, error) {
	var all Export
	return all, c.do(ctx, http.MethodPost, "/v1/enrolled/export", nil, "export", &all)
}
