package challenge

import (
	"bytes"
	"container/list"
	"errors"
	"net/netip"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/aaakey"
	"careof/wire/adv4"
	"careof/wire/mip4"
)

// outstanding is how long a challenge that was given to one node is good while
// the node is no visitor; a visitor's is good until the next one is given.
const outstanding = time.Minute

// foreign is the feature's part of one foreign agent.
type foreign struct {
	cfg     Config
	agent   *fa.Agent
	issuer  *issuer
	windows map[string]*window // by link
	used    used
	facts   *fa.Slot[facts]
	agents  agentKeys
}

// facts is what the feature knows of a request, and then of the visit that
// comes of it.
type facts struct {
	value []byte // the challenge that the request has answered
	at    moment // of value
	given moment // of the challenge in the last reply
	word  *word  // AAA's; nil when it was not asked
}

// A word is what AAA has said of a node. A visit's renewals share it.
type word struct {
	until    time.Time // monotonic
	explicit bool      // AAA itself has said how long
	asked    bool      // whether it still holds
}

func addForeign(c Config, a *fa.Agent) error {
	if c.Window <= 0 {
		return nil
	}
	f := &foreign{
		cfg: c, agent: a, issuer: newIssuer(a.Rand()), windows: make(map[string]*window), facts: new(fa.Slot[facts]),
		used: used{most: a.Config().MaxPending, marks: make(map[who]*list.Element)},
	}
	if c.Carried {
		f.agents = agentKeys{agent: a, keys: make(map[netip.Addr][]agentKey)}
		a.AddHomeAgentKeys(f.agents.of)
	}
	a.Advertiser.Advertise.Add(Name, "challenge", f.advertise)
	a.Request.Add(Name, "challenge", f.request)
	a.Request.Add(Name, "aaa", f.verify)
	a.Relay.Add(Name, "use", f.use)
	a.Reply.Add(Name, "echo", f.reply)
	a.Deliver.Add(Name, "next", f.deliver)
	a.Deny.Add(Name, "next", f.deny)
	return nil
}

// advertise puts a challenge into an advertisement for visitors.
//
// "if the Agent Advertisement is multicast, then the foreign agent MUST NOT
// generate a new Challenge value" for a solicitation; a unicast one gets a
// challenge of its own (RFC 4721 section 2.1). No flood of solicitations can
// push good challenges out of the window: a new one comes at most twice in an
// interval, whatever the reason for the advertisement.
//
//rfc:4721#2
//rfc:4721#2-1
//rfc:4721#2-2
//rfc:4721#2.1
//rfc:4721#2.1-1
//rfc:4721#2.1-2
//rfc:4721#2.1-4
//rfc:4721#12
//rfc:4721#12-3
//rfc:4721#12-4
func (f *foreign) advertise(x *advertise.Announcement) engine.Verdict {
	if !x.Link.Foreign || x.Final {
		return engine.Next()
	}
	var value []byte
	if x.HW != (engine.HardwareAddr{}) {
		value, _ = f.issuer.personal(x.Now.Mono, station{x.Link.Name, x.HW})
	} else {
		w := f.windows[x.Link.Name]
		if w == nil {
			w = new(window)
			f.windows[x.Link.Name] = w
		}
		latest := len(w.offers) - 1
		if latest < 0 || !x.Solicited && x.Now.Mono.UnixNano()-int64(w.offers[latest].at) >= int64(f.agent.Config().Interval/2) {
			w.advertised(f.issuer, x.Now.Mono, f.cfg.Window)
			latest = len(w.offers) - 1
		}
		value = []byte(w.offers[latest].value)
	}
	x.Draft.More = append(x.Draft.More, &adv4.Challenge{Value: value})
	return engine.Next()
}

// request judges the challenge of a request.
//
//rfc:4721#3.2
//rfc:4721#3.2-1
//rfc:4721#3.2-2
//rfc:4721#3.2-3
//rfc:4721#3.2-5
//rfc:4721#3.2-7
//rfc:4721#3.2-9
//rfc:4721#3.2-10
func (f *foreign) request(x *fa.Exchange) engine.Verdict {
	e, n := x.Message.Find(mip4.ExtChallenge)
	if n == 0 {
		if x.Association != nil {
			return engine.Next()
		}
		return engine.Deny(uint8(mip4.CodeFAMissingChallenge), "no challenge in the request")
	}
	// "Any registration message containing the Challenge extension without
	// either of these authentication extensions MUST be silently discarded."
	// One that comes before the challenge does not count.
	vouched := false
	for _, o := range x.Message.Exts {
		vouched = vouched || o.Off > e.Off && (o.Type == mip4.ExtMobileForeign || o.Type == mip4.ExtGeneralizedAuth && o.Sub == mip4.AuthMobileAAA)
	}
	if !vouched || n > 1 || len(e.Body) == 0 {
		return engine.Drop("a challenge that no authentication extension follows")
	}
	if x.Association == nil {
		if _, by := x.Message.FindSub(mip4.ExtGeneralizedAuth, mip4.AuthMobileAAA); by == 0 {
			return engine.Drop("a challenge without a Mobile-AAA authentication extension")
		}
	}
	at, known := f.find(x, e.Body)
	if !known {
		return engine.Deny(uint8(mip4.CodeFAUnknownChallenge), "the challenge is not one of ours, or too old")
	}
	m := f.used.of(whose(x))
	last := m.at
	if x.Visitor != nil {
		last = max(last, f.facts.Of(x.Visitor).at)
	}
	again := at == m.at && m.until.After(x.Now().Mono) && m.request == fieldsOf(x)
	if at < last || at == last && !again {
		return engine.Deny(uint8(mip4.CodeFAStaleChallenge), "the challenge was used before")
	}
	r := f.facts.Of(x)
	r.value, r.at = bytes.Clone(e.Body), at
	return engine.Next()
}

