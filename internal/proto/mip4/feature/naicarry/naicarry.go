// Package naicarry is the NAI Carrying extension: RFC 3846. A home agent tells
// who it is by a name, so that a mobile node whose next request goes through AAA
// servers can name the home agent, and the home AAA server, that know it.
//
//	section 3.1   place; no more of it to who does not echo   home
//	section 4     the home agent's name                       home, mobile
//	section 5     the home AAA server's name                  mobile; a home agent has
//	                                                          none to tell without AAA
//
// Left out: what a foreign agent does with it towards AAA.
package naicarry

import (
	"fmt"
	"net/netip"

	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/claim"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "nai-carrying"

// New is the feature. identity is a home agent's own name, hostname@realm,
// which together are its domain name; empty tells none.
func New(identity ident.NAI) feature.Feature {
	return feature.Feature{
		Name: Name,
		RFC:  []int{3846},
		Home: func(a *ha.Agent) error {
			for _, kind := range []mip4.NAIKind{mip4.NAIHomeAgent, mip4.NAIHomeAAA} {
				a.Claims.Add(claim.Claim{
					Feature: Name, Type: mip4.ExtNAICarrying, Sub: uint8(kind), HasSub: true,
					From: "mobile node", Max: 1, Section: fmt.Sprintf("3846#%d", 3+kind),
				})
			}
			if identity == "" {
				return nil
			}
			if len(identity) > 254 {
				return fmt.Errorf("naicarry: the name %q is longer than 254 octets", identity)
			}
			a.Reply.Add(Name, "identity", func(x *ha.Exchange) engine.Verdict { return tell(identity, x) })
			return nil
		},
		Mobile: func(n *mn.Node) error {
			m := &mobile{names: make(map[netip.Addr]names)}
			n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtNAICarrying})
			n.Request.Add(Name, "echo", m.echo)
			n.Accepted.Add(Name, "learn", m.learn)
			return nil
		},
	}
}

// tell: "A Home Agent using this extension MUST provide it in the first
// Registration Reply sent to a Mobile Node which is not currently registered.
// The extension only need to be included in subsequent Registration Replies if
// the same extension is included in Registration Requests" (RFC 3846 section
// 4), before any authentication extension (section 3.1). An answer to who has
// not proved who it is gets none (section 6).
//
//rfc:3846#3.1
//rfc:3846#4
//rfc:3846#6
func tell(identity ident.NAI, x *ha.Exchange) engine.Verdict {
	if !x.Authentic {
		return engine.Next()
	}
	registered := false
	for _, b := range x.Node.Bindings() {
		registered = registered || b.Live(x.Now().Mono)
	}
	if _, echoed := x.Message.FindSub(mip4.ExtNAICarrying, uint8(mip4.NAIHomeAgent)); registered && echoed == 0 {
		return engine.Next()
	}
	x.Draft.Add(mip4.ZoneHome, &mip4.NAICarrying{Kind: mip4.NAIHomeAgent, NAI: string(identity)})
	return engine.Next()
}

// names are what a home agent told.
type names struct{ agent, server string }

// mobile keeps what home agents told, as long as the node runs: "Upon
// initiation of a new session a new HA Identity NAI may be provided".
type mobile struct {
	names map[netip.Addr]names
}

// echo: "A mobile node using this extension MUST, if it receives it in a
// registration reply message, provide it in every subsequent registration
// request when re-authentication is needed" (RFC 3846 section 4); the node
// cannot know when that is, so it is in every one. Likewise the server's name
// (section 5).
//
//rfc:3846#4
//rfc:3846#5
//rfc:4004#1.3-1
//rfc:4004#1.3-2
//rfc:4004#3.1-1
//rfc:4004#3.2-6
func (m *mobile) echo(x *mn.Attempt) engine.Verdict {
	known := m.names[x.Registration.Key.HomeAgent]
	if known.agent != "" {
		x.Add(mip4.ZoneHome, &mip4.NAICarrying{Kind: mip4.NAIHomeAgent, NAI: known.agent})
	}
	if known.server != "" {
		x.Add(mip4.ZoneHome, &mip4.NAICarrying{Kind: mip4.NAIHomeAAA, NAI: known.server})
	}
	return engine.Next()
}

// Told notes the name that a home agent has told.
const Told note.Kind = "identity"

// learn saves "the latest" names that the home agent has authenticated.
//
//rfc:3846#4
//rfc:3846#5
func (m *mobile) learn(x *mn.Response) engine.Verdict {
	if !x.Authentic {
		return engine.Next()
	}
	at := x.Registration.Key.HomeAgent
	known := m.names[at]
	before := known
	for _, e := range x.Message.Authorized() {
		v, err := mip4.Decode[mip4.NAICarrying](e)
		if err != nil {
			continue
		}
		switch v.Kind {
		case mip4.NAIHomeAgent:
			known.agent = v.NAI
		case mip4.NAIHomeAAA:
			known.server = v.NAI
		}
	}
	if known != before {
		m.names[at] = known
		x.Node.Tell(note.Note{Kind: Told, Level: note.Debug, HomeAgent: at, Why: fmt.Sprintf("%q %q", known.agent, known.server)})
	}
	return engine.Next()
}
