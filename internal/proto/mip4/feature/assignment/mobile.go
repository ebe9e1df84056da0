package assignment

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// mobile is the feature's part of a mobile node.
type mobile struct {
	ask    netip.Addr
	node   *mn.Node
	unsure map[netip.Addr]*doubt
	chain  []netip.Addr // home agents that have sent the node on since one accepted it
	loops  int          // in a row
	heard  map[netip.Addr]notice
}

// A doubt is what is not known of a home agent, or of the foreign agent before
// it: how many requests in a row were not answered, and which form was the last
// that it did not understand.
type doubt struct {
	form    form
	waiting int
}

// A form of a request, the next one for peers that know less.
type form int

const (
	nobody form = iota // the Home Agent field names nobody; Requested HA extension
	named              // it names the home agent, with the extension: RFC 4433 section 4.1 step 2
	plain              // as if the RFC were not there
)

// maxRedirects is how many home agents may send the node on in a row. "depth of
// memory is a parameter".
const maxRedirects = 4

// After a circle the node tries again slowly: 5 seconds, 10, up to 80.
const (
	loopFirst     = 5 * time.Second
	loopDoublings = 4
)

// assigning is the lifetime that is asked for while the request names nobody at
// all: "There is a possibility of more than one HA creating a mobility binding
// entry ... only possible when the Requested HA Extension is not included ...
// The mobile node can minimize the duration of this condition by using a short
// lifetime (e.g., 5 seconds)" (RFC 4433 section 9). The next request, to the one
// that was assigned, asks for the whole.
const assigning = 5 * time.Second

func addMobile(c Config, n *mn.Node) error {
	m := &mobile{ask: c.Ask, node: n, unsure: make(map[netip.Addr]*doubt), heard: make(map[netip.Addr]notice)}
	n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtDynamicHA, Max: 1})
	n.Request.Add(Name, "home-agent", m.request)
	n.Reply.Add(Name, "home-agent", m.reply)
	n.Accepted.Add(Name, "anchor", m.accepted)
	n.Denied.Add(Name, "redirect", m.denied)
	n.Handle(Name, mip4.TypeExperimentalMessage, m.message)
	return nil
}

func (m *mobile) doubtOf(a netip.Addr) *doubt {
	d := m.unsure[a]
	if d == nil {
		d = new(doubt)
		m.unsure[a] = d
	}
	return d
}

// anchored says whether the session is with this home agent: "The mobile node
// then MUST use this previously cached Assigned HA address as the home agent
// address in subsequent Re-Registration and De-Registration Request(s)" (RFC
// 4433 section 5.1.1).
func (m *mobile) anchored(home netip.Addr) bool {
	a := m.node.Active()
	return a != nil && a.Live() && a.Key.HomeAgent == home
}

// request asks for an assignment: the Home Agent field is ALL-ZERO-ONE-ADDR, and
// the Requested HA extension names "the address of the HA to which the
// Registration Request is sent" (RFC 4433 section 5.1.2). A renewal names the
// assigned home agent in both, so that it may say that it goes out of service.
//
// "If the MN does not receive a Registration Reply within some time and/or after
// sending a few Registration Requests, it can assume that the Registration
// Request(s) has been dropped, either by a legacy FA or an incorrect HA. ...
// The MN should quickly send a new Registration Request as mentioned in Section
// 4.1 step 2" (section 10). The one after that goes without the extension, whose
// layout old home agents stumble over.
//
//rfc:4433#3.3
//rfc:4433#4.1
//rfc:4433#5.1
//rfc:4433#5.1.1
//rfc:4433#5.1.2
//rfc:4433#5.1.3
//rfc:4433#9
//rfc:4433#10
//rfc:4433#1-1
//rfc:4433#3.3-1
//rfc:4433#3.4.1-1
//rfc:4433#5.1-2
//rfc:4433#5.1.1-1
//rfc:4433#5.1.1-2
//rfc:4433#5.1.1-4
//rfc:4433#5.1.1-5
//rfc:4433#5.1.2-1
//rfc:4433#5.1.2-3
//rfc:4433#5.1.2-5
//rfc:4433#5.1.2-6
//rfc:4433#5.1.2-7
//rfc:4433#5.1.2-8
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	home := x.Registration.Key.HomeAgent
	if x.Purpose != mn.Register {
		return engine.Next()
	}
	if mip4.AllZeroOne(home) {
		if !x.Registration.Key.Agent.IsValid() {
			return engine.Drop("no home agent is known, and no foreign agent here that could assign one")
		}
		x.Request.HomeAgent = m.ask
		x.Limit(assigning)
		return engine.Next()
	}
	d := m.doubtOf(home)
	how := max(d.form, min(form(d.waiting), plain))
	if slices.Contains(m.chain, home) || m.sentTo() == home {
		how = min(how, named) // it is of a pool that knows the extension
	}
	d.waiting++
	if how == nobody && !m.anchored(home) {
		x.Request.HomeAgent = m.ask
	}
	if how != plain {
		x.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RequestedHA, Address: home})
	}
	return engine.Next()
}

// sentTo is where the last redirection led, while that has not accepted.
func (m *mobile) sentTo() netip.Addr { return m.node.SentTo() }

