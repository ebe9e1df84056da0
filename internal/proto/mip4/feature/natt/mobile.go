package natt

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/mn"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// mobile is NAT traversal at a mobile node with a co-located care-of address.
type mobile struct {
	cfg  Config
	node *mn.Node

	// outcome is what the home agent decided last over each link, which is
	// the best guess at what it will decide next there.
	outcome map[string]bool
	// gateway is the link-layer address of each link's gateway, as last seen.
	gateway map[string]engine.HardwareAddr
	// inside replaces the configured encapsulation after code 142.
	inside map[mn.RegistrationKey]uint8
	keeps  map[mn.RegistrationKey]*keepalive
	// lessons are of the networks that the node has been in, the oldest first.
	lessons []lesson
}

// A keepalive keeps the NAT's mapping of one registration.
type keepalive struct {
	registration *mn.Registration
	assigned     time.Duration // by the home agent, or the own default
	interval     time.Duration // in use: assigned, or what was learnt of the network
	next         time.Time     // when to look again; zero: not before the next registration
	first        bool          // the home agent has not heard of the mapping yet
	lost         bool          // the mapping was lost; shorten the interval when registered again
	moved        bool          // attached to another network since
	asking       bool          // the data plane is being asked

	awaiting bool // an echo request has not been answered
	tries    int
	id, seq  uint16
	sent     time.Time // the last echo request, or the Registration Request
	heard    time.Time // when the path was last known to be good

	search search // for a longer interval
}

const (
	// keepaliveTries is how many echo requests go unanswered before the
	// mapping counts as lost: "even after a number of retransmissions".
	keepaliveTries = 3
	// keepaliveWait is the least time to wait for the first answer; it doubles.
	keepaliveWait = time.Second
	// glance is how often the data plane is asked whether packets still come
	// back. A NAT can forget a mapping that is in use; at the default
	// interval of 110 s a node would send into the void for so long.
	glance = MinKeepalive
)

// addMobile adds the feature to a mobile node.
func addMobile(cfg Config, n *mn.Node) error {
	if cfg.Mode == Off {
		return nil
	}
	m := &mobile{
		cfg: cfg, node: n,
		outcome: make(map[string]bool),
		gateway: make(map[string]engine.HardwareAddr),
		inside:  make(map[mn.RegistrationKey]uint8),
		keeps:   make(map[mn.RegistrationKey]*keepalive),
	}
	n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtUDPTunnelReply, Max: 1})
	n.Encapsulation(mn.Encapsulation{Feature: Name, Kind: encap.UDP})
	n.Heard.Add(Name, "gateway", m.heard)
	n.Request.Add(Name, "ask", m.request)
	n.Accepted.Add(Name, "tunnel", m.accepted)
	n.Denied.Add(Name, "encapsulation", m.denied)
	n.Choose.Add(Name, "keepalive", m.choose)
	n.Timer(Name, m.deadline, m.due)
	n.OnPlane(Name, m.plane)
	return nil
}

// heard: "A change in the link layer address indicates probable movement to a
// new network, even if the IP address remains reachable using the new link
// layer address."
//
//rfc:3519#5.1
func (m *mobile) heard(x *mn.Hearing) engine.Verdict {
	link, hw := x.New.Name, x.New.GatewayHW
	if x.Attached {
		// The gateway of the network before says nothing about this one.
		delete(m.gateway, link)
	}
	if hw != (engine.HardwareAddr{}) {
		if known, ok := m.gateway[link]; ok && known != hw && x.New.Up {
			x.Attached = true
		}
		if _, known := m.gateway[link]; !known {
			// The address had to be asked for: what is known of this network
			// is known from now on.
			m.gateway[link] = hw
			for key, k := range m.keeps {
				if key.Link == link && !k.moved {
					m.apply(k, link, k.interval)
				}
			}
		}
		m.gateway[link] = hw
	}
	if x.Attached {
		// "it SHOULD return to its original keepalive interval", and what was
		// learnt behind the other NAT is worth nothing here.
		delete(m.outcome, link)
		for key, k := range m.keeps {
			if key.Link == link {
				k.moved = true
			}
		}
	}
	return engine.Next()
}

// request asks for UDP tunnelling: "MAY be used in a Mobile IP Registration
// Request from the mobile node to the home agent when the mobile node uses a
// co-located care-of address. It SHALL NOT be used by the mobile node when it
// is registering with a foreign agent care-of address." It stands "before the
// Mobile-Home Authentication Extension".
//
//rfc:3519#3.1
//rfc:3519#4.4
//rfc:3519#3.1.2-1
//rfc:3519#3.1.5-1
//rfc:3519#3.1.5-2
//rfc:3519#4.4-1
//rfc:3519#4.4-2
//rfc:3519#4.4-8
//rfc:3519#4.11-1
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	if !x.Request.Flags.Has(mip4.FlagD) {
		return engine.Next()
	}
	key := x.Registration.Key
	through := key.Agent.IsValid()
	if through && !m.node.AgentFlags(x.Registration).Has(adv4.FlagU) {
		// "If the foreign agent is not advertising the 'U' flag, the mobile
		// node MUST NOT include the UDP Tunnel Request".
		return engine.Next()
	}
	field := m.cfg.Encapsulation
	if v, ok := m.inside[key]; ok {
		field = v
	}
	x.Translated = !through && m.translated(key)
	x.Add(mip4.ZoneHome, &mip4.UDPTunnelRequest{ForceFlag: m.cfg.Mode == Force, Registration: through, Encap: field})
	if len(x.Tunnels) == 0 {
		return engine.Next()
	}
	t := forward.Tunnel{
		Local: netip.AddrPortFrom(key.CareOf, 0),
		Peer:  m.node.AtHomeAgent(key.HomeAgent),
		Link:  x.Link,
		Encap: encap.UDP, Inside: m.form(field, x.Request.Flags),
	}
	if m.likely(key) {
		x.Tunnels = slices.Insert(x.Tunnels, 0, t)
	} else {
		x.Tunnels = append(x.Tunnels, t)
	}
	return engine.Next()
}

