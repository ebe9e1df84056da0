// Package delivery is the delivery style that RFC 3024 lacks: broadcasts and
// multicasts travel in a tunnel from the mobile node to its foreign agent, and
// unicast travels plain, but through the reverse tunnel all the same. The
// encapsulating style forbids that ("the foreign agent MUST NOT reverse tunnel
// such a packet", section 5.2), and the direct style carries no multicast. A
// working-group draft had it (draft-ietf-mip4-mcbc), without a number ever
// being assigned, so it is asked for by an extension of this suite's own:
//
//	normal vendor/organisation specific extension (134, RFC 3115)
//	vendor vendor.Careof, type Type, no value
//
// In a request it stands beside the Encapsulating Delivery Style extension
// (130), which an agent that does not know this one obeys. An agent that grants
// it puts it into the reply, in both behind the Mobile-Home Authentication
// Extension: it is between those two. Without it in the reply the mobile node
// encapsulates everything.
//
// What must not go in here: the styles of RFC 3024 itself; those are the roles'.
package delivery

import (
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "mixed-delivery"

// Type is the number of the extension among the suite's own.
const Type = vendor.FirstType

// New is the feature.
func New(g *vendor.Registry) feature.Feature {
	g.Recognise(vendor.Row{Feature: Name, Vendor: vendor.Careof, Type: Type, At: vendor.AtForeignAgent | vendor.AtMobileNode})
	return feature.Feature{
		Name:  Name,
		RFC:   []int{3024},
		Needs: []string{vendor.Name},
		Foreign: func(a *fa.Agent) error {
			a.Request.Add(Name, "style", request)
			a.Deliver.Add(Name, "granted", deliver)
			return nil
		},
		Mobile: func(n *mn.Node) error {
			n.Request.Add(Name, "ask", ask)
			n.Accepted.Add(Name, "granted", accepted)
			return nil
		},
	}
}

func extension() mip4.Payload { return &mip4.NVSE{Vendor: vendor.Careof, VendorType: Type} }

func has(exts []mip4.Ext) bool {
	_, found := vendor.Find(exts, false, vendor.Careof, Type)
	return found
}

// request makes the encapsulating style that was settled the mixed one.
func request(x *fa.Exchange) engine.Verdict {
	if x.Style == fa.Encapsulating && has(x.Message.Tail()) {
		x.Style = fa.Mixed
	}
	return engine.Next()
}

// deliver tells the mobile node that its plain packets are tunnelled too.
func deliver(r *fa.Return) engine.Verdict {
	if r.Accepted() && r.Pending.Style == fa.Mixed {
		r.Draft.Add(mip4.ZoneForeign, extension())
	}
	return engine.Next()
}

// ask goes with a request for the encapsulating style.
func ask(x *mn.Attempt) engine.Verdict {
	if x.Encapsulating() && x.Node.Config().ForeignAgents.PlainUnicast {
		x.Add(mip4.ZoneForeign, extension())
	}
	return engine.Next()
}

// accepted believes the foreign agent when the node has asked.
func accepted(x *mn.Response) engine.Verdict {
	x.Plain = x.Node.Config().ForeignAgents.PlainUnicast && has(x.Message.Tail())
	return engine.Next()
}
