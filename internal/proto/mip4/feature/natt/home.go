package natt

import (
	"net/netip"
	"time"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// addHome adds NAT traversal to a home agent (RFC 3519 section 4.6).
func addHome(cfg Config, a *ha.Agent) error {
	h := &home{cfg: cfg, agent: a, request: new(ha.Slot[tunnelRequest]), open: make(map[string]opening)}
	if h.cfg.Keepalive == 0 {
		h.cfg.Keepalive = DefaultKeepalive
	}
	if h.cfg.HalfBound == 0 {
		h.cfg.HalfBound = DefaultHalfBound
	}
	a.Claims.Add(ha.Claim{
		Feature: Name, Type: mip4.ExtUDPTunnelRequest, From: "mobile node or foreign agent",
		Max: 1, Section: "3519#3.1",
	})
	a.Bind.Add(Name, "udp-tunnel", h.bind)
	a.Reply.Add(Name, "udp-tunnel", h.reply)
	a.OnBound(h.bound)
	a.OnRestored(h.bound)
	a.OnUnbound(func(n *ha.Node, b binding.Binding, _ ha.Reason) { h.close(openingKey(n, b.ID)) })
	a.OnPlane(h.plane)
	a.AddTimer(h.deadlines.Next, h.overdue)
	return nil
}

// home is the feature's part of one home agent.
type home struct {
	cfg     Config
	agent   *ha.Agent
	request *ha.Slot[tunnelRequest]

	// open are the registrations with the R flag whose first keepalive may
	// still come, with their deadlines.
	open      map[string]opening
	deadlines engine.Agenda[string]
}

type opening struct {
	node *ha.Node
	id   binding.ID
}

func openingKey(n *ha.Node, id binding.ID) string { return string(n.Key()) + "/" + id.String() }

// An outcome is what the home agent decided about a UDP Tunnel Request.
type outcome uint8

const (
	unasked  outcome = iota // no extension, or one that is skipped
	declined                // answered with code 64
	assented                // answered with code 0
)

// tunnelRequest is what the feature knows of a request.
type tunnelRequest struct {
	outcome   outcome
	relayed   bool // the foreign agent added the extension
	forced    bool // because of the F flag
	halfBound bool // R flag: the port comes with the first keepalive
}

// bind decides about UDP tunnelling and replaces the base's endpoint and
// encapsulation.
//
// "The home agent MUST use a mismatch between source IP address and care-of
// address in the Mobile IP Registration Request message as the indication that
// a mobile node may reside behind a NAT" (RFC 3519 section 4.6).
//
//rfc:3519#4.6
//rfc:3519#4.6.1
//rfc:3519#3.1
//rfc:3519#3.1-3
//rfc:3519#3.1.3-1
//rfc:3519#4.6.1-3
//rfc:3519#4.6.1-4
//rfc:3519#4.6.1-5
//rfc:3519#4.4-6
func (h *home) bind(x *ha.Exchange) engine.Verdict {
	e, n := x.Message.Find(mip4.ExtUDPTunnelRequest)
	if n == 0 || x.Deregisters() {
		return engine.Next()
	}
	ask, err := mip4.Decode[mip4.UDPTunnelRequest](e)
	if err != nil {
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "malformed UDP Tunnel Request")
	}
	if ask.Reserved != 0 {
		// "the 'Reserved 3' field must be 0 on receipt, otherwise this
		// extension MUST be handled as not understood and silently skipped"
		// (section 3.1.3); section 4.6.1 wants 134 instead.
		if h.cfg.StrictReserved {
			return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "Reserved 3 of the UDP Tunnel Request is not zero")
		}
		return engine.Next()
	}
	r := h.request.Of(x)
	co := x.Request.Flags.Has(mip4.FlagD)
	r.relayed = !co
	if last, signed := x.Message.LastAuthorizing(); signed {
		r.relayed = e.Off > last.Off
	}
	// "UDP Tunnel Request extension sent by the mobile node (placed before the
	// MN-HA authentication extension), but 'D' bit in registration request
	// header not set", or by the foreign agent with it set: "The home agent
	// SHOULD send a Registration Reply with the Code field set to 134".
	if r.relayed == co {
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "UDP Tunnel Request and D bit contradict each other")
	}
	return h.decide(x, r, ask)
}

