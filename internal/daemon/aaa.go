package daemon

import (
	"context"
	"net/netip"
	"time"

	"careof/internal/config"
	"careof/internal/core/aaa"
	"careof/internal/core/forward"
	host "careof/internal/host/aaa"
	"careof/internal/host/clock"
	"careof/internal/host/drive"
	"careof/internal/roles"
)

// authority is what answers the roles' questions about nodes, and hears of
// their sessions; nil without an [aaa] section.
type authority struct {
	desk   *host.Desk
	book   aaa.Book
	radius *host.RADIUS // nil without servers
	ledger *host.Ledger // nil without accounting
	orders *host.Orders // nil when no server may give any
}

// aaaServers is how RADIUS servers are asked.
func (d *daemon) aaaServers(c *config.Config) host.RADIUSConfig {
	out := host.RADIUSConfig{
		Timeout: c.AAA.Timeout, Tries: c.AAA.Tries, DeadTime: c.AAA.DeadTime, Source: c.AAA.Source,
		NASIdentifier: c.AAA.NASIdentifier, NASAddress: c.AAA.Source, Algorithm: c.AAA.Algorithm, Warn: d.log.Warn,
	}
	if !out.NASAddress.IsValid() {
		switch {
		case c.HomeAgent != nil:
			out.NASAddress = c.HomeAgent.Addresses[0]
		case c.ForeignAgent != nil:
			out.NASAddress = c.ForeignAgent.CareOfAddresses[0]
		}
	}
	for _, s := range c.AAA.Servers {
		out.Servers = append(out.Servers, host.Server{
			Address:    netip.AddrPortFrom(s.Address, s.Port),
			Accounting: netip.AddrPortFrom(s.Address, s.AccountingPort),
			Secret:     s.Secret.Octets(),
		})
	}
	return out
}

// openAAA makes what answers the roles' questions about nodes.
func (d *daemon) openAAA() error {
	c := d.cfg.AAA
	if c == nil {
		return nil
	}
	a := &authority{book: roles.Book(c)}
	limits := host.Limits{Questions: c.Questions, PerSource: c.PerSource}
	d.aaa = a
	if len(c.Servers) == 0 {
		a.desk = host.New(host.Book{Book: a.book}, limits)
		return nil
	}
	servers := d.aaaServers(d.cfg)
	a.radius = host.NewRADIUS(servers)
	a.desk = host.New(host.First{Book: a.book, Then: a.radius}, limits)
	if c.Accounting == config.On {
		a.ledger = host.NewLedger(a.radius, c.Interim, d.used, func() time.Time { return clock.Now().Mono })
	}
	if c.Dynamic.IsValid() {
		var err error
		if a.orders, err = host.Listen(c.Dynamic, servers, d.carry); err != nil {
			return d.failed("aaa.dynamic-authorisation", err)
		}
	}
	return nil
}

// used is what an entry of the data plane has counted.
func (d *daemon) used(k forward.Key) forward.Counters {
	if d.plane == nil {
		return forward.Counters{}
	}
	return d.plane.Counters(k)
}

// closeAAA closes what a daemon that does not come to run has opened.
func (d *daemon) closeAAA() {
	if d.aaa != nil && d.aaa.orders != nil {
		d.aaa.orders.Close()
	}
}

// askAAA answers a question about a node.
func (d *daemon) askAAA(ctx context.Context, q any, answer func(any, error)) {
	if d.aaa == nil {
		answer(nil, aaa.ErrUnavailable)
		return
	}
	if told, ok := q.(aaa.Account); ok {
		if d.aaa.ledger != nil {
			d.aaa.ledger.Account(told)
		}
		answer(nil, nil)
		return
	}
	d.aaa.desk.Ask(ctx, q, answer)
}

// metered is the data plane as the roles see it: the ledger reads the counters
// of what they remove.
func (d *daemon) metered() forward.Plane {
	if d.aaa == nil || d.aaa.ledger == nil {
		return d.plane
	}
	return d.aaa.ledger.Metered(d.plane)
}

// carry carries out an order of AAA and says how many sessions it fitted.
func (d *daemon) carry(ctx context.Context, order any) (int, error) {
	drivers := []*drive.Driver{d.home}
	switch o := order.(type) {
	case aaa.End:
		d.aaa.desk.Forget(o.NAI)
		if d.cfg.AAA.Accounting == config.On {
			drivers = append(drivers, d.foreign)
		}
	case aaa.Change:
		d.aaa.desk.Forget(o.NAI)
	}
	n := 0
	for _, driver := range drivers {
		if driver == nil {
			continue
		}
		answers, err := driver.Command(ctx, order)
		if err != nil {
			return n, err
		}
		for _, a := range answers {
			if one, ok := a.(int); ok {
				n += one
			}
		}
	}
	return n, nil
}