// reply makes the home agent acceptable that a request for nobody was answered
// by.
//
//rfc:4433#5.1.1
func (m *mobile) reply(x *mn.Response) engine.Verdict {
	if x.Authentic {
		m.doubtOf(x.Registration.Key.HomeAgent).waiting = 0
	}
	if mip4.AllZeroOne(x.Registration.Key.HomeAgent) && x.Authentic {
		x.HomeAgentOK = routable(x.Reply.HomeAgent)
	}
	return engine.Next()
}

// accepted: "the MN obtains the Assigned HA address from the successful
// Registration Reply" and caches it "for the length of the Mobile IP session"
// (RFC 4433 section 5.1.1).
//
//rfc:4433#4.1
//rfc:4433#5.1.1
//rfc:4433#5.1.2
//rfc:4433#5.1.2-2
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	if mip4.AllZeroOne(x.Registration.Key.HomeAgent) {
		m.node.Anchor(x, x.Reply.HomeAgent)
	}
	m.chain, m.loops = nil, 0
	return engine.Next()
}

// denied follows a redirection: "the MN MUST authenticate the Reply based on HA
// address in HA field of Reply and attempt Registration with the HA address
// specified in the Redirected HA Extension" (RFC 4433 section 5.1.1). It has
// been authenticated with what is shared with the home agent that was asked, and
// must say that it is that one.
//
// Home agents that send the node to each other are "home agents bouncing": one
// that has sent it on is not asked again before another has accepted.
//
//rfc:4433#4.2
//rfc:4433#5.1.1
//rfc:4433#5.1.2
//rfc:4433#10
//rfc:4433#5.1.1-3
//rfc:4433#5.1.2-4
func (m *mobile) denied(x *mn.Response) engine.Verdict {
	home := x.Registration.Key.HomeAgent
	d := m.doubtOf(home)
	switch x.Reply.Code {
	case mip4.CodeFAPoorlyFormed, mip4.CodeFAInvalidHomeAgent, mip4.CodeInvalidHomeAgentPrinted:
		// "if the registration is denied with error code 70 (poorly formed
		// Request), the MN can assume that the legacy FA cannot process this
		// message" (section 10). One that follows RFC 5944 section 3.7.2 finds the
		// Home Agent field wrong, and says so.
		if d.form < plain && !mip4.AllZeroOne(home) {
			d.form++
			x.Retry = true
		}
		return engine.Next()
	case mip4.CodeUnknownHomeAgent:
		if x.Authentic && x.Reply.HomeAgent == home && x.Sent.Request.HomeAgent != home {
			d.form, x.Retry = plain, true // a home agent that does not know the RFC
		}
		return engine.Next()
	case mip4.CodeRedirectHA:
	default:
		return engine.Next()
	}
	to, n, err := mip4.Get[mip4.DynamicHA](x.Message)
	from := x.Reply.HomeAgent
	switch {
	case !x.Authentic || from != home && !mip4.AllZeroOne(home):
		return engine.Next()
	case err != nil || n != 1 || to.Kind != mip4.RedirectedHA || !routable(to.Address) || to.Address == m.node.HomeAddress():
		return engine.Next() // a redirection to nowhere is a refusal
	}
	told := note.Note{
		Kind: Redirected, Level: note.Info, Link: x.Registration.Key.Link, CareOfAddress: x.Registration.Key.CareOf, HomeAgent: from,
		Code: uint8(x.Reply.Code), Why: "to " + to.Address.String(),
	}
	if to.Address == from || slices.Contains(m.chain, from) || slices.Contains(m.chain, to.Address) || len(m.chain) == maxRedirects {
		told.Kind, told.Level = Looping, note.Warn
		told.Why = fmt.Sprintf("to %v, after %v: home agents that send a node to each other serve it nowhere", to.Address, m.chain)
		m.chain = nil
		m.node.Tell(told)
		m.node.Wait(x.Registration, loopFirst<<min(m.loops, loopDoublings))
		m.loops++
		return engine.Done()
	}
	m.chain = append(m.chain, from)
	m.node.Tell(told)
	m.node.Redirect(x.Registration, to.Address)
	return engine.Done()
}

// message takes a home agent's wish that the node registers again, before its
// time: it is going out of service. From the one that serves the node it leads
// to one request; from another, to a word that the node is not there any more.
// Who is not the home agent hears nothing and changes nothing.
func (m *mobile) message(p engine.Packet, msg *mip4.Message) {
	active := m.node.Active()
	if active == nil || !active.Live() || m.node.AtHome() {
		return
	}
	n, ok := openNotice(msg, active.Association())
	last := m.heard[n.agent]
	if !ok || n.home != m.node.HomeAddress() || n.sent <= last.sent || !routable(n.agent) || len(m.heard) >= maxHeard && last == (notice{}) {
		return
	}
	m.heard[n.agent] = n
	if n.agent == active.Key.HomeAgent {
		m.node.Renew(active)
		return
	}
	m.node.Release(active, n.agent)
}

// maxHeard bounds the home agents that are remembered to have said something.
const maxHeard = 64
