package subscriber

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// carrying is what a home agent does for a home AAA server that brings it requests
// (RFC 4004 section 3.1).
type carrying struct {
	home   *home
	orders *ha.Slot[*aaa.Carry]
	// keys are those with foreign agents, the latest to expire first.
	keys map[netip.Addr][]foreignKey
	ends engine.Agenda[string] // the record of each
}

// A foreignKey is one that AAA has made for this agent and a foreign agent.
type foreignKey struct {
	association *assoc.Association
	lifetime    time.Duration
	until       time.Time // monotonic
}

// mostForeignKeys bounds the keys with one foreign agent: "if multiple MNs are
// registered on the same FA and HA pair, then multiple mobility security
// associations would be distributed. However, only one is required" (RFC 4004
// section 8.5).
const mostForeignKeys = 8

// foreignRecords is where keys with foreign agents are kept.
const foreignRecords = "ha/aaa-foreign/"

func addCarrying(h *home) {
	c := &carrying{home: h, orders: new(ha.Slot[*aaa.Carry]), keys: make(map[netip.Addr][]foreignKey)}
	a := h.agent
	a.AddOrder(c.carry)
	a.Authenticate.Add(Name, "carried", c.vouch)
	a.Bind.Add(Name, "carried", c.authorise)
	a.Reply.Add(Name, "carried", c.reply)
	a.AddForeignAgentKeys(c.foreignKeys)
	a.AddTimer(c.ends.Next, c.ended)
	a.AddRecords(foreignRecords, c.restore)
}

// carry takes a Registration Request from AAA.
//
//rfc:4004#5.3
//rfc:4004#5.4
//rfc:4004#3.1-7
//rfc:4004#3.1-9
//rfc:4004#5.3-1
func (c *carrying) carry(order engine.Command) bool {
	q, mine := order.Value.(aaa.Carry)
	if !mine {
		return false
	}
	a := c.home.agent
	fail := func(err error) bool {
		a.Do(engine.Result{Ticket: order.Ticket, Err: err})
		return true
	}
	m, err := mip4.Parse(q.Request)
	if err != nil {
		return fail(err)
	}
	fixed, err := m.Request()
	if err != nil {
		return fail(err)
	}
	to := a.Config().Addresses[0]
	if slices.Contains(a.Config().Addresses, fixed.HomeAgent) {
		to = fixed.HomeAgent
	}
	err = a.Submit(ha.Submission{
		Packet: engine.Packet{
			Src: netip.AddrPortFrom(fixed.CareOfAddress, registrations), Dst: netip.AddrPortFrom(to, registrations), TTL: 255, Data: q.Request,
		},
		Prepare: func(x *ha.Exchange) {
			*c.orders.Of(x) = &q
			c.home.facts.Of(x).brought = true
			*Brought.Of(x) = aaa.Grant{HomeAddress: q.HomeAddress, Keys: q.Keys, Class: q.Class}
		},
		Reply: func(x *ha.Exchange, data []byte) engine.Action {
			return engine.Result{Ticket: order.Ticket, Value: aaa.Carried{
				Reply: bytes.Clone(data), Accepted: data != nil && x.Accepted(), HomeAddress: x.Home, HomeAgent: x.HomeAgent, Why: x.Why,
			}}
		},
	})
	if err != nil {
		return fail(err)
	}
	return true
}

// registrations is the port of registration messages.
const registrations = 434

// vouch takes AAA's word: the node was authenticated, and its foreign agent was.
// Which home agent serves was AAA's choice where the request leaves it open.
//
//rfc:4004#3.1
//rfc:4004#8.5
func (c *carrying) vouch(x *ha.Exchange) engine.Verdict {
	q := *c.orders.Of(x)
	if q == nil {
		return engine.Next()
	}
	if q.NAI != x.NAI {
		return engine.Drop("AAA speaks of another node")
	}
	x.Verified = true
	if asked := x.Request.HomeAgent; asked.IsUnspecified() || asked == everyAgent {
		x.HomeAgentAcceptable = true
	}
	if x.Request.Flags.Has(mip4.FlagD) {
		return engine.Next()
	}
	var by *assoc.Association
	switch k := q.Keys.ForeignHome; {
	case k != nil:
		// "the HA always uses the mobility security association from the HAR when
		// constructing the Mobile IP Registration Reply in the corresponding HAA."
		by = k.Association
	default:
		if keys := c.home.agent.ForeignAgentKeys(x.Request.CareOfAddress); len(keys) > 0 {
			by = keys[0]
		}
	}
	x.RelayedBy(x.Request.CareOfAddress, by)
	return engine.Next()
}

// authorise lets AAA's word hold as long as it says, under the keys that the node
// has by now: "The Diameter Mobile IPv4 application makes use of two timers" (RFC
// 4004 section 8.1).
//
//rfc:4004#8.1
func (c *carrying) authorise(x *ha.Exchange) engine.Verdict {
	q, w := *c.orders.Of(x), c.home.words[x.Node]
	if q != nil && w != nil && q.Lifetime > 0 {
		w.grant.Lifetime, w.grant.Class, w.dirty = q.Lifetime, q.Class, true
		w.until = x.Now().Mono.Add(q.Lifetime)
	}
	return engine.Next()
}

