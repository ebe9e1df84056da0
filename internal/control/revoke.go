package control

import (
	"context"
	"net/http"
	"net/netip"
	"time"
)

// A Revoker ends bindings for good, and keeps mobile nodes out.
type Revoker interface {
	Revoke(ctx context.Context, order RevokeOrder) (Revocation, error)
	Unblock(ctx context.Context, order UnblockOrder) (Revocation, error)
}

// RevokeOrder is the body of POST /v1/revoke.
type RevokeOrder struct {
	Node  string `json:"node"`            // home address or NAI
	Block bool   `json:"block,omitempty"` // keep it out until it is unblocked
}

// UnblockOrder is the body of POST /v1/unblock.
type UnblockOrder struct {
	Node string `json:"node"` // home address or NAI
}

// Revocation is what came of an order about a mobile node.
type Revocation struct {
	Node     string           `json:"node"`
	Bindings int              `json:"bindings_ended"` // at the home agent
	Visits   int              `json:"visits_ended"`   // at the foreign agent
	Peers    []RevocationPeer `json:"peers"`          // the other ends that were told; one that agreed to nothing is not among them
	Blocked  bool             `json:"blocked"`
}

// RevocationPeer is the other end of a binding.
type RevocationPeer struct {
	CareOfAddress netip.Addr `json:"care_of_address"`
	Acknowledged  bool       `json:"acknowledged"`
	Informed      bool       `json:"informed"` // a foreign agent has told the node
}

// Blocked is a mobile node that the home agent keeps out.
type Blocked struct {
	Node  string    `json:"node"`
	Since time.Time `json:"since"`
}

// revokeRoutes are for what ends bindings.
var revokeRoutes = []Route{
	{
		Method: http.MethodPost, Path: "/v1/revoke", Name: "revocation", Body: RevokeOrder{}, Shape: Revocation{},
		Doc: "End a node's bindings at both ends, and keep it out if asked to.",
		serve: with(func(o Revoker, w http.ResponseWriter, r *http.Request) {
			var body RevokeOrder
			if readBody(w, r, &body) {
				done, err := o.Revoke(r.Context(), body)
				reply(w, "revocation", done, err)
			}
		}),
	},
	{
		Method: http.MethodPost, Path: "/v1/unblock", Name: "revocation", Body: UnblockOrder{}, Shape: Revocation{},
		Doc: "Let a node in again.",
		serve: with(func(o Revoker, w http.ResponseWriter, r *http.Request) {
			var body UnblockOrder
			if readBody(w, r, &body) {
				done, err := o.Unblock(r.Context(), body)
				reply(w, "revocation", done, err)
			}
		}),
	},
}

// Revoke ends a node's bindings at both ends.
func (c *Client) Revoke(ctx context.Context, order RevokeOrder) (Revocation, error) {
	var done Revocation
	return done, c.do(ctx, http.MethodPost, "/v1/revoke", order, "revocation", &done)
}

// Unblock lets a node in again.
func (c *Client) Unblock(ctx context.Context, node string) (Revocation, error) {
	var done Revocation
	return done, c.do(ctx, http.MethodPost, "/v1/unblock", UnblockOrder{Node: node}, "revocation", &done)
}
