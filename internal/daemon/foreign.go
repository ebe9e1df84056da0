package daemon

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"careof/internal/control"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/host/discovery"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/wire/adv4"
	"careof/wire/mip4"
)

// openDiscovery opens what agents hear by below IP: solicitations, and a
// foreign agent's visitors. Nothing is heard on a link before it is told of.
func (d *daemon) openDiscovery() (err error) {
	var links []string
	var port uint16
	if f := d.cfg.ForeignAgent; f != nil {
		links, port = append(links, f.Interfaces...), f.Port
	}
	if h := d.cfg.HomeAgent; h != nil {
		for _, l := range h.Interfaces {
			if !slices.Contains(links, l) {
				links = append(links, l)
			}
		}
	}
	if len(links) == 0 {
		return nil
	}
	d.discovery, err = discovery.New(links, port, discovery.Receiver{Discovery: d.discovered, Signal: d.visitorSignal})
	return err
}

// withdraw tells the visitors' links that the foreign agent ceases: visits do
// not outlive it, and the sooner visitors look for another agent the better. A
// home agent says nothing: its bindings stay, and it comes back to them.
//
//rfc:1256#4.3
func (d *daemon) withdraw() {
	if d.foreign == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := d.foreign.Command(ctx, advertise.Withdraw{Foreign: true}); err != nil {
		d.log.Warn("the last advertisements could not be sent", "error", err)
	}
}

// discovered gives a solicitation to whoever advertises.
func (d *daemon) discovered(ev engine.Discovery) {
	d.taps.discovery(false, ev.Link, ev.Src, ev.Dst, ev.TTL, ev.Data)
	if d.foreign != nil {
		d.foreign.Discovery(ev)
	} else if d.advertiser != nil {
		d.advertiser.Discovery(ev)
	}
}

func (d *daemon) closeDiscovery() {
	if d.bouncer != nil {
		d.bouncer.Close()
		d.bouncer = nil
	}
	if d.discovery != nil {
		d.discovery.Close()
		d.discovery = nil
	}
}

// listenForeign opens the foreign agent's sockets on its care-of addresses, from
// which it speaks to home agents.
func (d *daemon) listenForeign() (err error) {
	c := d.cfg.ForeignAgent
	if c == nil {
		return nil
	}
	for _, a := range c.CareOfAddresses {
		if err := d.sockets.Listen(netip.AddrPortFrom(a, c.Port)); err != nil {
			return d.failed("foreign-agent.care-of-address", err)
		}
	}
	d.bouncer, err = discovery.Bounces(c.Port, func(ev engine.Bounced) { d.foreign.Bounced(ev) })
	return err
}

// agentLink prepares an agent's link: it is listened to below IP, and on a
// visitors' link the addresses have a socket, or the kernel would answer visitors' requests with
// "port unreachable".
//
//rfc:5944#2.3-3
func (d *daemon) agentLink(l engine.Link) {
	if d.discovery == nil {
		return
	}
	fail := func(err error) {
		if err != nil {
			d.hub.note(note.Note{Kind: note.Failed, Level: note.Warn, Link: l.Name, Why: err.Error()})
		}
	}
	fail(d.discovery.LinkChanged(l))
	if h := d.cfg.HomeAgent; h != nil && !l.Gone && slices.Contains(h.Interfaces, l.Name) {
		// "All mobility agents MUST process packets that they receive addressed
		// to the Mobile-Agents multicast group" (RFC 5944 section 2.3).
		fail(d.sockets.Join(netip.AddrPortFrom(adv4.MobileAgents, h.Port), l.Name))
	}
	if d.cfg.ForeignAgent == nil || !slices.Contains(d.cfg.ForeignAgent.Interfaces, l.Name) || l.Gone {
		return
	}
	listen := d.sockets.Listen
	if d.cfg.HomeAgent == nil {
		listen = d.sockets.ListenForReplies
	}
	for _, p := range l.Addresses {
		fail(listen(netip.AddrPortFrom(p.Addr(), d.cfg.ForeignAgent.Port)))
	}
}

// sendingForeign sends for the foreign agent: to visitors by their link-layer
// addresses, to home agents by routing.
func (d *daemon) sendingForeign(messages []engine.Send, refused func(*engine.Send, error)) {
	byRouting := func(m engine.Send) bool { return m.HW == (engine.HardwareAddr{}) }
	for len(messages) > 0 {
		n := 0
		for n < len(messages) && byRouting(messages[n]) {
			n++
		}
		if n > 0 {
			d.sendingAll(messages[:n], refused)
			messages = messages[n:]
			continue
		}
		if err := d.discovery.SendTo(messages[0]); err != nil {
			refused(&messages[0], err)
		} else {
			d.showSent(&messages[0])
		}
		messages = messages[1:]
	}
}

// visitorSignal takes what the visitors' links carry to port 434, with its
// link-layer source.
func (d *daemon) visitorSignal(p engine.Packet) {
	if d.isVisitors(p) {
		d.taps.message(false, p.Link, p.Src, p.Dst, p.TTL, p.Data)
		d.foreign.Packet(p)
	}
}

