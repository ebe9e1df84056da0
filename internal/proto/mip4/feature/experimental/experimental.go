// Package experimental is the numbers for experiments: RFC 4064.
//
//	message 255            no experiment of this suite uses it: section 9 has
//	                       it discarded in silence, by all roles
//	extension 127          non-skippable: a subtype that is not configured makes
//	                       the message be discarded
//	extension 255          skippable
//	code 127, 192          a foreign agent's and a home agent's answer to a
//	                       request with an extension that is configured to be
//	                       denied, and to no other
//
// Without a configured experiment the feature is as if it were not there:
// experimental extensions "MUST NOT be used in deployed products" (section 6).
package experimental

import (
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/claim"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/opaque"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "experiments"

// New is the feature with the operator's experiments.
func New(extensions []opaque.Extension) feature.Feature {
	return feature.Feature{
		Name:    Name,
		RFC:     []int{4064},
		Home:    func(a *ha.Agent) error { return addHome(extensions, a) },
		Foreign: func(a *fa.Agent) error { return addForeign(extensions, a) },
		Mobile:  func(n *mn.Node) error { return addMobile(extensions, n) },
	}
}

// addHome claims what is configured. The rest is for RFC 5944 section 1.8 to
// discard or to skip: "Mobility entities that don't understand the
// non-skippable experimental extensions MUST silently discard the message
// containing them" (RFC 4064 section 9).
//
//rfc:4064#9
//rfc:4064#4.1
//rfc:4064#4.3
//rfc:4064#6-2
func addHome(list []opaque.Extension, a *ha.Agent) error {
	for _, e := range list {
		a.Claims.Add(claim.Claim{Feature: Name, Type: e.Type, Sub: uint8(e.Sub), HasSub: true, From: "mobile node or foreign agent", Section: "4064#4"})
	}
	opaque.AddHome(Name, list, a)
	if denies(list) {
		a.Admit.Add(Name, "deny", func(x *ha.Exchange) engine.Verdict {
			return deny(list, x.Message.Exts, mip4.CodeHAExperimental)
		})
	}
	return nil
}

// addForeign does the same for what is meant for the foreign agent.
//
//rfc:4064#9
//rfc:4064#6-2
func addForeign(list []opaque.Extension, a *fa.Agent) error {
	for _, e := range list {
		for _, reply := range []bool{false, true} {
			a.Claims.Add(claim.Claim{Feature: Name, Type: e.Type, Sub: uint8(e.Sub), HasSub: true, InReply: reply, Section: "4064#4"})
		}
	}
	if denies(list) {
		a.Request.Add(Name, "deny", func(x *fa.Exchange) engine.Verdict {
			return deny(list, x.Message.Tail(), mip4.CodeFAExperimental)
		})
	}
	opaque.AddForeign(Name, list, a)
	return nil
}

//rfc:4064#9
func addMobile(list []opaque.Extension, n *mn.Node) error {
	for _, e := range list {
		n.Claim(mn.Claim{Feature: Name, Type: e.Type, Sub: uint8(e.Sub), HasSub: true})
	}
	opaque.AddMobile(Name, list, n)
	return nil
}

func denies(list []opaque.Extension) bool {
	for _, e := range list {
		if e.Deny {
			return true
		}
	}
	return false
}

// deny refuses a request with an extension that is configured so. Agents
// "SHOULD include an experimental error code in a reply message only if they
// have a general indication that the receiving entity would be able to parse
// it. This is indicated if the request message was of type EXP-MSG-TYPE or
// contained at least one experimental extension" (RFC 4064 section 9).
//
//rfc:4064#5
//rfc:4064#9
//rfc:4064#9-4
func deny(list []opaque.Extension, exts []mip4.Ext, code mip4.Code) engine.Verdict {
	for _, e := range exts {
		n, _, ok, _ := opaque.Read(e)
		if c, known := opaque.Find(list, n); ok && known && c.Deny {
			return engine.Deny(uint8(code), n.String()+" is configured to be denied")
		}
	}
	return engine.Next()
}
