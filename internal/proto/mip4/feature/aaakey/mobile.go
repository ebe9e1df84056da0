package aaakey

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// mobile is the feature's part of one mobile node.
type mobile struct {
	cfg     Config
	node    *mn.Node
	home    map[netip.Addr]*key // by home agent
	foreign map[agent]*key
	next    time.Time // monotonic: when a key ends, or shall be renewed
}

// An agent is a foreign agent on a link.
type agent struct {
	link    string
	address netip.Addr
}

// A key is one that the node has made.
type key struct {
	association *assoc.Association // the node's: its SPI stands in what the node receives
	lifetime    time.Duration
	until       time.Time // monotonic
	asked       bool      // for the next one, by a request of its own
}

// due says whether it is time to ask for the next key: a quarter of its life is
// left.
func (k *key) due(now time.Time) bool { return !now.Before(k.renewAt()) }

func (k *key) renewAt() time.Time { return k.until.Add(-k.lifetime / 4) }

// asked is what a request has asked for: SPIs, 0 for none.
type asked struct {
	home, foreign uint32
	identity      []byte
	lost          bool // the foreign agent may have lost its key
}

// derived are the keys of a reply, until it is accepted.
type derived struct{ home, foreign *key }

var (
	wishes = new(engine.Slot[asked])
	fresh  = new(engine.Slot[derived])
)

// maxForeign bounds the foreign agents whose keys are kept.
const maxForeign = 64

func addMobile(c Config, n *mn.Node) error {
	if c.Secret == nil {
		return nil
	}
	m := &mobile{cfg: c, node: n, home: make(map[netip.Addr]*key), foreign: make(map[agent]*key)}
	n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtMobileHomeKeyReply, Sub: 1, HasSub: true, Max: 1})
	n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtMobileForeignKeyReply, Sub: 1, HasSub: true, Max: 1})
	n.Request.Add(Name, "ask", m.request)
	n.Keys.Add(Name, "derive", m.derive)
	n.Accepted.Add(Name, "keep", m.accepted)
	n.Timer(Name, func() time.Time { return m.next }, m.due)
	n.Records(Name, recordPrefix, m.restore)
	n.ListForeignKeys(m.list)
	return nil
}

// request asks for the keys that the node lacks, or that end soon. "If the mobile
// node does not have a Mobility Security Association with the home agent, it MUST
// add an MN-HA Key Generation Nonce Request extension", with the foreign agent it
// SHOULD; with either "the mobile node MUST add the MN-AAA Authentication
// extension" (RFC 3957 section 3).
//
// An agent may have lost its end of a key. A renewal that is not answered is
// repeated without asking for a key, lest AAA be what does not answer, and then as
// if there were no key.
//
//rfc:3957#3
//rfc:3957#6.1
//rfc:3957#6.3
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	k, now := x.Registration.Key, x.Now.Mono
	var want asked
	if m.node.OnDemand(k.HomeAgent) {
		switch own := m.home[k.HomeAgent]; {
		case own == nil:
			want.home = m.spi()
		case x.Transmission > 2:
			x.Association = mn.Unkeyed()
			want.home = m.spi()
		case x.Transmission == 1 && own.due(now) && x.Purpose == mn.Register:
			want.home = m.spi()
		}
	}
	if m.cfg.Foreign && k.Agent.IsValid() && x.Foreign == nil {
		own := m.foreign[agent{k.Link, k.Agent}]
		if own != nil && own.until.After(now) {
			x.Foreign = own.association
			want.lost = x.Transmission > 2
		}
		if x.Foreign == nil || want.lost || x.Transmission == 1 && own.due(now) {
			want.foreign = m.spi()
		}
	}
	if want.home == 0 && want.foreign == 0 {
		return engine.Next()
	}
	want.identity = aaa.Identity(m.node.Config().NAI, x.Request.HomeAddress)
	*wishes.Of(x) = want
	if x.AAA == nil {
		x.AAA = aaa.Signer{Secret: *m.cfg.Secret}
	}
	if want.home != 0 {
		x.Add(mip4.ZoneHome, &mip4.MobileHomeKeyRequest{SPI: want.home})
	}
	if want.foreign != 0 {
		x.Add(mip4.ZoneHome, &mip4.MobileForeignKeyRequest{SPI: want.foreign})
	}
	return engine.Next()
}

