package assignment

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/claim"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// home is the feature's part of a home agent, or of one machine of it.
type home struct {
	cfg     Config
	agent   *ha.Agent
	facts   *ha.Slot[fact]
	members []*member              // in configuration order
	bound   map[*ha.Node]bool      // false: not since the start, only restored
	gone    map[*ha.Node]time.Time // monotonic: since when another home agent has it
	share   share
	drained bool
	since   time.Time // wall clock, of that

	sent     uint64    // time of the last report or notice
	reportAt time.Time // monotonic
	cursor   int       // in the agent's nodes: whose holding is told next
	news     []holding // bound since the last report
	released []released
	asking   asking
	moved    uint64 // nodes that were sent on
}

// A fact is what the feature knows of one request.
type fact struct {
	knows bool       // the node knows the RFC: it can be redirected
	to    netip.Addr // where it is redirected to
}

func addHome(c Config, a *ha.Agent) error {
	h := &home{cfg: c, agent: a, facts: new(ha.Slot[fact]), bound: make(map[*ha.Node]bool), gone: make(map[*ha.Node]time.Time)}
	a.Claims.Add(claim.Claim{Feature: Name, Type: mip4.ExtDynamicHA, From: "mobile node", Section: "4433#3.4"})
	a.Authenticate.Add(Name, "home-agent", h.identify)
	a.Agents.Add(Name, "home-agent", h.assigned)
	a.Admit.Add(Name, "redirect", h.admit)
	a.Reply.Add(Name, "redirect", h.reply)
	a.AddRecords(drainRecord, h.restore)
	a.AddOrder(h.command)
	a.OnBound(func(n *ha.Node, _ binding.Binding) { h.bound[n] = true })
	a.OnRestored(func(n *ha.Node, _ binding.Binding) { h.bound[n] = false })
	a.OnUnbound(func(n *ha.Node, _ binding.Binding, _ ha.Reason) {
		if len(n.Bindings()) == 0 {
			delete(h.bound, n)
			delete(h.gone, n)
		}
	})
	return h.addPool()
}

// own says whether an address is the home agent's, and under which identity.
func (h *home) own(a netip.Addr) (identity netip.Addr, ok bool) {
	cfg := h.agent.Config()
	if slices.Contains(cfg.Addresses, a) {
		return a, true
	}
	if cfg.LocalAddress.IsValid() && a == cfg.LocalAddress {
		return cfg.Addresses[0], true
	}
	return netip.Addr{}, false
}

// identify names the home agent by the address that the request came to: "HA
// puts its address in HA address field", also of a denial (RFC 4433 section
// 5.3).
//
//rfc:4433#5.3.1
func (h *home) identify(x *ha.Exchange) engine.Verdict {
	if at, ok := h.own(x.Packet.Dst.Addr()); ok && mip4.AllZeroOne(x.Request.HomeAgent) {
		x.HomeAgent = at
	}
	return engine.Next()
}

// assigned accepts a request that names nobody, when it was sent here and to
// nobody else: "Although the Home Agent field in the Registration Request is not
// a unicast address, the destination IP address is a unicast address. ... Thus,
// there is no need to deny the registration" (RFC 4433 section 5.3.1). To a
// broadcast address it is the old discovery, and denied with 136.
//
// "If the Registration Request contains the Requested HA Extension, the HA
// address in that extension must match the destination IP of the Request. If it
// does not match, the Requested HA MUST reject the Registration Request with
// error code 136" (section 5.3). It is what keeps a captured request from being
// good for another home agent of the pool.
//
//rfc:4433#3.4
//rfc:4433#5.3
//rfc:4433#5.3.1
//rfc:4433#9
//rfc:4433#5.3-1
func (h *home) assigned(x *ha.Exchange) engine.Verdict {
	at, here := h.own(x.Packet.Dst.Addr())
	asked, n, err := mip4.Get[mip4.DynamicHA](x.Message)
	switch {
	case err != nil || n > 1 || n == 1 && asked.Kind != mip4.RequestedHA:
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "malformed Requested HA extension")
	case n == 1 && (!here || asked.Address != at && !(x.Packet.Dst.Addr() != at && slices.Contains(h.agent.Config().Addresses, asked.Address))):
		return engine.Deny(uint8(mip4.CodeUnknownHomeAgent), "another home agent is requested than it was sent to")
	case here && mip4.AllZeroOne(x.Request.HomeAgent):
		x.HomeAgentAcceptable = true
		if n == 1 {
			x.HomeAgent = asked.Address // behind a 1:1 NAT the destination does not tell
		}
	}
	h.facts.Of(x).knows = n == 1 || mip4.AllZeroOne(x.Request.HomeAgent)
	return engine.Next()
}

// admit sends a node on, or refuses it: "A home agent receiving a Registration
// Request with HA field set to ALL-ZERO-ONE-ADDR MAY reject the request even if
// successfully authenticated and suggest an alternate HA address in Reply" (RFC
// 4433 section 5.3). A drained one does so with renewals too, of nodes that have
// shown that they know the extension; the RFC does not speak of that.
//
// Who is registered here and has nowhere to go is served on; and who comes because
// his home agent has died, when a drained one is all that is left of the pool.
//
//rfc:4433#4.2
//rfc:4433#5.3
func (h *home) admit(x *ha.Exchange) engine.Verdict {
	if x.Deregisters() {
		return engine.Next()
	}
	here := len(x.Node.Bindings()) > 0
	full := !here && h.cfg.Capacity > 0 && len(h.bound) >= h.capacity()
	if !full && !h.drained {
		return engine.Next()
	}
	f := h.facts.Of(x)
	if to := h.elsewhere(); to != nil && f.knows {
		f.to = to.Address
		to.expected++
		return engine.Deny(uint8(mip4.CodeRedirectHA), h.why()+to.Address.String()+" has room")
	}
	if here || !full && h.elsewhere() == nil {
		return engine.Next()
	}
	return engine.Deny(uint8(mip4.CodeHAResources), h.why()+"no other home agent of the pool can take the node")
}

func (h *home) why() string {
	if h.drained {
		return "drained: "
	}
	return fmt.Sprintf("%d nodes are all that this home agent takes: ", h.cfg.Capacity)
}

// reply names the other home agent: "The Redirected HA Extension MUST be
// included in Registration Reply when the reply code is REDIRECT-HA-REQ" (RFC
// 4433 section 3.4.2).
//
//rfc:4433#3.4.2
//rfc:4433#7
//rfc:4433#3.4.2-1
func (h *home) reply(x *ha.Exchange) engine.Verdict {
	if to := h.facts.Of(x).to; to.IsValid() && x.Code == mip4.CodeRedirectHA {
		x.Draft.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RedirectedHA, Address: to})
		h.moved++
		h.agent.Tell(note.Note{
			Kind: Redirected, Level: note.Info, HomeAddress: x.Home, NAI: string(x.Node.Identity().NAI), CareOfAddress: x.Request.CareOfAddress,
			HomeAgent: x.HomeAgent, Code: uint8(x.Code), Why: "to " + to.String(),
		})
	}
	return engine.Next()
}