func fieldsOf(x *fa.Exchange) request {
	r := request{station{x.Packet.Link, x.Packet.HW}, x.Packet.Src, x.Packet.Dst, x.Request}
	r.fields.Identification, r.fields.Lifetime = 0, 0
	return r
}

func whose(x *fa.Exchange) who {
	return who{x.NAI, x.Request.HomeAddress, x.Request.HomeAgent}
}

// find says when a challenge was given to the node: to everybody, or to its
// station alone.
//
//rfc:4721#3.2
//rfc:4721#3.2-6
func (f *foreign) find(x *fa.Exchange, value []byte) (moment, bool) {
	if w := f.windows[x.Packet.Link]; w != nil {
		if at, ok := w.find(value); ok {
			return at, true
		}
	}
	at, ok := f.issuer.own(value, station{x.Packet.Link, x.Packet.HW})
	if !ok {
		return 0, false
	}
	if v := x.Visitor; v != nil && f.facts.Of(v).given == at {
		return at, true
	}
	return at, x.Now().Mono.UnixNano()-int64(at) <= int64(outstanding)
}

// verify has AAA verify the Mobile-AAA authenticator, where the agent shares no
// key with the node itself. A visitor that AAA has vouched for lately renews
// without waiting; when that is about to end, AAA is asked in the meantime.
//
//rfc:4721#3.2
//rfc:4004#6.1-1
func (f *foreign) verify(x *fa.Exchange) engine.Verdict {
	wish := f.wish(x)
	if !f.cfg.AAA || x.Association != nil && !wish.Wanted() && !f.cfg.Carried {
		return engine.Next()
	}
	if _, n := x.Message.FindSub(mip4.ExtGeneralizedAuth, mip4.AuthMobileAAA); f.cfg.Carried && x.Association != nil && (n == 0 || x.Deregisters()) {
		return engine.Next()
	}
	r := f.facts.Of(x)
	now := x.Now().Mono
	if v := x.Visitor; v != nil && x.Answer == nil && v.Link == x.Packet.Link && v.HW == x.Packet.HW {
		if w := f.facts.Of(v).word; w != nil && w.until.After(now) {
			r.word = w
			if wish.Wanted() || f.cfg.Carried && f.needsCarrying(x, w) && !x.Deregisters() {
				return engine.Await(f.question(x))
			}
			if f.cfg.Carried {
				return engine.Next()
			}
			if soon := max(f.cfg.Hold/4, time.Duration(x.Request.Lifetime)*time.Second); !w.asked && w.until.Sub(now) < soon {
				f.prolong(w, f.question(x))
			}
			return engine.Next()
		}
	}
	if x.NAI == "" {
		return engine.Deny(uint8(mip4.CodeFAProhibited), "no NAI to ask AAA about")
	}
	if x.Answer == nil {
		return engine.Await(f.question(x))
	}
	grant, kind, why := verdict(*x.Answer)
	if kind == Unanswered && (x.Association != nil || r.word != nil) {
		return engine.Next() // what vouches for it holds without AAA: it goes on with the key that it has
	}
	n := note.Note{
		Kind: kind, Level: note.Info, HomeAddress: x.Request.HomeAddress, NAI: string(x.NAI), HomeAgent: x.Request.HomeAgent,
		Link: x.Packet.Link, Endpoint: x.Packet.Src, Why: why,
	}
	switch kind {
	case Verified:
		n.Level = note.Debug
		f.agent.Tell(n)
		r.word = &word{until: now.Add(f.cfg.holds(grant)), explicit: grant.Lifetime > 0}
		*aaakey.Given.Of(x) = grant.Keys
		switch asked := x.Request.HomeAgent; {
		case !grant.HomeAgent.IsValid():
		case x.Unassigned():
			x.HomeAgent = grant.HomeAgent // RFC 4433 section 6: "retrieves the Requested HA from the AAA server"
		case grant.HomeAgent != asked:
			return engine.Deny(uint8(mip4.CodeFAProhibited), "AAA grants another home agent")
		}
		if grant.Reply != nil {
			return f.carried(x, grant)
		}
		return engine.Next()
	case Refused:
		// Anybody can make AAA refuse: the log is not theirs to fill.
		n.Level = note.Debug
		f.agent.Tell(n)
		if errors.Is(x.Answer.Err, aaa.ErrProhibited) {
			return engine.Deny(uint8(mip4.CodeFAProhibited), why)
		}
		return engine.Deny(uint8(mip4.CodeFABadAAAAuth), why)
	}
	f.agent.Tell(n)
	return engine.Deny(uint8(mip4.CodeFAUnspecified), why)
}

