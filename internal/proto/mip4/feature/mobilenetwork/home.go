package mobilenetwork

import (
	"fmt"
	"net/netip"
	"slices"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// home is the feature's part of one home agent.
type home struct {
	agent *ha.Agent
	pools []*pool
	acks  *ha.Slot[[]mip4.MobileNetworkAck]
}

// addHome adds mobile networks to a home agent.
//
//rfc:5177#6.1-1
func addHome(cfg Config, a *ha.Agent) error {
	if err := cfg.check(); err != nil {
		return err
	}
	h := &home{agent: a, acks: new(ha.Slot[[]mip4.MobileNetworkAck])}
	for _, p := range cfg.Pools {
		h.pools = append(h.pools, newPool(p, a.Config().Shard, max(a.Config().Shards, 1)))
	}
	if err := h.apart(a.Config()); err != nil {
		return err
	}
	a.Claims.Add(ha.Claim{
		Feature: Name, Type: extension, Sub: 0, HasSub: true, From: "mobile node",
		Place: ha.Covered, Section: "5177#4.1",
	})
	a.KeepNetworks(h.keep)
	a.Assignable(func(addr netip.Addr) bool {
		return slices.ContainsFunc(h.pools, func(p *pool) bool { return p.Prefix.Contains(addr) })
	})
	a.Bind.Add(Name, "prefixes", h.bind)
	a.Reply.Add(Name, "acknowledgements", h.reply)
	return nil
}

// apart refuses pools that hold what a node has of its own.
func (h *home) apart(c ha.Config) error {
	for i := range c.Nodes {
		for _, p := range c.Nodes[i].Prefixes {
			for _, o := range h.pools {
				if o.Prefix.Overlaps(p) {
					return fmt.Errorf("%s: pool %v overlaps %v of mobile node %v", Name, o.Prefix, p, &c.Nodes[i])
				}
			}
		}
	}
	return nil
}

// keep says which networks a node may still have.
//
//rfc:6626#3.2-1
//rfc:6626#3.2-2
func (h *home) keep(n *ha.Node, list []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool {
		return !slices.Contains(n.Configuration().Prefixes, p) && !h.restore(n, p)
	})
}

// bind settles the networks of a binding. In explicit mode, "For every Mobile
// Network Prefix extension included in the registration request, the Home Agent
// MUST perform a check against the Prefix Table"; without any, "the Home Agent
// may use pre-configured Mobile Network prefix information" (RFC 5177 section
// 6.3). "The Home Agent MUST ignore any included Mobile Network Request
// extension in a deregistration request" (section 6.7).
//
//rfc:5177#6.1
//rfc:5177#6.3
//rfc:5177#6.7
//rfc:5177#10
//rfc:5177#6.1-2
//rfc:5177#6.3-1
//rfc:5177#6.7-2
//rfc:5177#10-1
//rfc:5177#10-2
func (h *home) bind(x *ha.Exchange) engine.Verdict {
	if x.Deregisters() {
		return engine.Next()
	}
	own := x.Node.Configuration().Prefixes
	asked, err := mip4.GetAll[mip4.MobileNetworkRequest](x.Message)
	switch {
	case err != nil:
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "malformed Mobile Network Request")
	case len(asked) == 0:
		x.Networks = own
		for _, p := range own {
			h.answer(x, mip4.MobileNetworkAck{Implicit: true, PrefixLength: uint8(p.Bits()), Prefix: p.Addr()})
		}
		return engine.Next()
	case len(own) == 0 && !h.gives():
		// "In the case where the Mobile Node is not permitted to act as a
		// Mobile Router" (section 6.1).
		return engine.Deny(uint8(mip4.CodeMobileNetworkDisallowed), "the node may not be a mobile router")
	}
	for _, r := range asked {
		ack := h.judge(x, r)
		h.answer(x, ack)
		if p, ok := ack.Network(); ok && ack.Code == mip4.MobileNetworkOK && !slices.Contains(x.Networks, p) {
			x.Networks = append(x.Networks, p)
		}
	}
	if len(x.Networks) == 0 {
		// "when forwarding and setup was unsuccessful for each and every
		// Mobile Network Prefixes, that Code (the proper) should be
		// HA_MOBNET_ERROR" (section 6.3).
		return engine.Deny(uint8(mip4.CodeMobileNetworkError), "no prefix is acceptable")
	}
	return engine.Next()
}

