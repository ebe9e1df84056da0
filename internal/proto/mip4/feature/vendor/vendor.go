// Package vendor is the extensions of vendors and organisations: RFC 3115. The
// normal one (134) is skipped by who does not know it; the critical one (38)
// makes a request be refused and a reply count for nothing.
//
// A feature that has extensions of its own registers them with [Registry.Recognise]
// and reads them with [Find]; so may the operator, in the configuration. What
// is registered nowhere is unknown:
//
//	at                in a request               in a reply
//	home agent        140 from the mobile node
//	                  141 from the foreign agent
//	foreign agent     100                        101, in extension 45 where
//	                                             RFC 4636 is switched on
//	mobile node                                  counts as a denial; what the home
//	                                             agent has bound is deregistered
//
// An agent on the way reads only what stands behind the last
// authorization-enabling extension; the rest is for the other end.
//
// What must not go in here: the meaning of any vendor's extension.
package vendor

import (
	"fmt"

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
const Name = "vendor-extensions"

// Careof is the enterprise number under which this suite's own extensions are
// sent. None is assigned to it: 32473 is the one for examples and documentation
// (RFC 5612), and the suite's types begin at [FirstType], where no example
// would be expected.
const (
	Careof    uint32 = 32473
	FirstType uint16 = 0xca00
)

// A Role is one that a vendor's extension concerns.
type Role uint8

// Roles, to be joined with |.
const (
	AtHomeAgent Role = 1 << iota
	AtForeignAgent
	AtMobileNode
)

// A Row says that a feature understands one vendor's extension.
type Row struct {
	Feature  string
	Critical bool // extension 38, else 134
	Vendor   uint32
	Type     uint16
	At       Role // the roles that understand it when it comes in
}

// A Registry is the vendors' extensions that are understood. Features add rows
// when they are made, before any role is.
type Registry struct {
	rows []Row
	err  error
}

// Recognise adds a row. The same extension twice is a mistake, which the roles'
// constructors report.
func (g *Registry) Recognise(row Row) {
	for _, o := range g.rows {
		if o.Critical == row.Critical && o.Vendor == row.Vendor && o.Type == row.Type && o.At&row.At != 0 && g.err == nil {
			g.err = fmt.Errorf("vendor: %s and %s both understand type %d of vendor %d", o.Feature, row.Feature, row.Type, row.Vendor)
		}
	}
	g.rows = append(g.rows, row)
}

func (g *Registry) knows(n opaque.Number, at Role) bool {
	for _, r := range g.rows {
		if r.Critical == (n.Type == mip4.ExtCVSE) && r.Vendor == n.Vendor && r.Type == n.Sub && r.At&at != 0 {
			return true
		}
	}
	return false
}

// unknown finds the first critical extension among exts that a role does not
// understand. A malformed one is as little understood.
func (g *Registry) unknown(exts []mip4.Ext, at Role) (e mip4.Ext, why string, found bool) {
	for _, e := range exts {
		if e.Type != mip4.ExtCVSE {
			continue
		}
		n, _, _, err := opaque.Read(e)
		switch {
		case err != nil:
			return e, "malformed critical vendor extension", true
		case !g.knows(n, at):
			return e, n.String() + " is not understood", true
		}
	}
	return mip4.Ext{}, "", false
}

// Find is the content of the first extension with this vendor and type; false
// when there is none, or it is malformed.
func Find(exts []mip4.Ext, critical bool, vendor uint32, vendorType uint16) ([]byte, bool) {
	want := opaque.Number{Type: mip4.ExtNVSE, Vendor: vendor, Sub: vendorType}
	if critical {
		want.Type = mip4.ExtCVSE
	}
	for _, e := range exts {
		if n, value, ok, err := opaque.Read(e); ok && err == nil && n == want {
			return value, true
		}
	}
	return nil, false
}

// New is the feature. extensions are the operator's.
func New(g *Registry, extensions []opaque.Extension) feature.Feature {
	for _, e := range extensions {
		g.Recognise(Row{
			Feature: "the configuration", Critical: e.Type == mip4.ExtCVSE, Vendor: e.Vendor, Type: e.Sub,
			At: AtHomeAgent | AtForeignAgent | AtMobileNode,
		})
	}
	return feature.Feature{
		Name: Name,
		RFC:  []int{3115},
		Home: func(a *ha.Agent) error {
			a.Claims.Add(
				claim.Claim{Feature: Name, Type: mip4.ExtCVSE, From: "mobile node or foreign agent", Section: "3115#2.1"},
				claim.Claim{Feature: Name, Type: mip4.ExtNVSE, From: "mobile node or foreign agent", Section: "3115#2.2"},
			)
			a.Admit.Add(Name, "critical", g.home)
			opaque.AddHome(Name, extensions, a)
			return g.err
		},
		Foreign: func(a *fa.Agent) error {
			for _, reply := range []bool{false, true} {
				a.Claims.Add(
					claim.Claim{Feature: Name, Type: mip4.ExtCVSE, InReply: reply, Section: "3115#2.1"},
					claim.Claim{Feature: Name, Type: mip4.ExtNVSE, InReply: reply, Section: "3115#2.2"},
				)
			}
			a.Request.Add(Name, "critical", g.request)
			a.Reply.Add(Name, "critical", g.reply)
			opaque.AddForeign(Name, extensions, a)
			return g.err
		},
		Mobile: func(n *mn.Node) error {
			n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtCVSE})
			n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtNVSE})
			n.Accepted.Add(Name, "critical", g.accepted)
			opaque.AddMobile(Name, extensions, n)
			return g.err
		},
	}
}

