package mobilenetwork

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// mobile is the feature's part of one mobile router.
type mobile struct {
	node     *mn.Node
	implicit bool
	networks []network
	// What home agents do not want to hear again. It is forgotten when the
	// process ends.
	disallowed map[netip.Addr]bool                  // any prefix: code 148
	stopped    map[netip.Addr]map[netip.Prefix]bool // these: code 147
	later      map[netip.Addr]time.Time             // monotonic, when a prefix may be asked for again: there was none
}

// unassignedWait is how long a router waits before it asks again for a prefix
// that it was not assigned. It does so when it renews, since the answer may be a
// denial and cost a move a round trip.
const unassignedWait = 2 * time.Minute

// A network is one of the configured ones, and what became of it.
type network struct {
	Network
	assigned bool // its prefix is the home agent's choice
	served   bool
	state    string
}

// addMobile makes a mobile node a mobile router.
func addMobile(cfg Config, n *mn.Node) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if n.Config().ReverseTunnel != mn.ReverseRequired {
		// "A Mobile Router SHOULD set the 'T' bit to 1 in all Registration
		// Request messages" (RFC 5177 section 5): visited networks do not
		// let the prefixes out otherwise.
		return fmt.Errorf("%s: a mobile router needs the reverse tunnel", Name)
	}
	m := &mobile{
		node: n, implicit: cfg.Implicit,
		disallowed: make(map[netip.Addr]bool), stopped: make(map[netip.Addr]map[netip.Prefix]bool),
		later: make(map[netip.Addr]time.Time),
	}
	for _, c := range cfg.Networks {
		m.networks = append(m.networks, network{Network: c, state: waiting})
	}
	n.Claim(mn.Claim{Feature: Name, Type: extension, Sub: 1, HasSub: true, Zones: []mip4.Zone{mip4.ZoneHome}})
	n.Claim(mn.Claim{Feature: Name, Type: extension, Sub: 2, HasSub: true, Zones: []mip4.Zone{mip4.ZoneHome}})
	n.Records(Name, recordKey, m.restore)
	n.Request.Add(Name, "prefixes", m.request)
	n.Accepted.Add(Name, "acknowledgements", m.accepted)
	n.Denied.Add(Name, "prefixes", m.denied)
	m.publish()
	return nil
}

// States of a network, for people.
const (
	waiting = "waits for the home agent"
	served  = "served"
	unknown = "the home agent does not know mobile networks"
	silent  = "the home agent did not answer for it"
)

// publish tells the node, and with it the data plane, how the networks stand.
func (m *mobile) publish() {
	list := make([]mn.MobileNetwork, len(m.networks))
	for i, n := range m.networks {
		list[i] = mn.MobileNetwork{Prefix: n.Prefix, Link: n.Link, Served: n.served, State: n.state, Assigned: n.assigned}
	}
	m.node.SetNetworks(list)
}

// request names the networks. "In explicit mode, the Mobile Router includes
// Mobile Network Prefix information in all Registration Requests ..., while in
// implicit mode it does not include this information in any"; and "For
// deregistration, the Mobile Router sends a registration request with lifetime
// set to zero without any Mobile Network Request extensions" (RFC 5177 section
// 5). "all the Mobile Network Prefix extensions MUST be included before the
// MN-HA Authentication extension" (section 10).
//
//rfc:5177#4.1
//rfc:5177#5
//rfc:5177#5-1
//rfc:5177#9-2
//rfc:5177#10-5
//rfc:5177#10-6
//rfc:6626#3.1-1
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	agent := x.Registration.Key.HomeAgent
	if x.Purpose != mn.Register || m.implicit || m.disallowed[agent] {
		return engine.Next()
	}
	for _, n := range m.networks {
		switch {
		case !n.Prefix.IsValid() && (m.stopped[agent][zero] || m.waits(x)):
		case !n.Prefix.IsValid():
			x.Add(mip4.ZoneHome, &mip4.MobileNetworkRequest{PrefixLength: uint8(n.Length), Prefix: netip.IPv4Unspecified()})
		case !m.stopped[agent][n.Prefix]:
			x.Add(mip4.ZoneHome, &mip4.MobileNetworkRequest{PrefixLength: uint8(n.Prefix.Bits()), Prefix: n.Prefix.Addr()})
		}
	}
	return engine.Next()
}

