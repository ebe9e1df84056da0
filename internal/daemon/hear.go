package daemon

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"careof/internal/config"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/host/link"
	"careof/internal/host/sock"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// listen opens a home agent's sockets: its addresses, and the broadcast
// addresses to which mobile nodes send when they look for a home agent. Both
// the directed broadcast and 255.255.255.255, to which some routers rewrite
// it, are heard (RFC 5944 section 3.8.3.2).
func (d *daemon) listen() error {
	c := d.cfg.HomeAgent
	if c == nil {
		return nil
	}
	for _, a := range d.localAddresses() {
		if err := d.sockets.ListenMany(netip.AddrPortFrom(a, c.Port), c.ReceiveSockets); err != nil {
			return d.failed("home-agent.address", err)
		}
	}
	d.listenNetworks(c)
	if len(c.Interfaces) == 0 {
		return nil
	}
	if err := d.sockets.Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), c.Port)); err != nil {
		d.log.Warn("home agent discovery by limited broadcast will not be heard", "error", err)
	}
	return nil
}

// listenNetworks hears what is sent to the home networks' broadcast addresses.
func (d *daemon) listenNetworks(c *config.HomeAgent) {
	for _, n := range c.Networks {
		// Of an attached network the link has the broadcast address, of a
		// virtual one the device.
		if err := d.sockets.Listen(netip.AddrPortFrom(ha.DirectedBroadcast(n.Prefix), c.Port)); err != nil {
			d.log.Warn("home agent discovery by directed broadcast will not be heard", "network", n.Prefix, "error", err)
		}
	}
}

// signal gives a message to the role that it is for.
func (d *daemon) signal(p engine.Packet) {
	if len(p.Data) == 0 || d.canary.hears(p) {
		return
	}
	if d.foreign == nil || !d.isVisitors(p) { // those are heard below IP too
		d.taps.message(false, p.Link, p.Src, p.Dst, p.TTL, p.Data)
	}
	if d.foreignSignal(p) {
		return
	}
	t := mip4.MessageType(p.Data[0])
	answer := t == mip4.TypeRegistrationReply || t == mip4.TypeRevocation && fromHomeAgent(p) || toMobileNode(p)
	if d.mobile != nil && (answer || t == mip4.TypeExperimentalMessage) {
		d.mobile.Packet(p) // the suite's own message may be a home agent's to its node, or to another home agent
	}
	if d.home == nil || answer {
		return
	}
	if d.comesHome(p) {
		// The gratuitous ARP that ends interception names the node's own
		// link-layer address (RFC 5944 section 4.6).
		if hw, err := d.plane.Neighbour(p.Link, p.Src.Addr()); err == nil {
			p.HW = hw
		}
	}
	d.home.Packet(p)
}

// comesHome tells whether a message may be a deregistration from the home
// link: a request with Lifetime 0.
func (d *daemon) comesHome(p engine.Packet) bool {
	return len(p.Data) >= 4 && mip4.MessageType(p.Data[0]) == mip4.TypeRegistrationRequest &&
		p.Data[2] == 0 && p.Data[3] == 0 && slices.Contains(d.cfg.HomeAgent.Interfaces, p.Link)
}

// data gives tunnel data to the plane.
func (d *daemon) data(batch []sock.Data) { d.plane.Tunnels().Deliver(batch) }

// icmp takes an ICMP error about what left over IPv6.
func (d *daemon) icmp(packet []byte) { d.plane.Tunnels().OuterError(packet) }

// watch follows the links. The netlink socket can overflow; watching then
// starts again, and tells every state anew.
func (d *daemon) watch(ctx context.Context) error {
	ignore := func(name string, pointToPoint bool) bool {
		return name == d.cfg.Plane.Device || pointToPoint && !d.named(name)
	}
	for {
		err := link.Watch(ctx, ignore, d.renamed, d.linkChanged)
		if err == nil {
			return nil
		}
		d.log.Warn("watching links anew", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// named tells whether the configuration names an interface: of those with two
// ends these are modems, and all others somebody's tunnels.
func (d *daemon) named(link string) bool {
	c := d.live.config()
	return c.MobileNode != nil && slices.Contains(uplinkNames(c.MobileNode), link) ||
		c.ForeignAgent != nil && slices.Contains(c.ForeignAgent.Interfaces, link) ||
		c.HomeAgent != nil && slices.Contains(c.HomeAgent.Interfaces, link)
}

func (d *daemon) linkChanged(l engine.Link, more bool) {
	d.linking.Lock()
	defer d.linking.Unlock()
	d.live.link(l)
	seen := d.translated(l)
	d.sockets.Addresses(seen)
	d.agentLink(l)
	d.visitingLink(l)
	if d.leases.Load() != nil {
		d.leases.Load().LinkChanged(l)
	}
	if err := d.plane.LinkChanged(seen); err != nil {
		d.hub.note(note.Note{Kind: note.Failed, Level: note.Warn, Link: l.Name, Why: err.Error()})
	}
	for _, driver := range d.drivers() {
		switch {
		case driver == nil:
		case driver == d.mobile:
			driver.Link(seen, more)
		default:
			driver.Link(l, more)
		}
	}
	kind := note.LinkUp
	if !l.Up || l.Gone {
		kind = note.LinkDown
	}
	d.hub.note(note.Note{Kind: kind, Level: note.Debug, Link: l.Name})
}

// planeEvents hands what packets told the plane to the role whose entry it is.
func (d *daemon) planeEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case ev, open := <-d.plane.Events():
			if !open {
				return
			}
			for _, driver := range d.drivers() {
				if driver != nil {
					driver.PlaneEvent(ev)
				}
			}
		}
	}
}