func (h *home) answer(x *ha.Exchange, ack mip4.MobileNetworkAck) {
	list := h.acks.Of(x)
	*list = append(*list, ack)
}

// judge answers one prefix. The answer repeats it as it was asked for, but for
// one that is assigned.
//
// "When the prefix length is zero or greater than decimal 32, the status Code
// MUST be set to MOBNET_INVALID_PREFIX_LEN. If the Mobile Router is not
// authorized to forward packets to a Mobile Network prefix included in the
// request, the Home Agent MUST set the Code to MOBNET_UNAUTHORIZED" (RFC 5177
// section 6.6). A Prefix of zero asks for one (RFC 6626 section 3.1), whatever
// the length; a home agent that assigns none calls it invalid.
//
//rfc:5177#6.3
//rfc:5177#6.6
//rfc:6626#3.2
//rfc:5177#6.6-4
//rfc:5177#6.6-5
//rfc:5177#10-3
func (h *home) judge(x *ha.Exchange, r mip4.MobileNetworkRequest) mip4.MobileNetworkAck {
	ack := mip4.MobileNetworkAck{PrefixLength: r.PrefixLength, Prefix: r.Prefix}
	p, ok := r.Network()
	switch {
	case r.Prefix.IsUnspecified() && h.gives():
		got, ok := h.assign(x, int(r.PrefixLength))
		if !ok {
			ack.Code = mip4.MobileNetworkUnassigned
			break
		}
		ack.PrefixLength, ack.Prefix = uint8(got.Bits()), got.Addr()
	case !ok || r.Prefix.IsUnspecified():
		ack.Code = mip4.MobileNetworkInvalidLength
	case !slices.Contains(x.Node.Configuration().Prefixes, p) && !h.assigned(x, p):
		ack.Code = mip4.MobileNetworkUnauthorized
	}
	return ack
}

// reply adds the acknowledgements: to an acceptance, where "At least one Mobile
// Network Acknowledgement extension MUST be" (RFC 5177 section 4.2), and to a
// denial because of them. What was not made durable and forwarding failed for
// every prefix: MOBNET_FWDING_SETUP_FAILED (section 6.6).
//
//rfc:5177#4.2
//rfc:5177#6.3
//rfc:5177#6.6
//rfc:5177#4.2-1
//rfc:5177#6.3-2
//rfc:5177#6.6-1
//rfc:5177#6.6-2
//rfc:5177#6.6-3
func (h *home) reply(x *ha.Exchange) engine.Verdict {
	if len(x.Node.Configuration().Prefixes) == 0 && !h.gives() {
		return engine.Next()
	}
	failed := x.Code == mip4.CodeHAResources
	if !x.Accepted() && !failed && x.Code != mip4.CodeMobileNetworkError {
		return engine.Next()
	}
	for _, ack := range *h.acks.Of(x) {
		if failed && ack.Code == mip4.MobileNetworkOK {
			ack.Code = mip4.MobileNetworkForwardingFailed
		}
		x.Draft.Add(mip4.ZoneHome, &ack)
	}
	if networks := x.Networks; x.Accepted() && len(networks) > 0 && !slices.Equal(sorted(networks), x.Node.Networks()) {
		t := note.Note{
			Kind: Served, Level: note.Info, HomeAddress: x.Home, NAI: string(x.NAI),
			CareOfAddress: x.Request.CareOfAddress, Why: texts(sorted(networks)),
		}
		x.Then(h.agent.Telling(t))
	}
	return engine.Next()
}

func sorted(list []netip.Prefix) []netip.Prefix {
	return slices.SortedFunc(slices.Values(list), netip.Prefix.Compare)
}
