package standard_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A carrier is AAA that takes a foreign agent's requests to the home agent itself,
// and makes all three keys (RFC 4004).
type carrier struct {
	j      *journey
	book   aaa.Book
	orders int
	holds  time.Duration // its word
	silent bool
	luck   *rand.ChaCha8
}

// authorised is how long its word holds, and keyed how long its keys.
const (
	authorised = 30 * time.Minute
	keyed      = 4 * time.Hour
)

func carried(t testing.TB, change ...func(*plan)) (*journey, *carrier) {
	t.Helper()
	j := onDemand(t, keyed, func(p *plan) {
		p.atForeign.Challenge.Carried, p.atHome.Subscribers.Carried = true, true
		// Nobody shares anything with anybody but the node with AAA.
		p.home.ForeignAgents = nil
		p.foreign.HomeAgents = nil
		for _, c := range change {
			c(p)
		}
	})
	k, _ := assoc.ParseKey("00112233445566778899aabbccddeeff")
	shared, err := assoc.New(512, assoc.HMACMD5, k, assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	c := &carrier{j: j, holds: authorised, luck: rand.NewChaCha8([32]byte{9}), book: aaa.Book{"van7@fleet.example": {
		Secrets: []aaa.Secret{aaa.Shared(shared)}, Keys: aaa.KeyPolicy{Lifetime: keyed},
	}}}
	j.aaa = c.answer
	return j, c
}

func (c *carrier) answer(question any) (aaa.Grant, error) {
	q, ok := question.(aaa.Authenticate)
	switch {
	case c.silent:
		return aaa.Grant{}, aaa.ErrUnavailable
	case !ok:
		return aaa.Grant{}, aaa.ErrRejected
	}
	g, err := c.book.Answer(q, c.luck)
	if err != nil {
		return g, err
	}
	order := aaa.Carry{
		NAI: q.NAI, Request: append(append([]byte(nil), q.Proof.Covered...), q.Proof.Authenticator...), Lifetime: c.holds,
		Keys: aaa.SessionKeys{MobileHome: g.Keys.MobileHome}, AgentName: "ha@home.example", ServerName: "aaa@home.example",
	}
	if k := g.Keys.MobileForeign; k != nil {
		order.Nonce = &aaa.ForeignNonce{Lifetime: k.Lifetime, AAASPI: k.AAASPI, ForeignSPI: k.Association.SPI(), Nonce: k.Nonce}
	}
	if k := g.Keys.ForeignHome; k != nil {
		// The home agent receives under a number of its own.
		a := k.Association
		at, _ := assoc.NewPair(9000+uint32(c.orders), a.SPI(), a.Algorithm(), a.Key(), a.Replay())
		here, _ := assoc.NewPair(a.SPI(), at.SPI(), a.Algorithm(), a.Key(), a.Replay())
		order.Keys.ForeignHome = &aaa.SessionKey{Association: at, Lifetime: k.Lifetime}
		g.Keys.ForeignHome = &aaa.SessionKey{Association: here, Lifetime: k.Lifetime}
	}
	c.orders++
	home := c.j.home
	c.j.step(home, engine.Command{Ticket: engine.Ticket(1000 + c.orders), Value: order})
	done, ok := home.results[len(home.results)-1].Value.(aaa.Carried)
	if !ok || !done.Accepted && done.Reply == nil {
		return aaa.Grant{}, aaa.ErrProhibited // DIAMETER_ERROR_MIP_REPLY_FAILURE, without a reply
	}
	g.Reply, g.Lifetime, g.HomeAgent = done.Reply, c.holds, done.HomeAgent
	return g, nil
}

// AAA carries a node's first request to the home agent, and those with which its
// word or a key is made anew; in between node and agents speak to each other, with
// the keys of AAA in all three authentication extensions. A day long the node is
// never without its binding.
//
//rfc:4004#3.1
//rfc:4004#8
//rfc:4004#8.1
//rfc:4004#8.5
//rfc:4004#8-2
//rfc:4004#8-3
//rfc:4004#8.5-2
//rfc:4004#3.4-3
func TestAAACarriesRequestsAndAgentsDoTheRest(t *testing.T) {
	j, c := carried(t)
	direct, signed := 0, 0
	j.tap = func(from *post, data []byte) []byte {
		if from == j.fa(1) && data[0] == byte(mip4.TypeRegistrationRequest) {
			direct++
			if list := exts(t, data); has(list, mip4.ExtForeignHome, mip4.ExtMobileHome) {
				signed++
			}
		}
		return data
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	if c.orders == 0 || direct != 0 {
		t.Fatalf("%d requests by AAA, %d past it", c.orders, direct)
	}
	for range 24 * 6 {
		j.run(10 * time.Minute)
		j.visits(j.fa(1), encap.IPIP)
	}
	if most := int(24*time.Hour/authorised)*3 + 20; c.orders < 24*2 || c.orders > most {
		t.Errorf("AAA carried %d requests in a day, want no more than %d", c.orders, most)
	}
	if direct == 0 || signed != direct {
		t.Errorf("%d of %d relayed requests are signed by node and foreign agent", signed, direct)
	}
	t.Logf("AAA carried %d requests in a day, %d went past it", c.orders, direct)
	// At the next foreign agent everything begins anew, for one home agent.
	before := c.orders
	j.attach(j.fa(2), netip.Addr{})
	j.run(time.Minute)
	j.visits(j.fa(2), encap.IPIP)
	if c.orders == before {
		t.Error("another foreign agent has not asked")
	}
}

// While AAA is silent, a visitor goes on as long as AAA's word holds, and not
// longer; who is not known hears 64.
//
//rfc:4004#8.1
func TestAVisitorOutlivesASilentAAAUntilItsWordIsOver(t *testing.T) {
	j, c := carried(t)
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	c.silent = true
	j.run(authorised - time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	j.run(authorised)
	if e, there := j.home.only(); there {
		t.Errorf("AAA's word is over, and the home agent sends to %+v", e.Tunnels)
	}
	c.silent = false
	j.run(10 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
}

// A binding ends with AAA's word, though the key goes on.
//
//rfc:4004#8.1
func TestABindingEndsWithTheAuthorisation(t *testing.T) {
	j, c := carried(t)
	c.holds = time.Minute
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	e, _ := j.home.only()
	for _, tunnel := range e.Tunnels {
		if left := tunnel.Until.Sub(j.now.Mono); tunnel.Until.IsZero() || left > c.holds {
			t.Errorf("the home agent sends for %v, AAA has said %v", left, c.holds)
		}
	}
}

// The home agent keeps the keys of AAA over a restart, those with foreign agents
// too: what these have signed is good, and AAA need not be asked.
//
//rfc:4004#8.5
//rfc:4004#8.5-3
func TestAHomeAgentKeepsTheKeysOfAAAOverARestart(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		var made plan
		j, c := carried(t, func(p *plan) { made = *p })
		store := enginetest.Store{}
		j.commits = func(h *post, records []engine.Record) {
			if h == j.home {
				store.Keep(records)
			}
		}
		j.attach(j.fa(1), netip.Addr{})
		j.run(5 * time.Second)
		j.visits(j.fa(1), encap.IPIP)
		m, err := standard.HomeAgent(made.home, standard.Features(made.atHome), rand.New(rand.NewPCG(8, 8)))
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for k := range store {
			if strings.HasPrefix(k, "ha/aaa-foreign/") {
				if kept++; !keeps {
					delete(store, k)
				}
			}
		}
		store.Restore(t, m, j.now)
		if kept != 1 {
			t.Errorf("%d keys with the foreign agent are kept", kept)
		}
		j.home.machine = m
		j.boot(j.home)
		c.silent = true
		refused := len(j.refusedWith())
		j.run(authorised - time.Minute)
		if got := len(j.refusedWith()) == refused && j.status().State == "registered"; got != keeps {
			t.Errorf("keys kept %v: the node is %s, refused with %v", keeps, j.status().State, j.refusedWith())
		}
	}
}

// When the home realm has ended a node's session, the keys that it has made before
// still hold; the next request that it brings is served.
//
//rfc:4004#4.1.3
//rfc:4004#8.1
func TestANodeWhoseSessionWasEndedComesBackWithItsKeys(t *testing.T) {
	j, c := carried(t)
	c.holds = 2 * time.Minute // every renewal goes by way of AAA
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	before := keysOf(j, j.node)
	j.step(j.home, engine.Command{Ticket: 5, Value: aaa.End{NAI: "van7@fleet.example"}})
	j.run(time.Second)
	if len(j.home.entries) != 0 {
		t.Fatal("the session was not ended")
	}
	j.run(2 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	if codes := j.refusedWith(); len(codes) > 0 {
		t.Errorf("the node was refused with %v", codes)
	}
	if now := keysOf(j, j.node); !slices.Equal(now, before) {
		t.Errorf("the node had %v and has %v", before, now)
	}
}

// A home agent that has lost its store is one that no foreign agent can reach but by
// way of AAA, which hears of no reply. The node asks for another key then, and does
// not wait until its own one ends.
//
//rfc:4004#6.1
//rfc:3957#3
func TestANodeIsServedByAHomeAgentThatHasForgottenItsKey(t *testing.T) {
	var made plan
	j, c := carried(t, func(p *plan) { made = *p })
	c.holds = 2 * time.Minute
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	before := keysOf(j, j.node)
	m, err := standard.HomeAgent(made.home, standard.Features(made.atHome), rand.New(rand.NewPCG(8, 8)))
	if err != nil {
		t.Fatal(err)
	}
	j.home.machine = m
	clear(j.home.entries)
	j.boot(j.home)
	j.run(4 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	if now := keysOf(j, j.node); slices.Equal(now, before) {
		t.Errorf("the node still has %v", now)
	}
	if codes := j.refusedWith(); len(codes) == 0 || len(codes) > 2 {
		t.Errorf("the node was refused with %v", codes)
	}
}