var everyAgent = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// reply adds what AAA has for the node: the nonce of its key with the foreign
// agent, and the names by which it can find home agent and AAA server again: "the
// Home Agent MUST include the HA NAI and the AAAH NAI" (RFC 4004 section 3.1).
//
//rfc:4004#3.1
//rfc:4004#8.4
//rfc:4004#3.1-8
//rfc:4004#3.4-2
func (c *carrying) reply(x *ha.Exchange) engine.Verdict {
	q := *c.orders.Of(x)
	if q == nil || !x.Authentic || !x.Accepted() {
		return engine.Next()
	}
	if n := q.Nonce; n != nil {
		x.Draft.Add(mip4.ZoneHome, &mip4.MobileForeignKeyReply{
			Lifetime: uint32(n.Lifetime / time.Second), AAASPI: n.AAASPI, ForeignAgentSPI: n.ForeignSPI, Algorithm: mip4.KeyHMACSHA1, Nonce: n.Nonce,
		})
	}
	for _, name := range []struct {
		kind mip4.NAIKind
		nai  ident.NAI
	}{{mip4.NAIHomeAgent, q.AgentName}, {mip4.NAIHomeAAA, q.ServerName}} {
		if name.nai != "" && len(name.nai) < 255 {
			x.Draft.Add(mip4.ZoneHome, &mip4.NAICarrying{Kind: name.kind, NAI: string(name.nai)})
		}
	}
	if k := q.Keys.ForeignHome; k != nil && !x.Request.Flags.Has(mip4.FlagD) {
		c.keep(x, k)
	}
	return engine.Next()
}

// keep keeps a key with the foreign agent, with what the reply commits.
func (c *carrying) keep(x *ha.Exchange, k *aaa.SessionKey) {
	at, now := x.Request.CareOfAddress, x.Now().Mono
	list := []foreignKey{{k.Association, k.Lifetime, now.Add(k.Lifetime)}}
	for _, old := range c.keys[at] {
		switch {
		case old.association.SPI() == k.Association.SPI():
		case !old.until.After(now) || len(list) >= mostForeignKeys:
			x.Record(engine.Record{Key: foreignRecord(at, old.association.SPI())})
		default:
			list = append(list, old)
		}
	}
	slices.SortStableFunc(list, func(a, b foreignKey) int { return b.until.Compare(a.until) })
	c.keys[at] = list
	a := k.Association
	value, err := json.Marshal(storedKey{
		SPI: a.SPI(), Algorithm: a.Algorithm().String(), Replay: a.Replay().String(), Key: a.Key().Reveal(),
		Out: a.Outbound().SPI(), Lifetime: k.Lifetime, Until: x.Now().WallOf(now.Add(k.Lifetime)),
	})
	if err == nil {
		x.Record(engine.Record{Key: foreignRecord(at, a.SPI()), Value: value})
		c.ends.Set(string(foreignRecord(at, a.SPI())), now.Add(k.Lifetime))
	}
}

// ended removes keys with foreign agents whose lifetime is over.
//
//rfc:4004#9.13
func (c *carrying) ended() {
	now := c.home.agent.Now().Mono
	for {
		record, due := c.ends.Due(now)
		if !due {
			return
		}
		if at, ok := recordOf(record); ok {
			c.keys[at] = slices.DeleteFunc(c.keys[at], func(k foreignKey) bool { return !k.until.After(now) })
			if len(c.keys[at]) == 0 {
				delete(c.keys, at)
			}
		}
		c.home.agent.Do(engine.Commit{Records: []engine.Record{{Key: []byte(record)}}})
	}
}

// recordOf is the foreign agent that a record is about.
func recordOf(record string) (netip.Addr, bool) {
	name, _, _ := strings.Cut(strings.TrimPrefix(record, foreignRecords), "/")
	at, err := netip.ParseAddr(name)
	return at, err == nil
}

func foreignRecord(at netip.Addr, spi uint32) []byte {
	return fmt.Appendf(nil, "%s%v/%d", foreignRecords, at, spi)
}

// restore brings a key with a foreign agent back.
func (c *carrying) restore(now engine.Now, r engine.Record) error {
	at, ok := recordOf(string(r.Key))
	if !ok || r.Value == nil {
		return nil
	}
	var s storedKey
	if err := json.Unmarshal(r.Value, &s); err != nil {
		return fmt.Errorf("subscriber: %w", err)
	}
	a, err := s.association()
	if err != nil {
		return fmt.Errorf("subscriber: key with %v: %w", at, err)
	}
	left := min(s.Until.Sub(now.Wall), s.Lifetime)
	if left > 0 {
		c.keys[at] = append(c.keys[at], foreignKey{a, s.Lifetime, now.Mono.Add(left)})
		slices.SortStableFunc(c.keys[at], func(a, b foreignKey) int { return b.until.Compare(a.until) })
	}
	c.ends.Set(string(r.Key), now.Mono.Add(max(left, 0)))
	return nil
}

// foreignKeys are the keys with a foreign agent that still hold: "The associated
// session key or nonce ... MUST NOT be used if the lifetime has expired" (RFC 4004
// section 9.13).
//
//rfc:4004#9.13
//rfc:4004#8.5-3
//rfc:4004#9.13-1
func (c *carrying) foreignKeys(at netip.Addr) []*assoc.Association {
	var list []*assoc.Association
	now := c.home.agent.Now().Mono
	for _, k := range c.keys[at] {
		if k.until.After(now) {
			list = append(list, k.association)
		}
	}
	return list
}
