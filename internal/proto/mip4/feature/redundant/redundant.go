// Package redundant sends what must not be lost over two uplinks at a time. RFC
// 5944 has simultaneous bindings, but says of the copies: "Multiple mobility
// bindings ... a separate copy of each arriving datagram" (section 4.2.3), of all
// packets, and leaves it to the mobile node to have them twice.
//
// By extensions of this suite's vendor number, which others skip: a mobile node
// tells in its requests which packets are to go over two paths, and whether this
// one is the one for the rest ([Ask]); a home agent that knows how agrees
// ([Agreed]). Only then the node registers a second uplink, with the S bit. Both
// ends number these packets, and give on the first copy of each: package tun. Of
// encrypted ones WireGuard's counter is the number.
// What the path for copies only gets besides is nothing; it becomes the one for
// all by another request.
//
// Without classes nothing is copied, and the second uplink stands by. A node that
// finds the path in use to be in doubt (package path) asks over the other one for
// copies of everything, and sends its own packets over both at once: a silent
// black hole costs it no more than that, and a mistake nothing but copies. Ten
// seconds after the last doubt it asks for none again: doubt.go.
//
// What was agreed is a record of its own, for a home agent that starts again.
package redundant

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "redundant-mode"

// The vendor extensions, both normal ones (134): Ask in a request is rank8 and
// classes ([forward.Class.Append]), of which there may be none; Agreed in the reply
// has no value.
const (
	Ask    = vendor.FirstType + 0x38
	Agreed = vendor.FirstType + 0x39
)

// Ranks.
const (
	first  = 0
	copies = 1
)

// MaxClasses bounds the classes of a node.
const MaxClasses = 16

// Config configures the feature at a mobile node. A home agent agrees to what
// nodes ask.
type Config struct {
	// Classes are copied all the time; there may be none.
	Classes []forward.Class
	// InDoubt has all packets copied while the path in use is in doubt.
	InDoubt bool
}

// New is the feature.
func New(cfg Config, g *vendor.Registry) feature.Feature {
	g.Recognise(vendor.Row{Feature: Name, Vendor: vendor.Careof, Type: Ask, At: vendor.AtHomeAgent})
	g.Recognise(vendor.Row{Feature: Name, Vendor: vendor.Careof, Type: Agreed, At: vendor.AtMobileNode})
	return feature.Feature{
		Name: Name,
		RFC:  []int{5944},
		Home: func(a *ha.Agent) error {
			addHome(a)
			return nil
		},
		Mobile: func(n *mn.Node) error {
			if len(cfg.Classes) > MaxClasses {
				return fmt.Errorf("redundant: %d classes, more than %d", len(cfg.Classes), MaxClasses)
			}
			// What registers several uplinks for itself has its packets copied already.
			cfg.InDoubt = cfg.InDoubt && n.Config().Simultaneous <= 1
			if len(cfg.Classes) > 0 || cfg.InDoubt {
				addMobile(cfg, n)
			}
			return nil
		},
	}
}

// records are what was agreed, by node.
const records = "ha/redundant/"

func addHome(a *ha.Agent) {
	a.Bind.Add(Name, "classes", bind)
	a.Reply.Add(Name, "agreed", reply)
	a.AddRecords(records, func(_ engine.Now, r engine.Record) error {
		n := a.Named(strings.TrimPrefix(string(r.Key), records))
		if n == nil || r.Value == nil {
			return nil
		}
		agreed, err := parse(r.Value)
		if err != nil {
			return fmt.Errorf("redundant: %q: %w", r.Key, err)
		}
		a.SetRedundancy(n, agreed)
		return nil
	})
}

// bind agrees. A request of the node that asks nothing ends it.
func bind(x *ha.Exchange) engine.Verdict {
	if x.Deregisters() {
		return engine.Next()
	}
	before := x.Node.Redundancy()
	value, asked := vendor.Find(x.Message.Authorized(), false, vendor.Careof, Ask)
	if asked && len(value) > 0 {
		classes, err := forward.ParseClasses(value[1:], MaxClasses)
		if err != nil {
			return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "malformed classes of redundant packets")
		}
		x.Redundancy = &ha.Redundancy{Classes: classes, First: x.ID}
		if value[0] == copies && before != nil {
			x.Redundancy.First = before.First
		}
	}
	if x.Redundancy != nil || before != nil {
		x.Record(engine.Record{Key: append([]byte(records), x.Node.String()...), Value: appendAgreed(x.Redundancy)})
	}
	return engine.Next()
}

func reply(x *ha.Exchange) engine.Verdict {
	if x.Redundancy != nil && x.Accepted() {
		x.Draft.Add(mip4.ZoneHome, &mip4.NVSE{Vendor: vendor.Careof, VendorType: Agreed})
	}
	return engine.Next()
}

// appendAgreed is the record: numbered8 | number16 | care-of address 4 | classes;
// nil deletes it.
func appendAgreed(r *ha.Redundancy) []byte {
	if r == nil {
		return nil
	}
	number, numbered := r.First.Number()
	var four [4]byte
	b := []byte{0}
	if numbered {
		b[0] = 1
	} else {
		four = r.First.CareOf().As4()
	}
	b = append(binary.BigEndian.AppendUint16(b, number), four[:]...)
	for _, c := range r.Classes {
		b = c.Append(b)
	}
	return b
}

func parse(b []byte) (*ha.Redundancy, error) {
	if len(b) < 7 {
		return nil, fmt.Errorf("%d octets", len(b))
	}
	r := &ha.Redundancy{First: binding.ByCareOf(netip.AddrFrom4([4]byte(b[3:7])))}
	if b[0] != 0 {
		r.First = binding.ByNumber(binary.BigEndian.Uint16(b[1:]))
	}
	var err error
	r.Classes, err = forward.ParseClasses(b[7:], MaxClasses)
	return r, err
}
