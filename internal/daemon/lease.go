package daemon

import (
	"cmp"
	"context"
	"net/netip"
	"path/filepath"
	"slices"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/host/dhcp"
)

// Notes about addresses that the node has got for its uplinks by DHCP.
const (
	leaseGot  note.Kind = "lease"
	leaseLost note.Kind = "lease-lost"
)

// openLeases makes the DHCP client. Without an uplink that wants one it has
// nothing to do.
func (d *daemon) openLeases() error {
	c, err := dhcp.Open(dhcp.Config{
		Memory: filepath.Join(d.cfg.StateDirectory, "leases.json"),
		Links:  leased(d.cfg.MobileNode),
		Tell:   d.tellLease,
		Guard:  d.guardLeases,
	})
	if err == nil {
		d.leases.Store(c)
	}
	return err
}

// closeLeases ends it. What it has leased stays for the next start.
func (d *daemon) closeLeases() {
	if c := d.leases.Load(); c != nil {
		c.Close()
	}
}

// leaseMetric is of the default route over the best uplink that has a lease:
// after those of network managers, which begin at 0, 100 and 1024.
const leaseMetric = 2048

// leased lists the uplinks that the node may configure; those of higher
// priority have the lower metric.
func leased(c *config.MobileNode) (links []dhcp.Link) {
	if c == nil {
		return nil
	}
	order := slices.Clone(c.Uplinks)
	slices.SortStableFunc(order, func(a, b config.Uplink) int { return cmp.Compare(b.Priority, a.Priority) })
	for i, u := range order {
		if u.Address != config.AddressHost {
			links = append(links, dhcp.Link{Name: u.Interface, Auto: u.Address == config.AddressAuto, Metric: leaseMetric + i})
		}
	}
	return links
}

// guardLeases lists what no network may give an uplink, and what none may draw
// out of the tunnel: the home network, and what the configuration sends there.
func (d *daemon) guardLeases() (g dhcp.Guard) {
	c := d.live.config().MobileNode
	if c == nil {
		return g
	}
	for _, h := range c.HomeAgents {
		if h.Addr.IsValid() {
			g.Never = append(g.Never, h.Addr)
		}
	}
	d.resolved.Range(func(_, list any) bool {
		g.Never = append(g.Never, list.([]netip.Addr)...)
		return true
	})
	if c.HomeAddress.IsValid() {
		g.Tunnelled = append(g.Tunnelled, netip.PrefixFrom(c.HomeAddress, c.HomeAddress.BitLen()))
	}
	if c.HomeNetwork.IsValid() {
		g.Tunnelled = append(g.Tunnelled, c.HomeNetwork)
	}
	for _, n := range c.Networks {
		if n.Prefix.IsValid() {
			g.Tunnelled = append(g.Tunnelled, n.Prefix)
		}
	}
	if !c.Routes.Full {
		g.Tunnelled = append(g.Tunnelled, c.Routes.Prefixes...)
	}
	return g
}

// resolve finds the addresses of a home agent's name, and remembers them for
// [daemon.guardLeases].
func (d *daemon) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	list, err := d.names.Lookup(ctx, name)
	if err == nil {
		d.resolved.Store(name, list)
	}
	return list, err
}

func (d *daemon) tellLease(ev dhcp.Event) {
	switch {
	case ev.Lost:
		d.hub.note(note.Note{Kind: leaseLost, Level: note.Warn, Role: roleMobileNode, Link: ev.Link, Why: ev.Lease.Address.String() + ": " + ev.Why})
	case ev.Why != "":
		d.hub.note(note.Note{Kind: note.Failed, Level: note.Warn, Role: roleMobileNode, Link: ev.Link, Why: ev.Why})
	default:
		d.hub.note(note.Note{Kind: leaseGot, Level: note.Info, Role: roleMobileNode, Link: ev.Link, Why: ev.Lease.Address.String() + " of " + ev.Lease.Server.String()})
	}
}

// leaseOf shows how an uplink's lease stands; nil when others configure it.
func (d *daemon) leaseOf(link string) *control.Lease {
	s, ours := d.leases.Load().Status(link)
	if !ours {
		return nil
	}
	out := &control.Lease{State: s.State.String(), Why: s.Why}
	if s.Has {
		out.Address, out.Server, out.Until = s.Lease.Address, s.Lease.Server, s.Lease.Until
	}
	return out
}
