package control

import (
	"context"
	"net/http"
	"net/netip"
	"time"
)

// A Concierge lets programs of this host reach a captive portal.
type Concierge interface {
	Portal(ctx context.Context, order PortalOrder) (Portal, error)
}

// PortalOrder is the body of POST /v1/portal.
type PortalOrder struct {
	Uplink string   `json:"uplink"`
	For    Seconds  `json:"for,omitempty"`   // how long
	Hosts  []string `json:"hosts,omitempty"` // besides the portal's own: names or addresses
	Close  bool     `json:"close,omitempty"` // end it now
}

// Portal is what programs of this host may reach past the tunnel, to sign in to
// a network.
type Portal struct {
	Uplink    string       `json:"uplink"`
	Page      string       `json:"page,omitempty"` // where to sign in
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Until     time.Time    `json:"until,omitzero"`
}

// portalRoutes are for captive portals.
var portalRoutes = []Route{
	{
		Method: http.MethodPost, Path: "/v1/portal", Name: "portal", Body: PortalOrder{}, Shape: Portal{},
		Doc: "Let programs of this host reach a network's captive portal past the tunnel for a while, or end that.",
		serve: with(func(o Concierge, w http.ResponseWriter, r *http.Request) {
			var body PortalOrder
			if readBody(w, r, &body) {
				done, err := o.Portal(r.Context(), body)
				reply(w, "portal", done, err)
			}
		}),
	},
}

// Portal lets programs of the daemon's host reach a captive portal.
func (c *Client) Portal(ctx context.Context, order PortalOrder) (Portal, error) {
	var done Portal
	return done, c.do(ctx, http.MethodPost, "/v1/portal", order, "portal", &done)
}