// foreignSignal takes what the UDP sockets hear for the foreign agent: replies
// to a care-of address. A visitor's request is dropped here: it has been
// heard with its link-layer source.
func (d *daemon) foreignSignal(p engine.Packet) bool {
	c := d.cfg.ForeignAgent
	if c == nil {
		return false
	}
	if mip4.MessageType(p.Data[0]) == mip4.TypeRegistrationReply {
		if !slices.Contains(c.CareOfAddresses, p.Dst.Addr()) || p.Dst.Port() != c.Port {
			return false
		}
		d.foreign.Packet(p)
		return true
	}
	if d.notifiesForeign(p) {
		d.foreign.Packet(p)
		return true
	}
	if mip4.MessageType(p.Data[0]) == mip4.TypeExperimentalMessage && slices.Contains(c.CareOfAddresses, p.Dst.Addr()) {
		d.foreign.Packet(p)
		return false // or it is for a home agent of this host
	}
	if toForeignAgent(p) {
		d.foreign.Packet(p)
		return mip4.MessageType(p.Data[0]) == mip4.TypeRevocation
	}
	return d.isVisitors(p)
}

// toForeignAgent tells whether a message is a home agent's revocation, or may
// acknowledge the foreign agent's: then a home agent of the same host may mean
// it too, and matches its own.
func toForeignAgent(p engine.Packet) bool {
	switch mip4.MessageType(p.Data[0]) {
	case mip4.TypeRevocation:
		return fromHomeAgent(p)
	case mip4.TypeRevocationAck:
		return true
	}
	return false
}

// fromHomeAgent reads the A bit of a revocation (RFC 3543 section 3.3).
func fromHomeAgent(p engine.Packet) bool { return len(p.Data) > 2 && p.Data[2]&0x80 != 0 }

// isVisitors tells whether a message is for the foreign agent and not for a
// home agent on the same link: a request, or a visitor's notification, that came in on a visitors' link, but
// for one to the home agent's own address, or a broadcast one, that names this
// home agent (RFC 5944 section 3.7.2: "If the foreign agent serves the mobile
// node as a home agent, the foreign agent follows the procedures specified in
// Section 3.8.2").
func (d *daemon) isVisitors(p engine.Packet) bool {
	if !slices.Contains(d.cfg.ForeignAgent.Interfaces, p.Link) || len(p.Data) == 0 ||
		mip4.MessageType(p.Data[0]) != mip4.TypeRegistrationRequest && !ofVisitor(p) {
		return false
	}
	h := d.cfg.HomeAgent
	if h == nil {
		return true
	}
	const fixed, agentAt = 24, 8
	if len(p.Data) < fixed {
		return false
	}
	to := p.Dst.Addr()
	for _, n := range d.live.config().HomeAgent.Networks {
		if to == ha.DirectedBroadcast(n.Prefix) {
			return false
		}
	}
	if !slices.Contains(h.Addresses, to) && to != h.LocalAddress && to != limitedBroadcast {
		return true
	}
	named := netip.AddrFrom4([4]byte(p.Data[agentAt : agentAt+4]))
	return !slices.Contains(h.Addresses, named)
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// advertisements shows what this agent says of itself, link by link.
func (d *daemon) advertisements(ctx context.Context) (any, error) {
	agent := d.foreign
	if agent == nil {
		agent = d.advertiser
	}
	list, err := ask[advertise.LinkStatus](ctx, agent, advertise.ListLinks{})
	if err != nil {
		return nil, err
	}
	out := []control.Advertisement{}
	for _, l := range list {
		out = append(out, control.Advertisement{
			Interface: l.Link, Active: l.Active, Flags: l.Flags, CareOfAddresses: append([]netip.Addr{}, l.CareOfAddresses...),
			Sequence: l.Sequence, Interval: control.Seconds(l.Interval), MaxLifetime: control.Seconds(time.Duration(l.Lifetime) * time.Second),
		})
	}
	return out, nil
}

// visitors shows the foreign agent's visitor list.
func (d *daemon) visitors(ctx context.Context) (any, error) {
	list, err := ask[fa.VisitorInfo](ctx, d.foreign, fa.ListVisitors{})
	if err != nil {
		return nil, err
	}
	out := []control.Visitor{}
	for _, v := range list {
		one := control.Visitor{
			HomeAddress: v.HomeAddress, NAI: v.NAI, HomeAgent: v.HomeAgent, CareOfAddress: v.CareOfAddress,
			Interface: v.Link, LinkLayerAddress: v.HW, State: v.State, Encapsulation: v.Encapsulation, Delivery: v.Delivery,
			Source: v.Source, Flags: v.Flags, Requested: control.Seconds(v.Asked), GREKey: v.GREKey,
			Granted: control.Seconds(v.Granted), Remaining: control.Seconds(v.Left), Since: v.Since,
			Identification: v.Identification, Authenticated: v.Authenticated,
		}
		if v.Key != "" {
			one.Counters = d.plane.Counters(forward.Key(v.Key))
		}
		out = append(out, one)
	}
	return out, nil
}

// homeNote takes what the home agent tells where a foreign agent runs beside
// it. A node that has come home, or registered elsewhere, did not pass the
// foreign agent on its way; this host's own packets for it would still go to
// the visited link.
func (d *daemon) homeNote(n note.Note) {
	d.hub.note(n)
	gone := n.Kind == note.Unbound || n.Kind == note.Expired ||
		n.Kind == note.Moved && !slices.Contains(d.cfg.ForeignAgent.CareOfAddresses, n.CareOfAddress)
	if !gone || d.foreign == nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), readyLimit)
		defer cancel()
		// When it does not answer, the visit ends with its lifetime.
		_, _ = d.foreign.Command(ctx, fa.Left{HomeAddress: n.HomeAddress, HomeAgents: d.cfg.HomeAgent.Addresses})
	}()
}
