package daemon

import (
	"cmp"
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
	})
	if err == nil {
		d.leases.Store(c)
	}
	return err
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
	out := &control.Lease{State: s.State.String()}
	if s.Has {
		out.Address, out.Server, out.Until = s.Lease.Address, s.Lease.Server, s.Lease.Until
	}
	return out
}
