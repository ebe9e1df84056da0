package check

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/lab/world"
	"careof/wire/encap"
)

// Observe judges what happens.
func (c *Checker) Observe(o world.Observation) {
	switch o := o.(type) {
	case world.Started:
		if h := c.homes[o.Daemon]; h != nil {
			h.began = o.Daemon.Node.Clock().Now()
			c.startedHome(h, o)
		}
		c.mirrored(o.Daemon)
	case world.Stepped:
		c.scheduled(o)
		if h := c.homes[o.Daemon]; h != nil {
			c.stepped(h, o)
		}
	case world.Applying:
		if h := c.homes[o.Daemon]; h != nil {
			c.applying(h, o)
		}
	case world.Committed:
		if h := c.homes[o.Daemon]; h != nil {
			c.committed(h, o)
		}
	case world.CommitFailed:
		c.failed[o.Daemon] = c.world.Now()
	case world.Settled:
		c.mirrored(o.Daemon)
	case world.Sent:
		if h := c.homes[o.Daemon]; h != nil {
			c.replied(h, o)
		}
	case world.Decapsulated:
		if d := o.Node.Daemon(); d != nil && c.homes[d] != nil {
			c.decapsulated(c.homes[d], o)
		}
		c.judged[Silence]++
		if len(c.strangers) > 0 && bytes.Contains(o.Inner, []byte(Marker)) {
			c.violated(Silence, "a stranger's packet came out of a tunnel of %s", o.Node.Name)
		}
	case world.Originated:
		c.silent(o)
		c.closed(o)
	case world.Failed:
		c.violated(Stream, "%s: %s", o.Node.Name, o.What)
	}
}

// silent judges what a node with a data plane sends to a stranger.
func (c *Checker) silent(o world.Originated) {
	if len(c.strangers) == 0 || o.Node.Plane() == nil {
		return
	}
	c.judged[Silence]++
	if ip, err := encap.ParseIPv4(o.Packet); err == nil && c.strangers[ip.Dst] {
		c.violated(Silence, "%s answers the stranger %v", o.Node.Name, ip.Dst)
	}
}

// closed judges what a mobile node sends in the clear: nothing from its home
// address, unless it is at home (threat T24).
func (c *Checker) closed(o world.Originated) {
	p := o.Node.Plane()
	if p == nil {
		return
	}
	ip, err := encap.ParseIPv4(o.Packet)
	if err != nil || !p.OwnsHome(ip.Src) {
		return
	}
	if _, d, err := encap.ParseUDP(o.Packet); err == nil && d.Dst.Port() == encap.Port {
		return // signalling: a deregistration is sent from the home address
	}
	c.judged[Closed]++
	if !p.AtHome(ip.Src) && !p.Visits(ip.Src) {
		c.violated(Closed, "%s sends in the clear from its home address %v to %v", o.Node.Name, ip.Src, ip.Dst)
	}
}

// scheduled judges a machine's deadlines.
func (c *Checker) scheduled(o world.Stepped) {
	deadline := o.Machine.Deadline()
	if _, wake := o.Event.(engine.Wake); wake {
		c.judged[Deadline]++
		if !deadline.IsZero() && !deadline.After(o.Now.Mono) {
			c.violated(Deadline, "%s/%d: after Wake the deadline is %v ago", o.Daemon.Node.Name, o.Shard, o.Now.Mono.Sub(deadline))
		}
	}
	// What an answer is for may be over before it comes: then nobody waits for it.
	if slices.ContainsFunc(o.Actions, func(a engine.Action) bool { _, asks := a.(engine.Ask); return asks }) {
		c.judged[Parked]++
		if o.Asked > 0 && deadline.IsZero() {
			c.violated(Parked, "%s/%d waits for %d answers without a deadline", o.Daemon.Node.Name, o.Shard, o.Asked)
		}
	}
}

// startedHome judges what the plane holds right after a start.
func (c *Checker) startedHome(h *home, o world.Started) {
	now := h.began
	for e := range o.Daemon.Node.Plane().List(context.Background()) {
		c.justified(h, e, now)
	}
}

