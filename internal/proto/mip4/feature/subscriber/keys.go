package subscriber

import (
	"errors"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/aaakey"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// Brought is what AAA has said of a request's node before anybody has asked: who
// takes a request from AAA leaves it there.
var Brought = new(ha.Slot[aaa.Grant])

// A derived key is one that AAA has made of a nonce (RFC 3957). It is among the
// associations of its word's grant too.
type derived struct {
	association *assoc.Association
	lifetime    time.Duration
	until       time.Time // monotonic
}

// mostKeys bounds the keys of one node. A node whose reply was lost goes on with
// an older one.
const mostKeys = 4

// bootstrap asks AAA about a request that nothing but a Mobile-AAA authenticator
// vouches for, and that asks for a key (extension 42). A node that has no key with
// its home agent can send no other; "the home agent may use the Mobile-AAA
// Authentication extension as an authorization-enabling extension" (RFC 4721
// section 3.4). What AAA refuses is a stranger's, who hears nothing.
//
//rfc:3957#3
//rfc:4721#3.4
func (h *home) bootstrap(x *ha.Exchange) engine.Verdict {
	spi, ok := aaakey.Wished(x.Message, mip4.ExtMobileHomeKeyRequest)
	proof, proven := aaakey.Proof(x.Message)
	if !ok || !proven {
		return engine.Next()
	}
	grant := *Brought.Of(x)
	if grant.Keys.MobileHome == nil {
		if x.Answer == nil {
			return engine.Await(h.keyQuestion(x, proof, spi))
		}
		ans := *x.Answer
		x.Answer = nil // it is not the next hook's
		g, ok := ans.Value.(aaa.Grant)
		if ans.Err != nil || !ok {
			return engine.Drop("AAA does not know the node")
		}
		grant = g
	}
	switch {
	case grant.Keys.MobileHome == nil:
		return engine.Drop("AAA has made no key")
	case !h.mine(grant):
		return h.unfit(x, errElsewhere)
	}
	f := h.facts.Of(x)
	f.grant = &grant
	if x.Node = h.agent.NodeNamed(x.NAI); x.Node != nil {
		if !x.Node.Adopted() {
			f.grant = nil // configured meanwhile
		}
		return engine.Next()
	}
	w := h.renewed(nil, grant)
	m := nodeOf(aaa.Authorise{Subject: aaa.Subject{NAI: x.NAI}}, w.grant)
	candidate, err := h.agent.Candidate(m)
	if err != nil {
		return h.unfit(x, err)
	}
	x.Node, f.candidate = candidate, w
	return engine.Next()
}

func (h *home) keyQuestion(x *ha.Exchange, proof aaa.Proof, spi uint32) aaa.Authenticate {
	q := aaa.Authenticate{CoLocated: true, Proof: proof, Subject: aaa.Subject{
		NAI: x.NAI, HomeAgent: x.Request.HomeAgent, CareOfAddress: x.Request.CareOfAddress, Source: x.Packet.Src.Addr(),
		Registered: x.Authentic,
	}}
	if home := x.Request.HomeAddress; !home.IsUnspecified() {
		q.HomeAddress = home
	}
	q.Wishes.MobileHome = aaa.KeyWish{MobileSPI: spi, AgentSPI: aaakey.NewSPI(h.agent.Rand(), func(spi uint32) bool {
		return x.Node != nil && x.Node.Association(spi) != nil
	})}
	return q
}

// vouched takes AAA's word for the authenticator that the request lacks.
func (h *home) vouched(x *ha.Exchange) engine.Verdict {
	f := h.facts.Of(x)
	if f.grant == nil || x.Authentic {
		return engine.Next()
	}
	x.Association, x.Authentic, x.Verified = f.grant.Keys.MobileHome.Association, true, true
	return engine.Next()
}

// rekey asks AAA for the key that a node asks for whose request is authentic and
// fresh. When nobody answers, the node goes on with the key that it has.
//
//rfc:3957#3
func (h *home) rekey(x *ha.Exchange) engine.Verdict {
	f := h.facts.Of(x)
	if f.grant != nil {
		return h.keep(x)
	}
	if !x.Authentic || !x.Node.Adopted() {
		return engine.Next()
	}
	spi, ok := aaakey.Wished(x.Message, mip4.ExtMobileHomeKeyRequest)
	proof, proven := aaakey.Proof(x.Message)
	if !ok || !proven {
		return engine.Next()
	}
	if g := *Brought.Of(x); g.Keys.MobileHome != nil {
		f.grant = &g
		return h.keep(x)
	}
	if x.Answer == nil {
		return engine.Await(h.keyQuestion(x, proof, spi))
	}
	ans := *x.Answer
	x.Answer = nil // it is not the next hook's
	grant, ok := ans.Value.(aaa.Grant)
	switch {
	case errors.Is(ans.Err, aaa.ErrRejected):
		return engine.Deny(uint8(mip4.CodeHABadAAAAuth), ans.Err.Error())
	case ans.Err != nil || !ok || grant.Keys.MobileHome == nil:
		return engine.Next()
	case !h.mine(grant):
		return engine.Deny(uint8(mip4.CodeHAProhibited), "AAA grants another home agent")
	}
	x.Verified, f.grant = true, &grant
	return h.keep(x)
}

// keep gives the node its new key: from here on it is good, and signs the reply.
// "the home agent ... MUST also contain a subsequent Mobile Home Authentication
// extension, created using the generated MN-HA key" (RFC 3957 section 3).
//
//rfc:3957#3
//rfc:4004#8.3-2
func (h *home) keep(x *ha.Exchange) engine.Verdict {
	f := h.facts.Of(x)
	w := f.candidate
	if w == nil || h.words[x.Node] != w {
		w = h.renewed(h.words[x.Node], *f.grant)
		if err := h.agent.Reassociate(x.Node, nodeOf(aaa.Authorise{Subject: aaa.Subject{NAI: x.NAI}}, w.grant)); err != nil {
			return engine.Deny(uint8(mip4.CodeHAUnspecified), err.Error())
		}
		h.words[x.Node] = w
		h.lasts(x.NAI, w)
	}
	k := f.grant.Keys.MobileHome
	x.Association = k.Association
	h.agent.Tell(note.Note{
		Kind: aaakey.Made, Level: note.Debug, NAI: string(x.NAI), HomeAddress: x.Home, SPI: k.Association.SPI(), Lifetime: k.Lifetime,
		Endpoint: x.Packet.Src, Why: k.Association.Key().String(),
	})
	return engine.Next()
}

// renewed is AAA's word with the key that a grant brings, and with the keys of the
// word before it that still hold.
//
//rfc:3957#6.4
func (h *home) renewed(old *word, g aaa.Grant) *word {
	now, k := h.agent.Now().Mono, g.Keys.MobileHome
	if g.Lifetime > 0 {
		k.Lifetime = min(k.Lifetime, g.Lifetime)
	}
	w := &word{dirty: true, keys: []derived{{k.Association, k.Lifetime, now.Add(k.Lifetime)}}}
	if old != nil {
		for _, o := range old.keys {
			if o.until.After(now) && len(w.keys) < mostKeys && o.association.SPI() != k.Association.SPI() {
				w.keys = append(w.keys, o)
			}
		}
	}
	g.Keys = aaa.SessionKeys{}
	for _, o := range w.keys {
		g.Associations = append(g.Associations[:len(g.Associations):len(g.Associations)], o.association)
		if o.until.After(w.until) {
			w.until = o.until
		}
	}
	w.grant = g
	return w
}

// lasts sets when the last of a node's keys ends.
func (h *home) lasts(nai ident.NAI, w *word) {
	var end time.Time
	for _, k := range w.keys {
		if k.until.After(end) {
			end = k.until
		}
	}
	h.ends.Set(nai, end)
}

// lingering is how long a node without any key is kept that cannot go yet.
const lingering = 10 * time.Second

// ended lets nodes go whose keys have all ended, out of the store too: "The
// associated session key or nonce ... MUST NOT be used if the lifetime has expired"
// (RFC 4004 section 9.13). AAA makes others for who comes back.
//
//rfc:4004#9.13
func (h *home) ended() {
	for {
		nai, due := h.ends.Due(h.agent.Now().Mono)
		if !due {
			return
		}
		n := h.agent.NodeNamed(nai)
		w := h.words[n]
		switch {
		case n == nil || w == nil || len(w.keys) == 0:
		case !h.agent.Disown(n):
			h.ends.Set(nai, h.agent.Now().Mono.Add(lingering))
		default:
			delete(h.words, n)
			h.agent.Do(engine.Commit{Records: []engine.Record{{Key: append([]byte(records), nai...)}}})
		}
	}
}

// over says whether the key with this SPI has ended, or AAA's word as a whole unless
// that was renewed.
func (w *word) over(spi uint32, now time.Time, renewed bool) bool {
	for _, k := range w.keys {
		if k.association.SPI() == spi {
			return !k.until.After(now) || !renewed && !w.until.After(now)
		}
	}
	return true
}

// nonce is the reply's part: "The MN-HA ... KeyGen Reply extension MUST appear in
// the Registration Reply before the Mobile-Home Authentication extension" (RFC
// 3957 section 6.4).
//
//rfc:3957#6.4
func (h *home) nonce(x *ha.Exchange) engine.Verdict {
	f := h.facts.Of(x)
	if f.grant != nil && x.Association == f.grant.Keys.MobileHome.Association {
		x.Draft.Add(mip4.ZoneHome, aaakey.HomeReply(f.grant.Keys.MobileHome))
	}
	return engine.Next()
}
