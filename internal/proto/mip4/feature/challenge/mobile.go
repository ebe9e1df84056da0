package challenge

import (
	"bytes"
	"net/netip"

	"careof/internal/core/aaa"
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/mn"
	"careof/wire/adv4"
	"careof/wire/mip4"
)

// mobile is the feature's part of one mobile node.
type mobile struct {
	secret *aaa.Secret
	held   map[agent]*held
}

// An agent is a foreign agent on a link.
type agent struct {
	link    string
	address netip.Addr
}

// held is what an agent has given.
type held struct {
	value []byte // the latest challenge
	used  bool   // a request with it was answered: the next one needs another
}

// maxAgents bounds the agents whose challenges are kept: anybody on a link can
// invent more.
const maxAgents = 64

func addMobile(c Config, n *mn.Node) error {
	m := &mobile{secret: c.Secret, held: make(map[agent]*held)}
	n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtChallenge})
	n.ClaimAdvertised(Name, adv4.ExtChallenge)
	n.Advertised.Add(Name, "challenge", m.advertised)
	n.Request.Add(Name, "challenge", m.request)
	n.Reply.Add(Name, "challenge", m.replied)
	n.Accepted.Add(Name, "challenge", m.accepted)
	n.Denied.Add(Name, "challenge", m.denied)
	return nil
}

// advertised takes a challenge "from a unicast or multicast Agent Advertisement"
// (RFC 4721 section 3.3). One that is repeated stays used.
//
//rfc:4721#2
//rfc:4721#3.3-9
func (m *mobile) advertised(x *mn.Advertisement) engine.Verdict {
	if c, n, err := adv4.Get[adv4.Challenge](x.Message); err == nil && n > 0 && len(c.Value) > 0 {
		m.learn(agent{x.Link, x.Src}, c.Value)
	}
	return engine.Next()
}

func (m *mobile) learn(from agent, value []byte) {
	h := m.held[from]
	switch {
	case h != nil && bytes.Equal(h.value, value):
	case h != nil:
		*h = held{value: bytes.Clone(value)}
	default:
		if len(m.held) >= maxAgents {
			clear(m.held) // what is in use comes again, in the next advertisement or reply
		}
		m.held[from] = &held{value: bytes.Clone(value)}
	}
}

// request answers the latest challenge. "if the mobile node does not have a
// security association with the foreign agent, then it MUST include the
// Challenge value"; with one "it SHOULD". It "MUST include the Mobile-AAA
// Authentication extension" where no Mobile-Foreign one follows. In a direct
// registration it "MAY include the Mobile-AAA Authentication extension ... and
// MUST NOT include the Mobile-Foreign Challenge extension" (RFC 4721 section
// 3.1). The latest challenge is never older than the one used before (section 4).
//
//rfc:4721#3.1
//rfc:4721#3.1-1
//rfc:4721#3.1-2
//rfc:4721#3.1-3
//rfc:4721#3.1-4
//rfc:4721#3.1-5
//rfc:4721#3.1-6
//rfc:4721#3.1-7
//rfc:4721#3.1-8
//rfc:4721#3.1-9
//rfc:4721#3.2.1-1
//rfc:4721#4-1
//rfc:4721#6-1
//rfc:4721#6-2
//rfc:4721#6-3
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	k := x.Registration.Key
	if !k.Agent.IsValid() {
		if m.secret != nil && x.Purpose == mn.Register && x.Registration.CoLocated {
			x.AAA = aaa.Signer{Secret: *m.secret}
		}
		return engine.Next()
	}
	h := m.held[agent{k.Link, k.Agent}]
	if h == nil || m.secret == nil && x.Foreign == nil {
		return engine.Next()
	}
	zone := mip4.ZoneForeign
	if m.secret != nil {
		zone = mip4.ZoneAuthorizing
		x.AAA = aaa.Signer{Secret: *m.secret, Challenge: h.value}
	}
	x.Add(zone, &mip4.Challenge{Value: h.value})
	return engine.Next()
}

// replied takes the challenge of a reply that came from the agent itself. The
// one that was answered is used.
//
//rfc:4721#3.3-9
func (m *mobile) replied(x *mn.Response) engine.Verdict {
	k := x.Registration.Key
	if !k.Agent.IsValid() {
		return engine.Next()
	}
	if h := m.held[agent{k.Link, k.Agent}]; h != nil {
		h.used = true
	}
	if c, n, err := mip4.Get[mip4.Challenge](x.Message); err == nil && n == 1 && len(c.Value) > 0 && x.Packet.Src.Addr() == k.Agent {
		m.learn(agent{k.Link, k.Agent}, c.Value)
	}
	return engine.Next()
}

// accepted asks for a challenge when the reply had none: the node "MUST solicit
// for one if it has not already received one" (RFC 4721 section 3.3).
//
//rfc:4721#3.3-9
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	k := x.Registration.Key
	if h := m.held[agent{k.Link, k.Agent}]; h != nil && h.used {
		src := x.Node.HomeAddress()
		if !src.IsValid() {
			src = netip.IPv4Unspecified()
		}
		x.Node.Emit(engine.SendDiscovery{Link: k.Link, Src: src, Dst: allRouters, Data: adv4.AppendSolicitation(nil)})
	}
	return engine.Next()
}

// allRouters is where solicitations go (RFC 1256 section 3).
var allRouters = netip.AddrFrom4([4]byte{224, 0, 0, 2})

// denied: "if the mobile node attempts to register again after such an error,
// it MUST use a new Challenge value", from an advertisement or from the reply
// itself (RFC 4721 section 3.5). With the reply's it does so at once.
//
//rfc:4721#3.5
//rfc:4721#3.5-1
func (m *mobile) denied(x *mn.Response) engine.Verdict {
	k := x.Registration.Key
	h := m.held[agent{k.Link, k.Agent}]
	switch x.Reply.Code {
	case mip4.CodeFAMissingChallenge, mip4.CodeFAUnknownChallenge, mip4.CodeFAStaleChallenge:
		x.Retry = h != nil && !h.used
	}
	return engine.Next()
}