// list is what is shown: the keys with foreign agents that have not ended.
func (m *mobile) list() (list []mn.ForeignKey) {
	for at, k := range m.foreign {
		if k.until.After(m.node.Now().Mono) {
			list = append(list, mn.ForeignKey{Agent: at.address, Association: k.association})
		}
	}
	slices.SortFunc(list, func(a, b mn.ForeignKey) int {
		return cmp.Or(a.Agent.Compare(b.Agent), cmp.Compare(a.Association.SPI(), b.Association.SPI()))
	})
	return list
}

// spi chooses an SPI of the node's own.
func (m *mobile) spi() uint32 {
	return NewSPI(m.node.Rand(), func(spi uint32) bool {
		for _, k := range m.home {
			if k.association.SPI() == spi {
				return true
			}
		}
		for _, k := range m.foreign {
			if k.association.SPI() == spi {
				return true
			}
		}
		return false
	})
}

// derive makes the keys of the nonces in a reply, for the reply to be checked
// with: "using the key computed from the key material in the MN-HA Key Generation
// Nonce From AAA extension", and "In this case, if no MN-HA Key Generation Nonce
// Reply extension is present, the mobile node MUST discard the Registration
// Reply", which cannot be meant for denials of foreign agents. When the check
// fails, the reply goes with them, and what there was before stays (RFC 3957
// section 3). A nonce that nobody has asked for counts as much: the node "MUST
// then calculate new keys".
//
//rfc:3957#3
//rfc:3957#5
//rfc:3957#6.2
//rfc:3957#6.4
func (m *mobile) derive(x *mn.Response) engine.Verdict {
	k, want := x.Registration.Key, *wishes.Of(&x.Sent)
	if want.identity == nil {
		want.identity = aaa.Identity(m.node.Config().NAI, x.Sent.Request.HomeAddress)
	}
	if own := m.foreign[agent{k.Link, k.Agent}]; x.Foreign == nil && own != nil && own.until.After(x.Now.Mono) && !want.lost {
		x.Foreign = own.association
	}
	f := fresh.Of(x)
	if e, n := x.Message.FindSub(mip4.ExtMobileHomeKeyReply, 1); n > 0 {
		q, err := mip4.Decode[mip4.MobileHomeKeyReply](e)
		if err != nil || n > 1 {
			return engine.Drop("malformed key generation nonce")
		}
		by, there := x.Message.Find(mip4.ExtMobileHome)
		if !m.node.OnDemand(k.HomeAgent) || there != 1 || by.Off < e.Off {
			return engine.Drop("a key with the home agent that nothing vouches for")
		}
		in := want.home
		if in == 0 {
			in = x.Association.SPI() // unsolicited: the node's SPI stays
		}
		var why string
		f.home, why = m.made(x, in, q.HomeAgentSPI, q.AAASPI, q.Algorithm, styleOf(q.Replay), q.Nonce, want.identity, q.Lifetime)
		if f.home == nil {
			return engine.Drop(why)
		}
		x.Association = f.home.association
	} else if want.home != 0 && x.Reply.Code < 64 {
		return engine.Drop("no key with the home agent, though one was asked for")
	}
	if e, n := x.Message.FindSub(mip4.ExtMobileForeignKeyReply, 1); n > 0 {
		q, err := mip4.Decode[mip4.MobileForeignKeyReply](e)
		if err != nil || n > 1 {
			return engine.Drop("malformed key generation nonce")
		}
		by, there := x.Message.Find(mip4.ExtMobileForeign)
		if !k.Agent.IsValid() || there != 1 || by.Off < e.Off {
			return engine.Drop("a key with the foreign agent that nothing vouches for")
		}
		in := want.foreign
		if in == 0 && x.Foreign != nil {
			in = x.Foreign.SPI()
		}
		var why string
		f.foreign, why = m.made(x, in, q.ForeignAgentSPI, q.AAASPI, q.Algorithm, assoc.Timestamps, q.Nonce, want.identity, q.Lifetime)
		if f.foreign == nil {
			return engine.Drop(why)
		}
		x.Foreign = f.foreign.association
	}
	return engine.Next()
}

