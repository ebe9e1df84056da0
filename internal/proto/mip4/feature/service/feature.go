// Package service is service selection (RFC 5446): a mobile node names the service
// that it registers for, and its home agent serves those alone who may use it, with
// addresses of the service's own network if it has one.
//
// A foreign agent has no part in it: what the node says stands where it relays it
// unread. Names are compared octet by octet: whoever configures them writes them in
// Unicode's form NFKC, as the RFC has it.
package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"careof/internal/core/binding"
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
const Name = "service"

// A Service is one that a home agent knows.
type Service struct {
	Name string
	// Nodes may use it: a NAI, a realm after "@", or a home address. None: all may.
	Nodes []string
	// Network is the home network whose pool it has; invalid: any that is not a
	// service's own.
	Network netip.Prefix
}

// Config configures the feature. The zero value knows no service, and asks for none.
type Config struct {
	Services []Service // a home agent's
	// NamedOnly refuses requests that name none.
	NamedOnly bool
	Ask       string // a mobile node's
}

// New is the feature. Without services a home agent behaves like one that never
// heard of it.
func New(c Config) feature.Feature {
	return feature.Feature{
		Name: Name,
		RFC:  []int{5446},
		Home: func(a *ha.Agent) error {
			if len(c.Services) > 0 {
				addHome(c, a)
			}
			return nil
		},
		Mobile: func(n *mn.Node) error {
			if c.Ask != "" {
				return addMobile(c, n)
			}
			return nil
		},
	}
}

// Refused is the reason for which bindings end whose node asks for a service that
// it may not use.
const Refused ha.Reason = "the service is not allowed"

// Unserved says that a node was refused a service.
const Unserved note.Kind = "service-refused"

type home struct {
	cfg   Config
	agent *ha.Agent
}

func addHome(c Config, a *ha.Agent) {
	h := &home{c, a}
	a.Claims.Add(claim.Claim{Feature: Name, Type: mip4.ExtServiceSelection, From: "mobile node, or foreign agent", Max: 1, Section: "5446#3"})
	a.Agents.Add(Name, "authorise", h.authorise)
	a.Reply.Add(Name, "echo", h.reply)
}

// authorise: "both the mobile node authentication and service authorization MUST
// succeed", at every request: "The absence of the Service Selection extension MUST
// be treated as a request for the default service". When it fails, "the home agent
// MUST deny the registration, and ... MUST delete the binding" (RFC 5446 section 4).
// The request is authentic and fresh here.
//
//rfc:5446#3-2
//rfc:5446#4.2
//rfc:5446#5
func (h *home) authorise(x *ha.Exchange) engine.Verdict {
	if x.Deregisters() {
		return engine.Next()
	}
	e, n := x.Message.Find(mip4.ExtServiceSelection)
	if n == 0 {
		if h.cfg.NamedOnly {
			return h.refuse(x, "the default service is not allowed")
		}
		return engine.Next()
	}
	q, err := mip4.Decode[mip4.ServiceSelection](e)
	if err != nil || !utf8.ValidString(q.Identifier) {
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "malformed Service Selection extension")
	}
	i := slices.IndexFunc(h.cfg.Services, func(s Service) bool { return s.Name == q.Identifier })
	switch {
	case i < 0:
		return h.refuse(x, fmt.Sprintf("there is no service %q", q.Identifier))
	case !h.cfg.Services[i].allows(x.Node.Identity()):
		return h.refuse(x, fmt.Sprintf("the node may not use the service %q", q.Identifier))
	}
	x.Network = h.cfg.Services[i].Network
	return engine.Next()
}

func (h *home) refuse(x *ha.Exchange, why string) engine.Verdict {
	h.agent.Remove(x.Node, binding.ID{}, Refused)
	h.agent.Tell(note.Note{
		Kind: Unserved, Level: note.Warn, HomeAddress: x.Node.Home(), NAI: string(x.Node.Identity().NAI),
		CareOfAddress: x.Request.CareOfAddress, Endpoint: x.Packet.Src, Why: why,
	})
	return engine.Deny(uint8(mip4.CodeServiceAuthorization), why)
}

func (s *Service) allows(n ident.Node) bool {
	if len(s.Nodes) == 0 {
		return true
	}
	_, realm, named := strings.Cut(string(n.NAI), "@")
	for _, one := range s.Nodes {
		switch {
		case n.NAI != "" && one == string(n.NAI), named && one == "@"+realm:
			return true
		case n.HomeAddress.IsValid() && one == n.HomeAddress.String():
			return true
		}
	}
	return false
}

// reply repeats the extension: "an unchanged copy", in front of the Mobile-Home
// authenticator where it stood there, else for the foreign agent that added it (RFC
// 5446 section 3).
//
//rfc:5446#3
//rfc:5446#4.2-7
func (h *home) reply(x *ha.Exchange) engine.Verdict {
	e, n := x.Message.Find(mip4.ExtServiceSelection)
	if n != 1 || !x.Authentic {
		return engine.Next()
	}
	q, err := mip4.Decode[mip4.ServiceSelection](e)
	if err != nil {
		return engine.Next()
	}
	zone := mip4.ZoneHome
	if by, there := x.Message.LastAuthorizing(); there && e.Off > by.Off {
		zone = mip4.ZoneForeign
	}
	x.Draft.Add(zone, &q)
	return engine.Next()
}

type mobile struct{ ask string }

func addMobile(c Config, n *mn.Node) error {
	m := &mobile{c.Ask}
	n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtServiceSelection, Max: 1})
	n.Request.Add(Name, "select", m.request)
	n.Denied.Add(Name, "refused", m.denied)
	return nil
}

// request names the service, in every request: "If ... used, the Service Selection
// extension MUST be included in every Registration Request message", after the NAI
// and before any authentication extension (RFC 5446 section 3).
//
//rfc:5446#3
//rfc:5446#4.1-1
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	x.Add(mip4.ZoneHome, &mip4.ServiceSelection{Identifier: m.ask})
	return engine.Next()
}

// denied: with code 151 "the mobile node MUST delete the existing binding" (RFC 5446
// section 4).
//
//rfc:5446#4.1-3
func (m *mobile) denied(x *mn.Response) engine.Verdict {
	if x.Reply.Code == mip4.CodeServiceAuthorization && x.Authentic {
		x.Node.Lose(x.Registration, "the home agent does not allow the service")
		if r := x.Node.Active(); r != nil && r.Key.HomeAgent == x.Registration.Key.HomeAgent {
			x.Node.Lose(r, "the home agent does not allow the service")
		}
	}
	return engine.Next()
}
