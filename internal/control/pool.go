package control

import (
	"context"
	"net/http"
	"net/netip"
	"time"
)

// A Drainer has a home agent's nodes go to others of its pool.
type Drainer interface {
	Drain(ctx context.Context, order DrainOrder) ([]PoolMember, error)
}

// DrainOrder is the body of POST /v1/drain.
type DrainOrder struct {
	Undrain bool `json:"undrain,omitempty"` // take nodes again
}

// PoolMember is a home agent of a pool, as this one knows it.
type PoolMember struct {
	Address  netip.Addr `json:"address"`
	State    string     `json:"state"` // serves, drained, silent
	Self     bool       `json:"self"`
	Nodes    int        `json:"nodes"`
	Capacity int        `json:"capacity"` // 0: any number
	Moved    uint64     `json:"moved"`    // nodes sent on since the start; of this one
	Since    time.Time  `json:"drained_since,omitzero"`
	Heard    time.Time  `json:"heard,omitzero"` // of another one
}

// poolRoutes are for a home agent with a pool.
var poolRoutes = []Route{
	{
		Method: http.MethodPost, Path: "/v1/drain", Name: "pool", Body: DrainOrder{}, Shape: []PoolMember{},
		Doc: "Have the home agent's nodes go to others of its pool, or take nodes again.",
		serve: with(func(o Drainer, w http.ResponseWriter, r *http.Request) {
			var body DrainOrder
			if readBody(w, r, &body) {
				done, err := o.Drain(r.Context(), body)
				reply(w, "pool", done, err)
			}
		}),
	},
}

// Drain has the home agent's nodes go to others of its pool, or takes that back.
func (c *Client) Drain(ctx context.Context, order DrainOrder) ([]PoolMember, error) {
	var done []PoolMember
	return done, c.do(ctx, http.MethodPost, "/v1/drain", order, "pool", &done)
}