// made is the key of a nonce; nil, and why, when there can be none.
func (m *mobile) made(x *mn.Response, in, out, by uint32, algorithm mip4.KeyAlgorithm, style assoc.Style, nonce, identity []byte, lifetime uint32) (*key, string) {
	switch {
	case by != m.cfg.Secret.SPI():
		return nil, fmt.Sprintf("no secret is shared with AAA under SPI %d", by)
	case algorithmOf(algorithm) == 0:
		return nil, fmt.Sprintf("a key for %v", algorithm)
	case lifetime == 0:
		return nil, "a key for no time at all"
	}
	a, err := assoc.NewPair(in, out, algorithmOf(algorithm), m.cfg.Secret.Derive(nonce, identity), style)
	if err != nil {
		return nil, err.Error()
	}
	lasts := time.Duration(lifetime) * time.Second
	return &key{association: a, lifetime: lasts, until: x.Sent.At.Add(lasts)}, ""
}

// accepted keeps the keys of a reply that has passed all checks.
//
//rfc:3957#3
//rfc:3957#6.2
//rfc:3957#6.4
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	k, f := x.Registration.Key, fresh.Of(x)
	k.HomeAgent = x.Reply.HomeAgent // "the Home Agent indicated in the corresponding Registration Reply"
	if f.home != nil {
		m.home[k.HomeAgent] = f.home
		m.node.SetAssociation(k.HomeAgent, f.home.association)
		m.save(k.HomeAgent)
		m.tell(Made, note.Info, k, f.home)
	}
	if f.foreign != nil {
		if len(m.foreign) >= maxForeign {
			clear(m.foreign) // each is asked for again
		}
		m.foreign[agent{k.Link, k.Agent}] = f.foreign
		m.tell(Made, note.Debug, k, f.foreign)
	}
	m.schedule()
	return engine.Next()
}

func (m *mobile) tell(kind note.Kind, level note.Level, k mn.RegistrationKey, of *key) {
	m.node.Tell(note.Note{
		Kind: kind, Level: level, Link: k.Link, HomeAgent: k.HomeAgent, CareOfAddress: k.CareOf,
		SPI: of.association.SPI(), Lifetime: of.lifetime, Why: of.association.Key().String(),
	})
}

// schedule finds out what is next to be done. Keys with foreign agents are renewed
// with the registrations: those are frequent there, and end with the visit.
func (m *mobile) schedule() {
	m.next = time.Time{}
	for _, k := range m.home {
		at := k.until
		if !k.asked {
			at = k.renewAt()
		}
		m.next = engine.Earliest(m.next, at)
	}
}

// due renews keys before they end, and forgets the ones that have: then "the
// keying material" is not "valid" any more (RFC 3957 section 6.2).
//
//rfc:3957#6.4
func (m *mobile) due() {
	now := m.node.Now().Mono
	for _, agent := range slices.SortedFunc(maps.Keys(m.home), netip.Addr.Compare) {
		switch k := m.home[agent]; {
		case !k.until.After(now):
			delete(m.home, agent)
			m.node.SetAssociation(agent, nil)
			m.save(agent)
			m.tell(Ended, note.Warn, mn.RegistrationKey{HomeAgent: agent}, k)
		case !k.asked && k.due(now):
			k.asked = true
			if r := m.node.Active(); r != nil && r.Key.HomeAgent == agent {
				m.node.Renew(r)
			}
		}
	}
	m.schedule()
}
