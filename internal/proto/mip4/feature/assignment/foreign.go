package assignment

import (
	"bytes"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/fa"
	"careof/wire/mip4"
)

// foreign is the feature's part of a foreign agent.
type foreign struct {
	assign  []netip.Addr
	agent   *fa.Agent
	silents map[netip.Addr]time.Time // home agents that have not answered, until when they are passed over
	noticed *fa.Slot[noticed]
}

// noticed is when a visitor was last given a notice, monotonic.
type noticed struct{ at time.Time }

// silence is how long a home agent that has not answered is passed over.
const silence = 30 * time.Second

func addForeign(c Config, a *fa.Agent) error {
	f := &foreign{assign: c.Assign, agent: a, silents: make(map[netip.Addr]time.Time), noticed: new(fa.Slot[noticed])}
	a.Handle(Name, mip4.TypeExperimentalMessage, f.message)
	a.Request.Add(Name, "home-agent", f.request)
	if len(c.Assign) > 0 {
		a.OnTimeout(func(p *fa.Pending) { f.silents[p.HomeAgent] = a.Now().Mono.Add(silence) })
	}
	return nil
}

// message passes a home agent's notice on to the visitor that it is for, who
// alone can tell whether it is authentic: one a second, so that a link is no
// target. What concerns no visitor is nothing.
func (f *foreign) message(p engine.Packet, m *mip4.Message) {
	n, ok := readNotice(m)
	if !ok {
		return
	}
	v := f.agent.VisitorOf(n.home, n.agent)
	if v == nil || p.Src.Addr() != v.HomeAgent {
		return
	}
	last, now := f.noticed.Of(v), f.agent.Now().Mono
	if !last.at.IsZero() && now.Sub(last.at) < time.Second {
		return
	}
	last.at = now
	f.agent.Do(f.agent.ToVisitor(v, bytes.Clone(m.Raw)))
}

// request finds the Requested HA. "If the MN has included the Requested HA
// Extension, the FA MUST forward the Registration Request to the address in this
// extension. If the HA address in this extension is not a routable unicast
// address, the FA MUST reject the request with error code NONZERO-HA-REQD", and
// so it must "if the FA cannot obtain the Requested HA" (RFC 4433 section 5.2).
// It "copies that extension" and edits nothing: the mobile node has signed it.
//
// AAA's word, where there is one, has come before (feature/challenge).
//
//rfc:4433#3.4.1
//rfc:4433#5.2
//rfc:4433#6
//rfc:4433#7
//rfc:4433#3.4.1-2
//rfc:4433#5.2-1
//rfc:4433#5.2-2
//rfc:4433#5.2-3
//rfc:4433#6-1
func (f *foreign) request(x *fa.Exchange) engine.Verdict {
	asked, n, err := mip4.Get[mip4.DynamicHA](x.Message)
	switch {
	case err != nil || n > 1 || n == 1 && asked.Kind != mip4.RequestedHA:
		return engine.Deny(uint8(mip4.CodeFAPoorlyFormed), "malformed Requested HA extension")
	case n == 1 && !routable(asked.Address):
		return engine.Deny(uint8(mip4.CodeFANonzeroHARequired), "the requested home agent has no routable unicast address")
	case n == 1:
		x.HomeAgent = asked.Address
		return engine.Next()
	case x.HomeAgent.IsValid(): // named, or assigned by AAA
		return engine.Next()
	}
	var silent netip.Addr
	for _, a := range f.assign {
		if until, was := f.silents[a]; !was || !until.After(x.Now().Mono) {
			x.HomeAgent = a
			return engine.Next()
		}
		if !silent.IsValid() {
			silent = a
		}
	}
	if !silent.IsValid() {
		return engine.Deny(uint8(mip4.CodeFANonzeroHARequired), "no home agent is known to assign")
	}
	x.HomeAgent = silent // none has answered lately: the first may have come back
	return engine.Next()
}

// routable says whether an address can be a home agent's: it is one host's, and
// no loopback or link-local one.
func routable(a netip.Addr) bool {
	return a.Is4() && a.As4()[0] != 0 && a.As4()[0] < 240 && !a.IsMulticast() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}