// repairTime is how long a machine may take to repair what a failed commit
// left behind; it may have to wait for the disk itself.
const repairTime = 30 * time.Second

// mirrored compares what a daemon's machines call for with what its plane
// holds, once no commit is under way.
func (c *Checker) mirrored(d *world.Daemon) {
	if !d.Running() || !d.Settled() {
		return
	}
	if at, failed := c.failed[d]; failed && c.world.Now()-at < repairTime {
		return
	}
	c.judged[Mirrored]++
	plane := d.Node.Plane()
	want := make(map[forward.Key]forward.Entry)
	for i, m := range d.Machines() {
		p, ok := m.(engine.Persistent)
		if !ok {
			return
		}
		for e := range p.Entries() {
			e.Tunnels = slices.Clone(e.Tunnels)
			if _, twice := want[e.Key]; twice {
				c.violated(OneOwner, "%s: a second shard, %d, calls for %q", d.Node.Name, i, e.Key)
			}
			if e, ok := living(plane, e); ok {
				want[e.Key] = e
			}
		}
	}
	c.judged[OneOwner]++
	for _, k := range slices.Sorted(maps.Keys(want)) {
		for _, l := range slices.Sorted(maps.Keys(want)) {
			a, b := want[k], want[l]
			// Home addresses of visitors are unique at their home agents alone.
			if k < l && a.Role == b.Role && a.Role != forward.ForeignAgent && a.Inner.Overlaps(b.Inner) {
				c.violated(OneOwner, "%s: %q and %q both own %v", d.Node.Name, k, l, a.Inner)
			}
		}
	}
	homes := 0
	for have := range plane.List(context.Background()) {
		have, ok := living(plane, have)
		if !ok {
			continue
		}
		if have.Role == forward.HomeAgent {
			if have.Inner.Bits() == 32 {
				homes++
			}
			c.tunnels(d, have)
		}
		e, wanted := want[have.Key]
		delete(want, have.Key)
		switch {
		case !wanted:
			c.violated(Mirrored, "%s: the plane holds %s, which no machine calls for", d.Node.Name, world.EntryText(have))
		case !world.SameEntry(e, have):
			c.violated(Mirrored, "%s: the plane holds %s, the machine calls for %s", d.Node.Name, world.EntryText(have), world.EntryText(e))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		c.violated(Mirrored, "%s: the plane lacks %s", d.Node.Name, world.EntryText(want[k]))
	}
	if h := c.homes[d]; h != nil {
		c.judged[Bounded]++
		if homes > len(h.Peers) {
			c.violated(Bounded, "%s: %d bound home addresses for %d nodes", d.Node.Name, homes, len(h.Peers))
		}
	}
}

// tunnels judges the number of an entry's tunnels: as many as simultaneous
// bindings are allowed may send, and as many again may drain.
func (c *Checker) tunnels(d *world.Daemon, e forward.Entry) {
	h := c.homes[d]
	if h == nil {
		return
	}
	sending := 0
	for _, t := range e.Tunnels {
		if t.Mode != forward.Receive {
			sending++
		}
	}
	if sending > max(1, h.Bindings) || len(e.Tunnels) > 16 {
		c.violated(Bounded, "%s: %s has %d sending tunnels, allowed are %d", d.Node.Name, world.EntryText(e), sending, max(1, h.Bindings))
	}
}

// living is an entry without the tunnels whose time is over. A home agent's
// entry without a tunnel is no entry.
func living(p *world.Plane, e forward.Entry) (forward.Entry, bool) {
	e.Tunnels = slices.DeleteFunc(slices.Clone(e.Tunnels), func(t forward.Tunnel) bool { return !p.Live(t) })
	if e.Tunnels == nil {
		e.Tunnels = []forward.Tunnel{}
	}
	return e, e.Role != forward.HomeAgent || len(e.Tunnels) > 0
}
