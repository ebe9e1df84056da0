package natt

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
)

// Kept notes that an echo request keeps a NAT's mapping; MappingLost that none
// was answered.
const (
	Kept        note.Kind = "keepalive"
	MappingLost note.Kind = "nat-mapping-lost"
)

// deadline is when the next keepalive may be due.
func (m *mobile) deadline() time.Time {
	var at time.Time
	for _, k := range m.keeps {
		at = engine.Earliest(at, k.next, k.search.next)
	}
	return at
}

// due looks after the keepalives whose time has come.
func (m *mobile) due() {
	now := m.node.Now().Mono
	keys := make([]mn.RegistrationKey, 0, len(m.keeps))
	for key := range m.keeps {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b mn.RegistrationKey) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), a.CareOf.Compare(b.CareOf), a.HomeAgent.Compare(b.HomeAgent), a.Agent.Compare(b.Agent))
	})
	for _, key := range keys {
		k := m.keeps[key]
		switch {
		case k.next.IsZero() || k.next.After(now):
		case !k.registration.Live() || k.registration.Tunnel.Encap != encap.UDP:
			delete(m.keeps, key)
			delete(m.inside, key)
		case k.awaiting && k.tries >= keepaliveTries:
			m.lose(k)
		case k.first:
			k.first = false
			m.echo(k)
		case k.awaiting || k.registration != m.node.Active():
			m.echo(k)
		default:
			m.ask(k)
		}
		if next := k.search.next; m.keeps[key] == k && !next.IsZero() && !next.After(now) {
			m.grow(k)
		}
	}
}

// ask learns from the data plane whether anything was sent: "MUST send a
// keepalive packet if no other packet to the HA has been sent in K seconds".
// One is also sent when nothing has come in for so long, and much earlier when
// packets leave and none comes back: a node that goes on sending through a
// mapping that the NAT has changed would otherwise not notice.
//
//rfc:3519#4.9
//rfc:3519#3.2-2
//rfc:3519#4.9-2
func (m *mobile) ask(k *keepalive) {
	k.next = time.Time{}
	k.asking = true
	m.node.Ask(engine.LastUse{Key: m.node.Key()}, func(a engine.Answer) {
		if !k.asking || !k.registration.Live() {
			return
		}
		k.asking = false
		if !k.next.IsZero() {
			return // registered again meanwhile
		}
		now := m.node.Now().Mono
		use, ok := a.Value.(forward.Use)
		if !ok || a.Err != nil {
			m.echo(k)
			return
		}
		sent, heard := later(use.Sent, k.sent), later(use.Received, k.heard)
		unanswered := use.Sent.After(heard) && now.Sub(heard) >= glance
		quiet := engine.Earliest(sent, heard).Add(k.interval)
		if unanswered || !quiet.After(now) {
			m.echo(k)
			return
		}
		k.next = engine.Earliest(quiet, now.Add(glance))
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// echo sends "a properly UDP encapsulated ICMP echo request directed to the
// home agent", from the port of the registration.
//
//rfc:3519#4.9
//rfc:3519#4.9-1
//rfc:3519#4.9-3
func (m *mobile) echo(k *keepalive) {
	now, r := m.node.Now().Mono, k.registration
	wait := max(keepaliveWait, 2*m.node.RoundTrip(r.Key.Link)) << k.tries
	k.next = now.Add(wait)
	k.awaiting, k.sent = true, now
	k.tries++
	k.seq++
	if r.Tunnel.Secured() {
		m.within(k)
		return
	}
	data, err := encap.AppendKeepalive(nil,
		&encap.Header{Kind: encap.UDP, Inner: r.Tunnel.Inside, Src: r.Key.CareOf, Dst: r.Key.HomeAgent, DstPort: m.node.AtHomeAgent(r.Key.HomeAgent).Port()},
		&encap.Echo{Type: encap.EchoRequest, Src: m.node.HomeAddress(), Dst: r.Key.HomeAgent, ID: k.id, Seq: k.seq},
		k.seq)
	if err != nil {
		m.node.Tell(note.Note{Kind: note.Failed, Level: note.Error, Why: err.Error()})
		return
	}
	m.node.Emit(engine.Send{
		Link: r.Key.Link,
		Src:  netip.AddrPortFrom(r.Key.CareOf, 0),
		Dst:  m.node.AtHomeAgent(r.Key.HomeAgent),
		Data: data,
	})
	m.node.Tell(note.Note{
		Kind: Kept, Level: note.Debug, Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: r.Key.HomeAgent,
		Lifetime: k.interval,
	})
}

// within sends the echo request through the encrypted tunnel, as any packet: in
// the clear the home agent would not take it. So it keeps the mapping of the
// path in use. Over another one, by which copies of redundant packets are to come,
// a question to the home agent does, which ends nothing and has the same port.
func (m *mobile) within(k *keepalive) {
	r := k.registration
	if r != m.node.Active() {
		k.awaiting, k.tries, k.next = false, 0, m.node.Now().Mono.Add(k.interval)
		if m.node.Copies(r) {
			m.node.Inquire(r, r.Key.HomeAgent, func(mn.Validation) {})
		}
		return
	}
	packet, err := encap.AppendEcho(nil, &encap.Echo{
		Type: encap.EchoRequest, Src: m.node.HomeAddress(), Dst: r.Key.HomeAgent, ID: k.id, Seq: k.seq,
	}, k.seq)
	if err != nil {
		m.node.Tell(note.Note{Kind: note.Failed, Level: note.Error, Why: err.Error()})
		return
	}
	m.node.Emit(engine.Originate{Packet: packet})
	m.node.Tell(note.Note{
		Kind: Kept, Level: note.Debug, Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: r.Key.HomeAgent,
		Lifetime: k.interval,
	})
}

// lose: "If the mobile node does not get a reply to its UDP encapsulated ICMP
// Echo Request even after a number of retransmissions, and is still connected
// to the same router that was used to establish the current mobility binding,
// the mobile node SHOULD re-register with the home agent". When the home agent
// answers that, it was the mapping that was lost, and the interval is
// shortened.
//
//rfc:3519#4.10
//rfc:3519#4.9-4
//rfc:3519#4.10-1
func (m *mobile) lose(k *keepalive) {
	r := k.registration
	k.next, k.awaiting, k.tries, k.lost = time.Time{}, false, 0, true
	m.node.Tell(note.Note{
		Kind: MappingLost, Level: note.Warn, Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: r.Key.HomeAgent,
		Lifetime: k.interval, Why: "keepalives are not answered",
	})
	m.node.Probe(r, false, "keepalives are not answered")
}

// plane takes the answer to a keepalive.
func (m *mobile) plane(ev forward.Event) {
	reply, ok := ev.(forward.EchoReply)
	if !ok || reply.Key != m.node.Key() {
		return
	}
	for _, k := range m.keeps {
		if k.awaiting && k.id == reply.ID && k.seq == reply.Seq {
			k.awaiting, k.tries = false, 0
			k.heard = m.node.Now().Mono
			k.next = k.sent.Add(min(k.interval, glance))
			m.node.Probe(k.registration, true, "keepalive was answered")
		}
	}
}
