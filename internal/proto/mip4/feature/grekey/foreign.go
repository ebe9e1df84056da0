package grekey

import (
	"hash/fnv"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/fa"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A home agent that does not know the extension "MUST silently discard the
// message" (RFC 6245 section 4.2). One that never answered a request with a key
// is asked without for as long as this.
const withoutKey = 10 * time.Minute

// maxRemembered bounds what is remembered of home agents: visitors may name any
// address.
const maxRemembered = 1024

// foreign is the feature's part of one foreign agent.
type foreign struct {
	mode  Mode
	agent *fa.Agent
	seed  uint64
	used  map[uint32]*fa.Visitor // keys of visits

	knows  map[netip.Addr]bool      // home agents that have answered with a key
	silent map[netip.Addr]time.Time // home agents that may not know the extension, until then
}

// addForeign adds GRE keys to a foreign agent.
func addForeign(mode Mode, a *fa.Agent) error {
	f := &foreign{
		mode: mode, agent: a, seed: a.Rand().Uint64(), used: make(map[uint32]*fa.Visitor),
		knows: make(map[netip.Addr]bool), silent: make(map[netip.Addr]time.Time),
	}
	a.Claims.Add(fa.Claim{
		Feature: Name, Type: extension, Sub: 0, HasSub: true, InReply: true, From: "home agent", Max: 1, Section: "6245#5",
	})
	a.Request.Add(Name, "key", f.request)
	a.Relay.Add(Name, "key", f.relay)
	a.Reply.Add(Name, "key", f.reply)
	a.Deliver.Add(Name, "key", f.deliver)
	a.OnArrived(func(v *fa.Visitor) {
		if v.Tunnel.HasKey {
			f.used[incoming(v)] = v
		}
	})
	a.OnDeparted(func(v *fa.Visitor, _ fa.Reason) {
		if f.used[incoming(v)] == v {
			delete(f.used, incoming(v))
		}
	})
	a.OnTimeout(f.unanswered)
	return nil
}

// incoming is the key of packets for the visitor: the one that this agent gave.
func incoming(v *fa.Visitor) uint32 {
	if v.Tunnel.KeyIn != 0 {
		return v.Tunnel.KeyIn
	}
	return v.Tunnel.Key
}

// request gives the visitor a key: "If the FA allows GRE encapsulation, and
// either the MN requested GRE encapsulation or local policy dictates using GRE
// encapsulation for the session, and the 'D' bit is not set ..., the FA MUST
// include the GRE Key in the GRE Key Extension in all Mobile IP Registration
// Requests (including initial, renewal, and de-registration requests)" (RFC
// 6245 section 4.1).
//
//rfc:6245#4.1
//rfc:6245#4.1-1
//rfc:6245#4.1-2
func (f *foreign) request(x *fa.Exchange) engine.Verdict {
	if x.CoLocated() || !f.agent.Offers(encap.GRE) {
		return engine.Next()
	}
	form := &x.Encap
	if x.Encap == encap.UDP {
		form = &x.Inside
	}
	asked := x.Offered && *form == encap.GRE
	if !asked && f.mode != Always {
		return engine.Next()
	}
	if until, doubtful := f.silent[x.Request.HomeAgent]; doubtful && x.Now().Mono.Before(until) {
		return engine.Next()
	}
	*form, x.Offered = encap.GRE, true
	x.Key, x.HasKey = f.key(x), true
	return engine.Next()
}

// key is the key of a visitor. It follows from who asks, so that it stays the
// same over retransmissions and renewals. Two visitors have never the same one,
// since a home agent tells visitors apart by it.
func (f *foreign) key(x *fa.Exchange) uint32 {
	h := fnv.New64a()
	var seed [8]byte
	for i := range seed {
		seed[i] = byte(f.seed >> (8 * i))
	}
	h.Write(seed[:])
	who := x.Request.HomeAddress.As4()
	agent := x.Request.HomeAgent.As4()
	h.Write(agent[:])
	if x.NAI != "" {
		h.Write([]byte(x.NAI))
	} else {
		h.Write(who[:])
	}
	sum := h.Sum64()
	for key := uint32(sum ^ sum>>32); ; key++ {
		if v := f.used[key]; key != 0 && (v == nil || v == x.Visitor) {
			return key
		}
	}
}

// relay adds the extension "after the MN-HA and MN-FA Challenge and MN-AAA ...
// extensions (if any) and before the FA-HA Auth extension (if any)". The G bit
// stays as it is: it is "protected by the Mobile-Home Authentication extension"
// (RFC 6245 section 4.1).
//
//rfc:6245#4.1
//rfc:6245#4.1-3
//rfc:6245#4.1-7
func (f *foreign) relay(x *fa.Exchange) engine.Verdict {
	if x.HasKey {
		x.Draft.Add(mip4.ZoneForeign, &mip4.GREKey{Key: x.Key})
	}
	return engine.Next()
}

// reply refuses a reply that nobody can read.
func (f *foreign) reply(r *fa.Return) engine.Verdict {
	if _, _, err := mip4.Get[mip4.GREKey](r.Message); err != nil && r.Pending.HasKey && r.Refusal == 0 {
		r.Refusal, r.Why = mip4.CodeFAPoorlyFormedReply, "malformed GRE Key"
	}
	return engine.Next()
}

// deliver sets the keys of the tunnel: "the FA uses the HA-assigned key in the
// encapsulating GRE header for reverse tunneling, and the HA uses the
// FA-assigned key" (RFC 6245 section 5). A home agent that returns 0 has none
// of its own; one that returns nothing tunnels without a key.
//
//rfc:6245#5
func (f *foreign) deliver(r *fa.Return) engine.Verdict {
	if !r.Pending.HasKey || !r.Accepted() {
		return engine.Next()
	}
	back, n, _ := mip4.Get[mip4.GREKey](r.Message)
	if n == 0 {
		r.Tunnel.HasKey, r.Tunnel.Key = false, 0
		return engine.Next()
	}
	if len(f.knows) < maxRemembered {
		f.knows[r.Pending.Request.HomeAgent] = true
	}
	delete(f.silent, r.Pending.Request.HomeAgent)
	if back.Key != 0 && back.Key != r.Tunnel.Key {
		r.Tunnel.Key, r.Tunnel.KeyIn = back.Key, r.Tunnel.Key
	}
	return engine.Next()
}

// unanswered suspects a home agent that did not answer a request with a key of
// not knowing the extension. Who makes it so by requests in others' names, on
// the visitors' link, costs a home agent that never used a key its keys for a
// while, and nobody the service.
func (f *foreign) unanswered(p *fa.Pending) {
	agent := p.Request.HomeAgent
	if !p.HasKey || f.knows[agent] {
		return
	}
	now := f.agent.Now().Mono
	for a, until := range f.silent {
		if !until.After(now) {
			delete(f.silent, a)
		}
	}
	if len(f.silent) >= maxRemembered {
		return
	}
	f.silent[agent] = now.Add(withoutKey)
}