// decide takes a well-formed UDP Tunnel Request.
//
//rfc:3519#3.1.1-1
//rfc:3519#3.1.1-2
//rfc:3519#4.1-1
//rfc:3519#4.1-2
//rfc:3519#4.1-3
//rfc:3519#4.1-4
//rfc:3519#4.6-2
//rfc:3519#4.6-3
//rfc:3519#4.6-4
//rfc:3519#4.6-5
//rfc:3519#4.6-6
//rfc:3519#4.6-12
//rfc:3519#4.6.1-1
//rfc:3519#4.6.1-2
//rfc:3519#4.6.1-6
//rfc:3519#6-1
func (h *home) decide(x *ha.Exchange, r *tunnelRequest, ask mip4.UDPTunnelRequest) engine.Verdict {
	source := x.Packet.Src
	mismatch := source.Addr() != x.Request.CareOfAddress
	// A co-located request that a known foreign agent relayed differs in its
	// source because of that; only the R flag says that a NAT is there too.
	if mismatch && !r.relayed && !ask.Registration && x.ForeignAgent != nil && x.ForeignAgent.Address == source.Addr() {
		mismatch = false
	}
	off := h.cfg.Mode == Off || !h.agent.Offers(encap.UDP)
	switch {
	case mismatch && off:
		// "NAT detected by home agent, but traversal not allowed: ... the
		// home agent SHOULD send a Registration Reply with the Code field set
		// to 129".
		return engine.Deny(uint8(mip4.CodeHAProhibited), "NAT traversal is switched off")
	case !mismatch && ask.ForceFlag && (off || h.cfg.RefuseForce):
		// "NAT not detected, 'F' flag set, but home agent does not allow
		// forced use of MIP UDP tunnelling: ... 129".
		return engine.Deny(uint8(mip4.CodeHAProhibited), "forced UDP tunnelling is not allowed")
	case !mismatch && !ask.ForceFlag && (off || h.cfg.Mode != Force):
		// "the home agent SHOULD respond with a Registration Reply containing
		// a declining UDP Tunnel Reply".
		r.outcome = declined
		return engine.Next()
	}
	inside := x.Encap // what M and G ask for
	if ask.Encap != 0 {
		// "if it is non-zero, it indicates that a particular encapsulation is
		// desired" (section 3.1.4): never silently another one.
		inside = encap.Kind(ask.Encap)
		if inside == encap.UDP || !inside.Known() || !h.agent.Offers(inside) {
			return engine.Deny(uint8(mip4.CodeUDPEncapUnavailable), "requested encapsulation inside UDP is not offered")
		}
		x.EncapOffered = true
	}
	r.outcome, r.forced = assented, !mismatch && ask.ForceFlag
	x.Encap, x.Inside = encap.UDP, inside
	x.SourceAccepted = true
	// "After assent from the home agent, MIP UDP tunnelling will be available
	// for use for both forward and reverse tunnelling" (section 2): without it
	// no keepalive could come in.
	x.Mode = forward.Both
	// "If the home agent assents to UDP tunnelling, it MUST use the source
	// address of the registration request as the effective care-of address".
	x.Endpoint = source
	if ask.Registration && mismatch {
		r.halfBound = true
		h.halfBound(x)
	}
	if h.cfg.NATLifetime > 0 {
		// "it is RECOMMENDED to use a conservative (that is, short) mobility
		// binding lifetime when using the NAT traversal mechanism" (section 6).
		x.Limit(h.cfg.NATLifetime)
	}
	return engine.Next()
}

// halfBound leaves the port open: "the home agent MUST wait for the first
// keepalive packet from the mobile node to arrive, before it can send traffic
// back to the correct NAT port" (RFC 3519 section 4.6). A registration that is
// merely renewed keeps the port that it has.
//
//rfc:3519#4.6
//rfc:3519#4.6-7
func (h *home) halfBound(x *ha.Exchange) {
	for _, b := range x.Node.Bindings() {
		t := b.Tunnel
		if b.ID == x.ID && t.Encap == encap.UDP && !t.AnyPort && t.Peer.Addr() == x.Endpoint.Addr() && b.Live(x.Now().Mono) {
			x.Endpoint = t.Peer
			return
		}
	}
	x.Endpoint = netip.AddrPortFrom(x.Endpoint.Addr(), 0)
	x.AnyPort = true
}