// form is what will be inside the UDP tunnel: the Encapsulation field, or
// when it is zero what the M and G bits say.
//
//rfc:3519#3.1.4
func (m *mobile) form(field uint8, flags mip4.RequestFlags) encap.Kind {
	if field != 0 {
		return encap.Kind(field)
	}
	return m.node.EncapOf(flags)
}

// likely guesses whether the home agent will choose UDP.
func (m *mobile) likely(key mn.RegistrationKey) bool {
	if m.cfg.Mode == Force {
		return true
	}
	if was, ok := m.outcome[key.Link]; ok {
		return was
	}
	return private(key.CareOf) && !private(key.HomeAgent)
}

// translated guesses whether a NAT is on the way. UDP that is forced says
// nothing about that.
func (m *mobile) translated(key mn.RegistrationKey) bool {
	return m.cfg.Mode != Force && m.outcome[key.Link] || private(key.CareOf) && !private(key.HomeAgent)
}

// shared is the address space that carriers put between their NAT and the
// customer (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

func private(a netip.Addr) bool { return a.IsPrivate() || shared.Contains(a) }

// accepted reads the UDP Tunnel Reply. "If the mobile node includes the UDP
// Tunnel Request extension in a registration request, but receives a
// registration reply without a UDP Tunnel Reply extension, it MUST assume
// that the HA does not understand this extension, and it MUST NOT use UDP
// tunnelling."
//
//rfc:3519#3.2
//rfc:3519#4.4
//rfc:3519#3.1.1-3
//rfc:3519#4.4-3
//rfc:3519#4.6-13
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	key := x.Registration.Key
	reply, count, err := mip4.Get[mip4.UDPTunnelReply](x.Message)
	if err != nil {
		return engine.Drop(err.Error())
	}
	if count > 0 {
		// One that the authenticator does not cover is for an agent on the way.
		e, _ := x.Message.Find(mip4.ExtUDPTunnelReply)
		if last, ok := x.Message.LastAuthorizing(); ok && e.Off > last.Off {
			return engine.Drop("UDP Tunnel Reply is not authenticated")
		}
	}
	if count == 0 || !reply.Code.Assent() {
		m.outcome[key.Link] = false
		delete(m.keeps, key)
		return engine.Next()
	}
	m.outcome[key.Link] = true
	field := m.cfg.Encapsulation
	if v, ok := m.inside[key]; ok {
		field = v
	}
	x.Encap, x.Inside = encap.UDP, m.form(field, x.Sent.Request.Flags)
	x.Peer = m.node.AtHomeAgent(key.HomeAgent)
	m.keep(x, reply)
	return engine.Next()
}

// keep sets the keepalive interval: the home agent's, or the own default when
// it leaves the choice to the node; "However, the mobile node MUST NOT use a
// keepalive less than 10 seconds". It is shorter after the mapping was lost in
// this network.
//
// "The MN or FA will send its first keepalive message at the earliest K
// seconds after the registration request was sent."
//
//rfc:3519#4.9
//rfc:3519#4.10
//rfc:3519#3.2-1
//rfc:3519#3.2-3
//rfc:3519#4.4-7
//rfc:3519#4.10-2
//rfc:3519#4.10-3
func (m *mobile) keep(x *mn.Response, reply mip4.UDPTunnelReply) {
	key := x.Registration.Key
	assigned := time.Duration(reply.Keepalive) * time.Second
	if assigned == 0 {
		assigned = cmp.Or(m.cfg.Keepalive, DefaultKeepalive)
	}
	assigned = max(assigned, MinKeepalive)
	k := m.keeps[key]
	switch {
	case k == nil || k.moved:
		k = &keepalive{registration: x.Registration, id: uint16(m.node.Rand().Uint32())}
		m.apply(k, key.Link, assigned)
		m.keeps[key] = k
	case k.lost:
		k.search.lost(min(k.interval, assigned), m.node.Now().Mono)
		k.interval = max(min(k.interval, assigned)/2, MinKeepalive)
		m.remember(k)
	default:
		k.interval = min(k.interval, assigned)
	}
	k.registration = x.Registration
	k.assigned = assigned
	k.lost, k.awaiting, k.tries = false, false, 0
	k.sent, k.heard = x.Sent.At, m.node.Now().Mono
	k.next = k.sent.Add(min(k.interval, glance))
	if key.Agent.IsValid() {
		// Through a foreign agent the home agent has not seen the NAT's mapping:
		// "the mobile node MUST send a keepalive as soon as the registration
		// has been accepted".
		k.first, k.next = true, m.node.Now().Mono
		return
	}
	if k.search.next.IsZero() {
		k.rests(m.node.Now().Mono, rest)
	}
}

// denied: "The mobile node MAY retry with another encapsulation" (code 142).
// IP-in-UDP is the one that every home agent has.
//
//rfc:3519#3.5
func (m *mobile) denied(x *mn.Response) engine.Verdict {
	key := x.Registration.Key
	if x.Reply.Code != mip4.CodeUDPEncapUnavailable || m.inside[key] == uint8(encap.IPIP) {
		return engine.Next()
	}
	if _, replaced := m.inside[key]; !replaced && m.cfg.Encapsulation == uint8(encap.IPIP) {
		return engine.Next()
	}
	m.inside[key] = uint8(encap.IPIP)
	x.Retry = true
	return engine.Next()
}
