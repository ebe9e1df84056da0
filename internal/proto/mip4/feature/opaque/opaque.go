// Package opaque is what the extensions have in common that carry what others
// define: those of vendors (RFC 3115) and those of experiments (RFC 4064). The
// operator may configure some of them: they are put into messages as they are,
// and told of when they come in.
//
// What must not go in here: what becomes of an extension that is not known;
// the two RFCs differ in that.
package opaque

import (
	"encoding/hex"
	"fmt"
	"slices"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// A Number names an extension of one of the families.
type Number struct {
	Type   mip4.ExtType
	Vendor uint32 // SMI private enterprise number, with types 38 and 134 only
	Sub    uint16 // the vendor's type, or the subtype of types 127 and 255
}

func (n Number) String() string {
	if n.Vendor != 0 || n.Type == mip4.ExtCVSE || n.Type == mip4.ExtNVSE {
		return fmt.Sprintf("extension %d, vendor %d, type %d", n.Type, n.Vendor, n.Sub)
	}
	return fmt.Sprintf("extension %d, subtype %d", n.Type, n.Sub)
}

// Read reads the number and the content of an extension; ok is false for one
// of another type.
func Read(e mip4.Ext) (n Number, value []byte, ok bool, err error) {
	n.Type = e.Type
	switch e.Type {
	case mip4.ExtCVSE:
		v, err := mip4.Decode[mip4.CVSE](e)
		n.Vendor, n.Sub = v.Vendor, v.VendorType
		return n, v.Value, true, err
	case mip4.ExtNVSE:
		v, err := mip4.Decode[mip4.NVSE](e)
		n.Vendor, n.Sub = v.Vendor, v.VendorType
		return n, v.Value, true, err
	case mip4.ExtExperimentalNonSkippable, mip4.ExtExperimentalSkippable:
		n.Sub = uint16(e.Sub)
		return n, e.Body, true, nil
	}
	return n, nil, false, nil
}

// payload is the extension with this number and content.
func payload(n Number, value []byte) mip4.Payload {
	switch n.Type {
	case mip4.ExtCVSE:
		return &mip4.CVSE{Vendor: n.Vendor, VendorType: n.Sub, Value: value}
	case mip4.ExtNVSE:
		return &mip4.NVSE{Vendor: n.Vendor, VendorType: n.Sub, Value: value}
	case mip4.ExtExperimentalNonSkippable:
		return &mip4.ExperimentalNonSkippable{Sub: uint8(n.Sub), Data: value}
	}
	return &mip4.ExperimentalSkippable{Sub: uint8(n.Sub), Data: value}
}

// A Party is whom an extension is for.
type Party uint8

const (
	Nobody Party = iota
	HomeAgent
	ForeignAgent
	MobileNode
)

// An Extension is one that the operator has configured.
type Extension struct {
	Number
	// To is whom it is sent to, in every Registration Request or Reply;
	// Nobody: it is only understood when it comes in.
	To    Party
	Value []byte
	// Deny refuses requests with it, with the experimental codes.
	Deny bool
}

// Find is the configured extension with a number.
func Find(list []Extension, n Number) (Extension, bool) {
	i := slices.IndexFunc(list, func(x Extension) bool { return x.Number == n })
	if i < 0 {
		return Extension{}, false
	}
	return list[i], true
}

// Received notes that a configured extension came in. It is told of at the
// level of debugging: it may be in every message.
const Received note.Kind = "extension"

// shown bounds the octets of an extension that a note shows.
const shown = 32

// told is the note about one that came in.
func told(n Number, value []byte) note.Note {
	text := hex.EncodeToString(value[:min(len(value), shown)])
	if len(value) > shown {
		text += fmt.Sprintf("... (%d octets)", len(value))
	}
	return note.Note{Kind: Received, Level: note.Debug, Why: n.String() + ": " + text}
}

// notes are about those of exts that are configured.
func notes(list []Extension, exts []mip4.Ext) (all []note.Note) {
	for _, e := range exts {
		n, value, ok, err := Read(e)
		if _, known := Find(list, n); ok && err == nil && known {
			all = append(all, told(n, value))
		}
	}
	return all
}

// AddHome sends and tells of the extensions at a home agent: to the mobile node
// under its authenticator, to the foreign agent behind it, where one is on the
// way.
func AddHome(feature string, list []Extension, a *ha.Agent) {
	if len(list) == 0 {
		return
	}
	a.Admit.Add(feature, "receive", func(x *ha.Exchange) engine.Verdict {
		for _, n := range notes(list, x.Message.Exts) {
			n.HomeAddress, n.NAI, n.Endpoint = x.Home, string(x.NAI), x.Packet.Src
			a.Tell(n)
		}
		return engine.Next()
	})
	a.Reply.Add(feature, "send", func(x *ha.Exchange) engine.Verdict {
		relayed := !x.Request.Flags.Has(mip4.FlagD) || x.ForeignAgent != nil
		for _, e := range list {
			switch {
			case e.To == MobileNode:
				x.Draft.Add(mip4.ZoneHome, payload(e.Number, e.Value))
			case e.To == ForeignAgent && relayed && !x.DeregistersAll():
				x.Draft.Add(mip4.ZoneForeign, payload(e.Number, e.Value))
			}
		}
		return engine.Next()
	})
}

// AddForeign sends and tells of the extensions at a foreign agent: only what
// stands behind the mobile node's or the home agent's authenticator is for it,
// and what it adds stands there too.
func AddForeign(feature string, list []Extension, a *fa.Agent) {
	if len(list) == 0 {
		return
	}
	a.Relay.Add(feature, "extensions", func(x *fa.Exchange) engine.Verdict {
		for _, n := range notes(list, x.Message.Tail()) {
			n.HomeAddress, n.NAI, n.Endpoint, n.Link = x.Request.HomeAddress, string(x.NAI), x.Packet.Src, x.Packet.Link
			a.Tell(n)
		}
		for _, e := range list {
			if e.To == HomeAgent {
				x.Draft.Add(mip4.ZoneForeign, payload(e.Number, e.Value))
			}
		}
		return engine.Next()
	})
	a.Deliver.Add(feature, "extensions", func(r *fa.Return) engine.Verdict {
		for _, n := range notes(list, r.Message.Tail()) {
			n.HomeAddress, n.NAI, n.HomeAgent = r.Reply.HomeAddress, string(r.NAI), r.Reply.HomeAgent
			a.Tell(n)
		}
		for _, e := range list {
			if e.To == MobileNode {
				r.Draft.Add(mip4.ZoneForeign, payload(e.Number, e.Value))
			}
		}
		return engine.Next()
	})
}

// AddMobile sends and tells of the extensions at a mobile node.
func AddMobile(feature string, list []Extension, n *mn.Node) {
	if len(list) == 0 {
		return
	}
	n.Request.Add(feature, "send", func(x *mn.Attempt) engine.Verdict {
		for _, e := range list {
			switch {
			case e.To == HomeAgent:
				x.Add(mip4.ZoneHome, payload(e.Number, e.Value))
			case e.To == ForeignAgent && x.Registration.Key.Agent.IsValid():
				x.Add(mip4.ZoneForeign, payload(e.Number, e.Value))
			}
		}
		return engine.Next()
	})
	receive := func(x *mn.Response) engine.Verdict {
		for _, t := range notes(list, x.Message.Exts) {
			t.Link, t.HomeAgent, t.CareOfAddress = x.Registration.Key.Link, x.Registration.Key.HomeAgent, x.Registration.Key.CareOf
			n.Tell(t)
		}
		return engine.Next()
	}
	n.Accepted.Add(feature, "receive", receive)
	n.Denied.Add(feature, "receive", receive)
}
