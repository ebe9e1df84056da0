package subscriber

import (
	"errors"
	"slices"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/claim"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// home is the feature's part of one home agent.
type home struct {
	cfg   Config
	agent *ha.Agent
	words map[*ha.Node]*word // of adopted nodes
	facts *ha.Slot[fact]
	ends  engine.Agenda[ident.NAI] // of the keys that AAA has made

	warnAgain time.Time            // monotonic: of grants that cannot be
	later     []*assoc.Association // stand for keys that a node will ask for
}

// A word is what AAA has said of a node.
type word struct {
	grant aaa.Grant
	until time.Time // monotonic
	asked bool      // whether it still holds
	dirty bool      // not in the store yet
	keys  []derived // that AAA has made, the newest first; with some, nothing else identifies the node
}

// A fact is what the feature knows of one request.
type fact struct {
	candidate *word
	grant     *aaa.Grant // that has brought a key
	brought   bool       // AAA has brought the request itself
}

func addHome(c Config, a *ha.Agent) *home {
	h := &home{cfg: c, agent: a, words: make(map[*ha.Node]*word), facts: new(ha.Slot[fact])}
	a.AllowAdoption()
	h.examines()
	a.Identify.Add(Name, "ask", h.identify)
	if c.Keys {
		a.Claims.Add(
			claim.Claim{Feature: Name, Type: mip4.ExtMobileHomeKeyRequest, Sub: 1, HasSub: true, From: "mobile node", Max: 1, Section: "3957#6.3"},
			claim.Claim{Feature: Name, Type: mip4.ExtMobileForeignKeyRequest, Sub: 1, HasSub: true, From: "mobile node", Max: 1, Section: "3957#6.1"},
		)
		if c.Carried {
			addCarrying(h)
		}
		a.Authenticate.Add(Name, "vouched", h.vouched)
		a.Replay.Add(Name, "key", h.rekey)
		a.Reply.Add(Name, "nonce", h.nonce)
		a.AddTimer(h.ends.Next, h.ended)
	}
	a.Authenticate.Add(Name, "adopt", h.adopt)
	a.Bind.Add(Name, "lifetime", h.limit)
	a.Reply.Add(Name, "record", h.record)
	a.AddRecords(records, h.restore)
	return h
}

// identify asks AAA about a node that the agent does not know, or of which AAA
// must be asked again: its word is over, or the request was signed under an SPI
// that AAA has not told of. A request without the extension that AAA's key could
// verify costs no question.
//
//rfc:5030#3.1
func (h *home) identify(x *ha.Exchange) engine.Verdict {
	if x.NAI == "" || x.Node != nil && !x.Node.Adopted() {
		return engine.Next()
	}
	e, n := x.Message.Find(mip4.ExtMobileHome)
	if n == 0 && h.cfg.Keys {
		return h.bootstrap(x)
	}
	if n != 1 {
		return engine.Next()
	}
	auth, err := x.Message.Authentication(e)
	if err != nil {
		return engine.Next()
	}
	now := x.Now().Mono
	w := h.words[x.Node]
	if w != nil && len(w.keys) > 0 {
		// A request that AAA has brought has its word with it.
		if w.over(auth.SPI, now, h.facts.Of(x).brought) {
			return engine.Drop("its keys have ended, and AAA has to be asked for others")
		}
		return engine.Next()
	}
	q := aaa.Authorise{SPI: auth.SPI, Subject: aaa.Subject{
		NAI: x.NAI, HomeAgent: x.Request.HomeAgent, CareOfAddress: x.Request.CareOfAddress, Source: x.Packet.Src.Addr(),
	}}
	if home := x.Request.HomeAddress; !home.IsUnspecified() {
		q.HomeAddress = home
	}
	if x.Answer == nil {
		if w != nil && w.until.After(now) && x.Node.Association(auth.SPI) != nil {
			soon := max(h.cfg.Hold/4, time.Duration(x.Request.Lifetime)*time.Second)
			if !w.asked && w.until.Sub(now) < soon && len(x.Node.Bindings()) > 0 {
				q.Registered = true
				h.prolong(x.Node, w, q)
			}
			return engine.Next()
		}
		return engine.Await(q)
	}
	ans := *x.Answer
	x.Answer = nil // it is not the next hook's
	if there := h.agent.NodeNamed(x.NAI); there != nil {
		x.Node = there // another request has brought it in meanwhile
		if !there.Adopted() {
			return engine.Next()
		}
	}
	grant, ok := ans.Value.(aaa.Grant)
	if ans.Err != nil || !ok {
		if w := h.words[x.Node]; errors.Is(ans.Err, aaa.ErrRejected) && w != nil && x.Node.Association(q.SPI) != nil {
			w.until = now // not for an SPI that anybody can make up
		}
		return engine.Drop("AAA does not know the node") // a stranger hears nothing
	}
	if !h.mine(grant) {
		return h.unfit(x, errElsewhere)
	}
	w = h.learn(grant)
	if x.Node != nil {
		if err := h.agent.Reassociate(x.Node, nodeOf(q, grant)); err != nil {
			return h.unfit(x, err)
		}
		h.words[x.Node] = w
		return engine.Next()
	}
	candidate, err := h.agent.Candidate(nodeOf(q, grant))
	if err != nil {
		return h.unfit(x, err)
	}
	x.Node = candidate
	h.facts.Of(x).candidate = w
	return engine.Next()
}

// errElsewhere is why a grant is no use here.
var errElsewhere = errors.New("AAA grants another home agent")

// unfitInterval is between warnings of grants that cannot be: whoever knows a name
// that AAA knows can ask for them.
const unfitInterval = time.Minute

// unfit discards a request for which AAA grants what this home agent cannot give, and
// tells the operator, who alone can mend it.
func (h *home) unfit(x *ha.Exchange, err error) engine.Verdict {
	n := note.Note{Kind: Unfit, Level: note.Debug, NAI: string(x.NAI), Endpoint: x.Packet.Src, Why: err.Error()}
	if now := h.agent.Now().Mono; !now.Before(h.warnAgain) {
		n.Level, h.warnAgain = note.Warn, now.Add(unfitInterval)
	}
	h.agent.Tell(n)
	return engine.Drop(err.Error())
}

func (h *home) learn(g aaa.Grant) *word {
	holds := g.Lifetime
	if holds <= 0 {
		holds = h.cfg.Hold
	}
	return &word{grant: g, until: h.agent.Now().Mono.Add(holds), dirty: true}
}

// mine says whether the grant names this home agent, or none.
func (h *home) mine(g aaa.Grant) bool {
	return !g.HomeAgent.IsValid() || slices.Contains(h.agent.Config().Addresses, g.HomeAgent)
}

func nodeOf(q aaa.Authorise, g aaa.Grant) ha.MobileNode {
	m := ha.MobileNode{Keys: g.Associations, Prefixes: g.Prefixes}
	m.NAI, m.HomeAddress = q.NAI, g.HomeAddress
	return m
}

// forget has AAA asked about a node before it is served again.
func (h *home) forget(n *ha.Node) {
	if w := h.words[n]; w != nil {
		w.until = h.agent.Now().Mono
	}
}

// prolong asks AAA again while the node goes on. What it says then holds from
// the next renewal on. A refusal ends nothing by itself: the word runs out.
func (h *home) prolong(n *ha.Node, w *word, q aaa.Authorise) {
	w.asked = true
	h.agent.Ask(q, func(ans engine.Answer) {
		w.asked = false
		grant, ok := ans.Value.(aaa.Grant)
		if ans.Err != nil || !ok || !h.mine(grant) || h.words[n] != w {
			return
		}
		if h.agent.Reassociate(n, nodeOf(q, grant)) == nil {
			h.words[n] = h.learn(grant)
		}
	})
}

// adopt takes the node in: from here on it is known, also when the request is
// refused for another reason.
func (h *home) adopt(x *ha.Exchange) engine.Verdict {
	w := h.facts.Of(x).candidate
	if w == nil || !x.Authentic {
		return engine.Next()
	}
	x.Node = h.agent.Adopt(x.Node)
	if x.Node.Adopted() {
		h.words[x.Node] = w
		h.lasts(x.NAI, w)
	}
	x.Home = x.Node.Home()
	h.agent.Tell(note.Note{
		Kind: Adopted, Level: note.Info, NAI: string(x.NAI), HomeAddress: x.Home, CareOfAddress: x.Request.CareOfAddress, Endpoint: x.Packet.Src,
	})
	return engine.Next()
}

// limit ends a binding with AAA's word, where AAA itself has said how long that
// is: Session-Timeout "sets the maximum number of seconds of service to be
// provided to the user" (RFC 2865 section 5.27).
func (h *home) limit(x *ha.Exchange) engine.Verdict {
	if w := h.words[x.Node]; w != nil && w.grant.Lifetime > 0 && !x.Deregisters() {
		x.Limit(max(w.until.Sub(x.Now().Mono), time.Second))
	}
	return engine.Next()
}