// question is what AAA is asked about a request.
func (f *foreign) question(x *fa.Exchange) aaa.Authenticate {
	proof, _ := aaakey.Proof(x.Message)
	proof.Challenge = bytes.Clone(f.facts.Of(x).value)
	q := aaa.Authenticate{Proof: proof, Subject: aaa.Subject{
		NAI: x.NAI, HomeAgent: x.Request.HomeAgent, CareOfAddress: x.Request.CareOfAddress, Source: x.Packet.Src.Addr(), Registered: x.Visitor != nil,
	}}
	if !x.Request.HomeAddress.IsUnspecified() {
		q.HomeAddress = x.Request.HomeAddress
	}
	q.Wishes.MobileForeign = f.wish(x)
	if f.cfg.Carried {
		q = f.carriedQuestion(x, q)
	}
	return q
}

// wish is the key between foreign agent and mobile node that the node asks for.
func (f *foreign) wish(x *fa.Exchange) (w aaa.KeyWish) {
	if spi, ok := aaakey.Wished(x.Message, mip4.ExtMobileForeignKeyRequest); ok && f.cfg.Keys {
		w = aaa.KeyWish{MobileSPI: spi, AgentSPI: aaakey.NewSPI(f.agent.Rand(), nil)}
	}
	return w
}

// prolong asks AAA about a visitor whose grant is about to end. A refusal
// changes nothing: anybody could have sent the request; the grant runs out.
func (f *foreign) prolong(w *word, q aaa.Authenticate) {
	w.asked = true
	f.agent.Ask(q, func(ans engine.Answer) {
		w.asked = false
		if grant, kind, _ := verdict(ans); kind == Verified {
			w.until, w.explicit = f.agent.Now().Mono.Add(f.cfg.holds(grant)), grant.Lifetime > 0
		}
	})
}

// use: a request that passes all checks has used its challenge.
//
//rfc:4721#3.2-8
//rfc:4721#3.2-13
//rfc:4721#A-1
func (f *foreign) use(x *fa.Exchange) engine.Verdict {
	if r := f.facts.Of(x); r.at != 0 {
		f.used.put(mark{whose(x), r.at, fieldsOf(x), x.Now().Mono.Add(f.agent.Config().PendingTime)})
	}
	return engine.Next()
}

// reply: "If the Challenge extension is present in the Registration Reply, it
// MUST be the same Challenge value that was included in the Registration
// Request"; else the home agent's Code stays, and the agent's own is told beside
// it: ha_wrong_challenge. "if the Registration Reply coming from the home agent
// does not include the Challenge extension, the foreign agent SHOULD NOT reject"
// (RFC 4721 section 3.3).
//
//rfc:4721#3.3
//rfc:4721#3.3-6
//rfc:4721#3.3-7
//rfc:4721#3.3-8
//rfc:4721#3.3-12
func (f *foreign) reply(r *fa.Return) engine.Verdict {
	e, n := r.Message.Find(mip4.ExtChallenge)
	if n == 0 || r.Refusal != 0 {
		return engine.Next()
	}
	if n > 1 || !bytes.Equal(e.Body, f.facts.Of(r).value) {
		r.Refusal, r.Why = mip4.CodeFAWrongChallenge, "the home agent's reply has another challenge"
	}
	return engine.Next()
}

// deliver gives the node its next challenge. The home agent's challenge and
// extension 34 are gone: they stood behind extension 32.
//
//rfc:4721#3.3
//rfc:4721#3.3-1
//rfc:4721#3.3-2
//rfc:4721#3.3-3
//rfc:4721#3.3-5
//rfc:4721#3.3-10
func (f *foreign) deliver(r *fa.Return) engine.Verdict {
	p := r.Pending
	value, at := f.issuer.personal(r.Now().Mono, station{p.Link, p.HW})
	s := f.facts.Of(r)
	s.given = at
	f.used.answered(who{p.NAI, p.Request.HomeAddress, p.Request.HomeAgent}, s.at)
	if r.Accepted() && s.word != nil && s.word.explicit {
		r.Lifetime = min(r.Lifetime, s.word.until.Sub(r.Now().Mono))
	}
	r.Draft.Add(mip4.ZoneForeign, &mip4.Challenge{Value: value})
	return engine.Next()
}

// deny: a denial too has a challenge that was not used. It takes no memory.
//
//rfc:4721#3.3
//rfc:4721#3.3-1
//rfc:4721#3.3-5
//rfc:4721#3.3-11
//rfc:4721#12-3
//rfc:4721#12-4
func (f *foreign) deny(d *fa.Denial) engine.Verdict {
	p := d.Pending
	value, _ := f.issuer.personal(f.agent.Now().Mono, station{p.Link, p.HW})
	d.Draft.Add(mip4.ZoneForeign, &mip4.Challenge{Value: value})
	return engine.Next()
}