// reply answers the extension.
//
// "The UDP Tunnel Reply Extension MUST be used in a Mobile IP Registration
// Reply from the home agent to the mobile node when it has received and
// accepted a UDP Tunnel Request" (RFC 3519 section 4.6). Where it stands
// follows from who asked: before the mobile node's authenticator, or after it,
// where the foreign agent takes it off.
//
//rfc:3519#4.6
//rfc:3519#3.2
//rfc:3519#4.6-1
//rfc:3519#4.10-4
func (h *home) reply(x *ha.Exchange) engine.Verdict {
	r := h.request.Of(x)
	if !x.Accepted() || r.outcome == unasked {
		return engine.Next()
	}
	answer := &mip4.UDPTunnelReply{Code: mip4.UDPTunnelDeclined}
	if r.outcome == assented {
		answer.Code, answer.Force = mip4.UDPTunnelAccepted, r.forced
		answer.Keepalive = uint16(min(h.cfg.Keepalive/time.Second, 0xffff))
	}
	zone := mip4.ZoneHome
	if r.relayed {
		zone = mip4.ZoneForeign
	}
	x.Draft.Add(zone, answer)
	if r.halfBound {
		// From here on the first keepalive may come, on a refresh too.
		h.opens(x.Node, x.ID)
	}
	return engine.Next()
}

// opens lets one keepalive tell the port.
func (h *home) opens(n *ha.Node, id binding.ID) {
	key := openingKey(n, id)
	h.open[key] = opening{n, id}
	h.deadlines.Set(key, h.agent.Now().Mono.Add(h.cfg.HalfBound))
}

func (h *home) close(key string) {
	delete(h.open, key)
	h.deadlines.Clear(key)
}

// bound starts the wait of a half-bound registration when it has become true,
// or was restored.
func (h *home) bound(n *ha.Node, b binding.Binding) {
	if b.Tunnel.AnyPort {
		h.opens(n, b.ID)
	}
}

// overdue gives up half-bound registrations whose keepalive did not come: an
// open port is an invitation (RFC 3519 section 6.1.2).
func (h *home) overdue() {
	for {
		key, due := h.deadlines.Due(h.agent.Now().Mono)
		if !due {
			return
		}
		o := h.open[key]
		delete(h.open, key)
		for _, b := range o.node.Bindings() {
			if b.ID == o.id && b.Tunnel.AnyPort {
				h.agent.Remove(o.node, o.id, NoKeepalive)
			}
		}
	}
}

// NoKeepalive ends a half-bound registration.
const NoKeepalive ha.Reason = "no keepalive came"

// plane takes the first keepalive of a half-bound registration. Any other
// packet from an unexpected endpoint changes nothing: only a registration
// moves a binding.
//
// "the home agent MUST check that the outer source address (but not the port)
// of this keepalive packet is identical with the source address of the
// corresponding registration request ... If all this holds, the outer source
// address and port of this keepalive packet SHALL be used by the HA" (RFC 3519
// section 4.6).
//
//rfc:3519#4.6
//rfc:3519#4.11
//rfc:3519#4.6-8
//rfc:3519#4.6-10
//rfc:3519#6.1.2-1
func (h *home) plane(n *ha.Node, ev forward.Event) {
	seen, ok := ev.(forward.EndpointSeen)
	if !ok || !seen.Echo || seen.From.Port() == 0 {
		return
	}
	for _, b := range n.Bindings() {
		key := openingKey(n, b.ID)
		if _, waits := h.open[key]; !waits || b.Tunnel.Encap != encap.UDP || seen.From.Addr() != b.Source.Addr() {
			continue
		}
		h.close(key)
		h.agent.Update(n, b.ID, func(b *binding.Binding) {
			b.Tunnel.Peer, b.Tunnel.AnyPort = seen.From, false
		})
		h.agent.Tell(note.Note{
			Kind: KeepaliveBound, HomeAddress: n.Home(), CareOfAddress: b.CareOfAddress, Endpoint: seen.From,
		})
		return
	}
}

// KeepaliveBound says that the first keepalive completed a half-bound
// registration.
const KeepaliveBound note.Kind = "keepalive-bound"