// waits says that it is not the time to ask again for a prefix that the home
// agent had none of.
func (m *mobile) waits(x *mn.Attempt) bool {
	at, refused := m.later[x.Registration.Key.HomeAgent]
	return refused && (x.Now.Mono.Before(at) || !x.Registration.Live())
}

// zero stands for a prefix that is asked for.
var zero = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// accepted reads what became of each network. "the absence of Mobile Network
// extensions must be interpreted by the Mobile Router as the case where the Home
// Agent does not support Mobile Networks" (RFC 5177 section 5.1); "If one or
// more network acknowledgement extensions are included with the Code field set
// to "Success", the Mobile Router SHOULD treat the prefixes in the corresponding
// Prefix fields as allocated prefixes" (RFC 6626 section 3.1).
//
//rfc:5177#4.2
//rfc:5177#5
//rfc:5177#5.1
//rfc:6626#3.1
//rfc:6626#3.1-2
//rfc:6626#3.1-3
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	if x.Sent.Purpose != mn.Register || !x.Authentic {
		return engine.Next()
	}
	acks, err := mip4.GetAll[mip4.MobileNetworkAck](x.Message)
	if err != nil {
		return engine.Drop("malformed Mobile Network Acknowledgement")
	}
	codes := make(map[netip.Prefix]mip4.MobileNetworkCode)
	var free []netip.Prefix // acknowledged, and no configured one
	for _, a := range acks {
		p, ok := a.Network()
		if a.Prefix.IsUnspecified() {
			p, ok = zero, true
		}
		if !ok {
			continue
		}
		if _, twice := codes[p]; !twice {
			codes[p] = a.Code
			if a.Code == mip4.MobileNetworkOK && p != zero && !m.has(p) {
				free = append(free, p)
			}
		}
	}
	for i := range m.networks {
		n := &m.networks[i]
		before := *n
		if !n.Prefix.IsValid() && len(free) > 0 && m.fits(free[0]) {
			n.Prefix, n.assigned, free = free[0], true, free[1:]
		}
		key := n.Prefix
		if !key.IsValid() {
			key = zero
		}
		code, answered := codes[key]
		n.served = answered && code == mip4.MobileNetworkOK && key != zero
		switch {
		case n.served:
			n.state = served
		case m.disallowed[x.Registration.Key.HomeAgent]:
			n.state = disallowed
		case answered:
			n.state = code.String()
		case m.stopped[x.Registration.Key.HomeAgent][key], key == zero && !m.later[x.Registration.Key.HomeAgent].IsZero():
			// what it was refused with stands
		case len(acks) == 0:
			n.state = unknown
		default:
			n.state = silent
		}
		if n.assigned && !n.served {
			// Not the home agent's any more: another one is asked for.
			n.Prefix, n.assigned = netip.Prefix{}, false
		}
		m.tell(x, &before, n)
	}
	m.publish()
	m.save()
	return engine.Next()
}

// fits says whether an assigned prefix leaves the other networks alone.
func (m *mobile) fits(p netip.Prefix) bool {
	return !slices.ContainsFunc(m.networks, func(o network) bool { return o.Prefix.IsValid() && o.Prefix.Overlaps(p) })
}

func (m *mobile) has(p netip.Prefix) bool {
	return slices.ContainsFunc(m.networks, func(n network) bool { return n.Prefix == p })
}

func (m *mobile) tell(x *mn.Response, before, n *network) {
	if before.served == n.served && before.state == n.state && before.Prefix == n.Prefix {
		return
	}
	name := n.Link
	if p := n.Prefix; p.IsValid() {
		name = p.String() + " on " + n.Link
	}
	t := note.Note{Kind: Served, Level: note.Info, HomeAgent: x.Registration.Key.HomeAgent, Why: name}
	if !n.served {
		t.Kind, t.Level, t.Why = Refused, note.Warn, name+": "+n.state
	}
	m.node.Tell(t)
}

const disallowed = "the home agent does not permit this node to be a mobile router"

