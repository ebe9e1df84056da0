package daemon

import (
	"context"
	"net/http"
	"time"

	"careof/internal/control"
	"careof/internal/metrics"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

var _ control.Measurer = (*daemon)(nil)

// scrapeLimit is how long a scrape may take.
const scrapeLimit = 8 * time.Second

// Metrics implements [control.Measurer].
func (d *daemon) Metrics() http.Handler {
	return metrics.Handler(func() (metrics.Snapshot, error) {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
		defer cancel()
		return d.snapshot(ctx)
	})
}

// snapshot gathers what the metrics are made of.
func (d *daemon) snapshot(ctx context.Context) (metrics.Snapshot, error) {
	var s metrics.Snapshot
	shown, err := d.status(ctx)
	if err != nil {
		return s, err
	}
	counted, err := d.counters(ctx)
	if err != nil {
		return s, err
	}
	status := shown.(control.Status)
	s.Version, s.Plane, s.Started = status.Version, status.Plane, status.Started
	s.Roles, s.Forwarded, s.Counters = status.Roles, status.Forwarded, counted.([]control.Counter)
	s.Ready = d.Ready(ctx) == nil
	s.Listeners = d.hub.listeners()
	if d.home != nil {
		counts, err := ask[ha.Count](ctx, d.home, ha.CountBindings{})
		if err != nil {
			return s, err
		}
		s.HomeAgent = new(metrics.HomeAgent)
		for _, c := range counts {
			s.HomeAgent.Nodes, s.HomeAgent.Bound, s.HomeAgent.Bindings = s.HomeAgent.Nodes+c.Nodes, s.HomeAgent.Bound+c.Bound, s.HomeAgent.Bindings+c.Bindings
		}
	}
	if s.Pool, err = d.measurePool(ctx); err != nil {
		return s, err
	}
	if d.foreign != nil {
		visitors, err := ask[fa.VisitorInfo](ctx, d.foreign, fa.ListVisitors{})
		if err != nil {
			return s, err
		}
		s.ForeignAgent = new(metrics.ForeignAgent)
		for _, v := range visitors {
			if v.State == "accepted" {
				s.ForeignAgent.Visitors++
			} else {
				s.ForeignAgent.Pending++
			}
		}
	}
	if d.mobile != nil {
		if s.MobileNode, err = d.measureMobile(ctx); err != nil {
			return s, err
		}
	}
	s.Diameter = d.measureDiameter()
	stored := d.store.Status()
	s.Store = metrics.Store{Disk: stored.DiskBytes, Written: stored.WrittenBytes, Free: stored.FreeBytes}
	if d.sockets == nil {
		return s, nil
	}
	for _, sk := range d.sockets.Status() {
		s.Sockets.Open++
		s.Sockets.Queued += uint64(sk.Queued)
		s.Sockets.Drops += uint64(sk.Drops)
	}
	return s, nil
}

func (d *daemon) measureMobile(ctx context.Context) (*metrics.MobileNode, error) {
	m := new(metrics.MobileNode)
	uplinks, err := ask[mn.UplinkInfo](ctx, d.mobile, mn.ListUplinks{})
	if err != nil {
		return nil, err
	}
	for _, u := range uplinks {
		m.Uplinks++
		m.Doubts, m.InDoubt = m.Doubts+u.Doubts.Times, m.InDoubt+u.Doubts.Lasted
		if u.Usable {
			m.Usable++
		}
	}
	states, err := ask[mn.Status](ctx, d.mobile, mn.ShowStatus{})
	if err != nil {
		return nil, err
	}
	for _, s := range states {
		m.Registered = m.Registered || s.State == "registered" || s.State == "home"
		for _, r := range s.Registered {
			if r.Active {
				m.RoundTrip, m.Remaining = r.Took, r.Left
			}
		}
	}
	return m, nil
}