// home: "a registration reject (or the appropriate deny message) MUST be sent
// with the error code to indicate that the registration was rejected due to
// the presence of an unknown CVSE" (RFC 3115 section 2.3). Which code depends
// on who put it there: the mobile node before its authenticator, the foreign
// agent behind it. Strangers have been discarded before.
//
//rfc:3115#2.3
//rfc:3115#2.4
//rfc:3115#2.3-1
func (g *Registry) home(x *ha.Exchange) engine.Verdict {
	e, why, found := g.unknown(x.Message.Exts, AtHomeAgent)
	if !found {
		return engine.Next()
	}
	if last, signed := x.Message.LastAuthorizing(); signed && e.Off > last.Off {
		return engine.Deny(uint8(mip4.CodeHAVendorFromForeignAgent), why)
	}
	return engine.Deny(uint8(mip4.CodeHAVendorFromMobileNode), why)
}

// request does the same at a foreign agent, for what the mobile node meant for
// it.
//
//rfc:3115#2.3
//rfc:3115#2.4
//rfc:3115#2.3-1
func (g *Registry) request(x *fa.Exchange) engine.Verdict {
	if _, why, found := g.unknown(x.Message.Tail(), AtForeignAgent); found {
		return engine.Deny(uint8(mip4.CodeFAVendorFromMobileNode), why)
	}
	return engine.Next()
}

// reply: "FA when it receives an unknown CVSE in a registration reply from the
// HA, should send a registration reject to the MN" (RFC 3115 section 2.3).
//
//rfc:3115#2.3
//rfc:3115#2.4
//rfc:3115#2.3-2
func (g *Registry) reply(r *fa.Return) engine.Verdict {
	if r.Refusal != 0 {
		return engine.Next() // refused already, with a graver reason
	}
	if _, why, found := g.unknown(r.Message.Tail(), AtForeignAgent); found {
		r.Refusal, r.Why = mip4.CodeFAVendorFromHomeAgent, why
	}
	return engine.Next()
}

// accepted: "If the Mobile IP entity is not a transit node for the reply, the
// reply is treated as a reject" (RFC 3115 section 2.3).
//
//rfc:3115#2.3
func (g *Registry) accepted(x *mn.Response) engine.Verdict {
	if _, why, found := g.unknown(x.Message.Exts, AtMobileNode); found {
		return engine.Deny(uint8(mip4.CodeFAVendorFromHomeAgent), why)
	}
	return engine.Next()
}