// denied: "If the value of the Code field in the Registration Reply (the
// proper) is set to HA_MOBNET_DISALLOWED, then the Mobile Router MUST stop
// sending Registration Requests with any Mobile Network Prefix extensions to
// that Home Agent"; with HA_MOBNET_ERROR it "MUST stop sending Registration
// Requests that contain any of the Mobile Network Prefixes that are defined by
// ... the Mobile Network Acknowledgement extension" (RFC 5177 section 5.1). The
// home address can be registered all the same, so that is tried at once.
//
//rfc:5177#5.1
//rfc:5177#5.1-1
//rfc:5177#5.1-2
func (m *mobile) denied(x *mn.Response) engine.Verdict {
	agent := x.Registration.Key.HomeAgent
	if !x.Authentic || x.Sent.Purpose != mn.Register {
		return engine.Next()
	}
	switch x.Reply.Code {
	case mip4.CodeMobileNetworkDisallowed:
		x.Retry = !m.disallowed[agent]
		m.disallowed[agent] = true
		for i := range m.networks {
			m.refuse(x, &m.networks[i], disallowed)
		}
	case mip4.CodeMobileNetworkError:
		acks, err := mip4.GetAll[mip4.MobileNetworkAck](x.Message)
		if err != nil {
			return engine.Next()
		}
		for _, a := range acks {
			p, ok := a.Network()
			if a.Prefix.IsUnspecified() {
				p, ok = zero, true
			}
			if !ok || a.Code == mip4.MobileNetworkOK || m.stopped[agent][p] {
				continue
			}
			for i := range m.networks {
				n := &m.networks[i]
				switch {
				case n.assigned && n.Prefix == p:
					// Its time is over; another one is asked for.
					n.Prefix, n.assigned, n.served, n.state = netip.Prefix{}, false, false, waiting
					x.Retry = true
				case n.Prefix == p || !n.Prefix.IsValid() && p == zero:
					if p == zero && a.Code == mip4.MobileNetworkUnassigned {
						// All are taken now. What the router must stop asking for are prefixes
						// that an acknowledgement names, and this one names none.
						m.later[agent] = x.Now.Mono.Add(unassignedWait)
					} else {
						m.stop(agent, p)
					}
					m.refuse(x, n, a.Code.String())
					x.Retry = true
				}
			}
		}
	default:
		return engine.Next()
	}
	m.publish()
	m.save()
	return engine.Next()
}

func (m *mobile) stop(agent netip.Addr, p netip.Prefix) {
	if m.stopped[agent] == nil {
		m.stopped[agent] = make(map[netip.Prefix]bool)
	}
	m.stopped[agent][p] = true
}

func (m *mobile) refuse(x *mn.Response, n *network, why string) {
	before := *n
	n.served, n.state = false, why
	m.tell(x, &before, n)
}

// recordKey is where the networks are kept that a registration of an earlier
// process goes on with.
const recordKey = "mn/network"

type record struct {
	Version  int              `json:"version"`
	Networks []recordedPrefix `json:"networks"`
}

type recordedPrefix struct {
	Link     string       `json:"interface"`
	Prefix   netip.Prefix `json:"prefix"`
	Assigned bool         `json:"assigned,omitempty"`
}

func (m *mobile) save() {
	r := record{Version: 1}
	for _, n := range m.networks {
		if n.served {
			r.Networks = append(r.Networks, recordedPrefix{n.Link, n.Prefix, n.assigned})
		}
	}
	if len(r.Networks) == 0 {
		m.node.Save(recordKey, nil)
		return
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic("mobilenetwork: record: " + err.Error()) // plain values always encode
	}
	m.node.Save(recordKey, b)
}

// restore takes up the networks that were served when the last process ended:
// their packets go on through the tunnel that outlived it.
func (m *mobile) restore(_ engine.Now, r engine.Record) error {
	var v record
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return err
	}
	if v.Version != 1 {
		return fmt.Errorf("version %d is not 1", v.Version)
	}
	for _, p := range v.Networks {
		for i := range m.networks {
			n := &m.networks[i]
			switch {
			case n.served || n.Link != p.Link:
				continue
			case n.Prefix == p.Prefix:
			case p.Assigned && !n.Prefix.IsValid() && p.Prefix.IsValid() && m.fits(p.Prefix):
				n.Prefix, n.assigned = p.Prefix, true
			default:
				continue
			}
			n.served, n.state = true, served
			break
		}
	}
	m.publish()
	return nil
}
