package standard_test

import (
	"fmt"
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
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/aaakey"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// onDemand is a journey of a node that shares a secret with AAA and nothing else
// with anybody: its keys come as it registers. They last for lifetime.
func onDemand(t testing.TB, lifetime time.Duration, change func(*plan)) *journey {
	t.Helper()
	k, _ := assoc.ParseKey("00112233445566778899aabbccddeeff")
	shared, err := assoc.New(512, assoc.HMACMD5, k, assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	secret := aaa.Shared(shared)
	j := challenged(t, func(p *plan) {
		p.home.Nodes = nil
		p.node.HomeAddress, p.node.Association, p.node.KeysOnDemand = netip.Addr{}, nil, true
		p.atNode.Challenge.Secret = &secret
		p.atNode.Keys = aaakey.Config{Secret: &secret, Foreign: true}
		p.atForeign.Challenge.Keys = true
		p.atForeign.Keys.Agent = true
		p.atHome.Subscribers.Authorise, p.atHome.Subscribers.Keys = true, true
		if change != nil {
			change(p)
		}
	})
	j.aaa = answers(aaa.Book{"van7@fleet.example": {Secrets: []aaa.Secret{secret}, Keys: aaa.KeyPolicy{Lifetime: lifetime}}})
	return j
}

// keysOf are the fingerprints that an agent or the node shows, by SPI; of the
// node's, those with home agents.
func keysOf(j *journey, h *post) []string {
	var command any = ha.ListAssociations{}
	if h == j.node {
		command = mn.ListAssociations{}
	}
	j.step(h, engine.Command{Ticket: 77, Value: command})
	var list []string
	if own, ok := h.results[len(h.results)-1].Value.([]mn.AssociationInfo); ok {
		for _, a := range own {
			if a.Kind == "home-agent" {
				list = append(list, a.Fingerprint)
			}
		}
		return list
	}
	s := fmt.Sprintf("%+v", h.results[len(h.results)-1].Value)
	for f := range strings.FieldsSeq(s) {
		if i := strings.Index(f, "key#"); i >= 0 {
			list = append(list, f[i:i+12])
		}
	}
	return list
}

// exts lists the types of the extensions of a message, in order.
func exts(t testing.TB, data []byte) (list []mip4.ExtType) {
	t.Helper()
	m, err := mip4.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Exts {
		list = append(list, e.Type)
	}
	return list
}

func has(list []mip4.ExtType, types ...mip4.ExtType) bool {
	for _, want := range types {
		if !slices.Contains(list, want) {
			return false
		}
	}
	return true
}

// A node that shares nothing but a secret with AAA asks for its keys, has them
// after one registration, signs with them from then on, and asks a foreign agent
// that it has never met for another one.
//
//rfc:3957#3
//rfc:3957#6.1
//rfc:3957#6.2
//rfc:3957#6.3
//rfc:3957#6.4
func TestKeysComeWithTheRegistration(t *testing.T) {
	j := onDemand(t, 4*time.Hour, nil)
	sent, heard := requests(j)
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	first, reply := exts(t, (*sent)[0]), exts(t, (*heard)[0])
	if !has(first, mip4.ExtMobileHomeKeyRequest, mip4.ExtMobileForeignKeyRequest, mip4.ExtGeneralizedAuth) || has(first, mip4.ExtMobileHome) || has(first, mip4.ExtMobileForeign) {
		t.Errorf("the first request has %v", first)
	}
	at := func(list []mip4.ExtType, e mip4.ExtType) int { return slices.Index(list, e) }
	if at(first, mip4.ExtMobileHomeKeyRequest) > at(first, mip4.ExtGeneralizedAuth) || at(first, mip4.ExtMobileForeignKeyRequest) > at(first, mip4.ExtGeneralizedAuth) {
		t.Errorf("nothing vouches for what is asked: %v", first)
	}
	if !has(reply, mip4.ExtMobileHomeKeyReply, mip4.ExtMobileForeignKeyReply, mip4.ExtMobileHome, mip4.ExtMobileForeign) ||
		at(reply, mip4.ExtMobileHomeKeyReply) > at(reply, mip4.ExtMobileHome) || at(reply, mip4.ExtMobileForeignKeyReply) > at(reply, mip4.ExtMobileForeign) {
		t.Errorf("the first reply has %v", reply)
	}
	ours, theirs := keysOf(j, j.node), keysOf(j, j.home)
	if len(ours) != 1 || !slices.Equal(ours, theirs) {
		t.Errorf("the node has %v, the home agent %v", ours, theirs)
	}

	*sent = nil
	j.run(time.Hour)
	j.visits(j.fa(1), encap.IPIP)
	for _, data := range *sent {
		if e := exts(t, data); !has(e, mip4.ExtMobileHome, mip4.ExtMobileForeign) || has(e, mip4.ExtMobileHomeKeyRequest) || has(e, mip4.ExtMobileForeignKeyRequest) {
			t.Fatalf("a renewal has %v", e)
		}
	}

	*sent = nil
	j.attach(j.fa(2), netip.Addr{})
	j.run(5 * time.Second)
	j.visits(j.fa(2), encap.IPIP)
	if e := exts(t, (*sent)[0]); !has(e, mip4.ExtMobileHome, mip4.ExtMobileForeignKeyRequest) || has(e, mip4.ExtMobileHomeKeyRequest) || has(e, mip4.ExtMobileForeign) {
		t.Errorf("at another agent the request has %v", e)
	}
	if again := keysOf(j, j.node); !slices.Equal(again, ours) {
		t.Errorf("the key with the home agent was %v and is %v", ours, again)
	}
	if n := count(j.home, note.Denied) + count(j.node, note.Discarded); n != 0 {
		t.Errorf("trouble on the way\n%s", j.trace())
	}
}

// Keys are replaced before they end, for days, and the binding never notices.
//
//rfc:3957#3
//rfc:3957#6.4
func TestKeysAreRenewedBeforeTheyEnd(t *testing.T) {
	j := onDemand(t, 30*time.Minute, nil)
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	seen := map[string]bool{}
	for range 96 {
		j.run(30 * time.Minute)
		j.visits(j.fa(1), encap.IPIP)
		ours, theirs := keysOf(j, j.node), keysOf(j, j.home)
		if len(ours) != 1 || !slices.Contains(theirs, ours[0]) {
			t.Fatalf("the node has %v, the home agent %v", ours, theirs)
		}
		if len(theirs) > 4 {
			t.Fatalf("the home agent keeps %d keys of one node", len(theirs))
		}
		seen[ours[0]] = true
	}
	if len(seen) < 90 {
		t.Errorf("in 48 hours the node had %d keys", len(seen))
	}
	if n := count(j.node, note.Registered); count(j.node, note.Lost)+count(j.home, note.Denied)+count(j.home, note.Expired)+count(j.node, aaakey.Ended) != 0 || n < 300 {
		t.Errorf("trouble on the way\n%s", j.trace())
	}
}

// A key ends when AAA is silent for long enough, at both ends, and not before; when
// AAA is back, so is the node.
//
//rfc:3957#6.4
func TestKeysEndWhenNobodyMakesOthers(t *testing.T) {
	j := onDemand(t, 30*time.Minute, nil)
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	well := j.aaa
	j.aaa = func(any) (aaa.Grant, error) { return aaa.Grant{}, aaa.ErrUnavailable }
	j.run(28 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	sent, _ := requests(j)
	j.run(30 * time.Minute)
	if count(j.node, aaakey.Ended) != 1 {
		t.Errorf("the key has not ended\n%s", j.trace())
	}
	if e := exts(t, (*sent)[len(*sent)-1]); has(e, mip4.ExtMobileHome) || has(e, mip4.ExtMobileForeign) {
		t.Errorf("a request without a key has %v", e)
	}
	if s := j.status(); s.State == "registered" {
		t.Errorf("registered without a key")
	}
	j.aaa = well
	j.run(2 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
}

// When the last key of a node that has gone ends, the home agent forgets it, in the
// store too. What was heard of it then helps nobody, also once it is back, which is at
// its old address.
//
//rfc:4004#9.13
//rfc:5944#5.7
func TestKeysThatHaveEndedAreKeptNowhere(t *testing.T) {
	j := onDemand(t, 30*time.Minute, nil)
	stored := map[string][]byte{}
	j.commits = func(h *post, records []engine.Record) {
		for _, r := range records {
			if h == j.home && strings.HasPrefix(string(r.Key), "ha/aaa/") {
				stored[string(r.Key)] = r.Value
			}
		}
	}
	var heard []byte // by the home agent
	j.tap = func(from *post, data []byte) []byte {
		if from == j.fa(1) && len(data) > 0 && data[0] == byte(mip4.TypeRegistrationRequest) {
			heard = data
		}
		return data
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(10 * time.Minute)
	before := j.status().HomeAddress
	if len(keysOf(j, j.home)) == 0 || stored["ha/aaa/van7@fleet.example"] == nil {
		t.Fatalf("there is no key: %v", stored)
	}
	j.at = nil
	j.run(40 * time.Minute)
	if left := keysOf(j, j.home); len(left) > 0 {
		t.Errorf("the home agent still has %v", left)
	}
	if value, told := stored["ha/aaa/van7@fleet.example"]; !told || value != nil {
		t.Errorf("the store has %s", value)
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	if now := j.status().HomeAddress; now != before {
		t.Errorf("the node's address was %v and is %v", before, now)
	}
	bound := count(j.home, note.Bound) + count(j.home, note.Refreshed)
	j.step(j.home, engine.Packet{Link: "eth0", TTL: 64, Src: netip.AddrPortFrom(j.fa(1).careOf, 434), Dst: netip.AddrPortFrom(agent, 434), Data: heard})
	j.run(time.Second)
	if now := count(j.home, note.Bound) + count(j.home, note.Refreshed); now != bound {
		t.Error("a request from before was taken")
	}
}

// What is sent with a key that has ended is not taken, whatever the sender knows.
//
//rfc:3957#6.4
func TestAKeyThatHasEndedOpensNothing(t *testing.T) {
	j := onDemand(t, 30*time.Minute, nil)
	sent, _ := requests(j)
	j.attach(j.fa(1), netip.Addr{})
	j.run(10 * time.Minute)
	var auth mip4.Authentication
	for _, data := range *sent {
		m, err := mip4.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if e, n := m.Find(mip4.ExtMobileHome); n == 1 {
			if auth, err = m.Authentication(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The node and its agents disappear; somebody has learnt the key.
	key := made(t, j)
	j.at = nil
	j.run(40 * time.Minute)
	forged, err := assoc.New(auth.SPI, assoc.HMACSHA1, key, assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: mip4.FlagD, Lifetime: 300, HomeAddress: netip.IPv4Unspecified(), HomeAgent: agent,
		CareOfAddress: netip.MustParseAddr("192.0.2.7"), Identification: assoc.Timestamp(j.now.Wall),
	})
	d.Add(mip4.ZoneHome, &mip4.NAI{Value: "van7@fleet.example"})
	d.Authenticate(mip4.ExtMobileHome, forged)
	data, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	answered := false
	j.tap = func(from *post, data []byte) []byte {
		answered = answered || from == j.home
		return data
	}
	j.step(j.home, engine.Packet{Link: "eth0", TTL: 64, Src: netip.MustParseAddrPort("192.0.2.7:434"), Dst: netip.AddrPortFrom(agent, 434), Data: data})
	j.run(time.Second)
	if answered || len(j.home.entries) != 0 {
		t.Errorf("a key that has ended was answered (%v), entries %v", answered, j.home.entries)
	}
}

// made is the key that the home agent has told the store of.
func made(t testing.TB, j *journey) assoc.Key {
	t.Helper()
	k, _ := assoc.ParseKey("00112233445566778899aabbccddeeff")
	shared, _ := assoc.New(512, assoc.HMACMD5, k, assoc.Timestamps)
	for _, q := range questions[aaa.Authenticate](j) {
		if q.Wishes.MobileHome.Wanted() {
			// The first key that the book has made: the luck of answers is known.
			luck := rand.NewChaCha8([32]byte{7})
			for range 8 {
				nonce := make([]byte, aaa.NonceSize)
				_, _ = luck.Read(nonce)
				one := aaa.Shared(shared).Derive(nonce, []byte("van7@fleet.example"))
				if slices.Contains(keysOf(j, j.home), one.String()) {
					return one
				}
			}
		}
	}
	t.Fatal("the key is not known")
	return assoc.Key{}
}

// Whoever changes a nonce on the way, or an SPI, makes nobody a key: the reply is
// discarded, and the keys that there were stay.
//
//rfc:3957#3
func TestForgedNoncesChangeNothing(t *testing.T) {
	for _, which := range []mip4.ExtType{mip4.ExtMobileHomeKeyReply, mip4.ExtMobileForeignKeyReply} {
		j := onDemand(t, 30*time.Minute, nil)
		j.attach(j.fa(1), netip.Addr{})
		j.run(5 * time.Second)
		before := keysOf(j, j.node)
		forged := 0
		j.tap = func(from *post, data []byte) []byte {
			if data[0] != byte(mip4.TypeRegistrationReply) || from == j.home {
				return data
			}
			m, err := mip4.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if e, n := m.FindSub(which, 1); n == 1 {
				forged++
				out := slices.Clone(data)
				out[e.End-1] ^= 1
				return out
			}
			return data
		}
		j.run(26 * time.Minute)
		if forged == 0 {
			t.Fatalf("%v: nothing was forged", which)
		}
		if got := keysOf(j, j.node); which == mip4.ExtMobileHomeKeyReply && !slices.Equal(got, before) {
			t.Errorf("%v: the node had %v and has %v", which, before, got)
		}
		if count(j.node, note.Discarded) < forged {
			t.Errorf("%v: %d forged, %d discarded", which, forged, count(j.node, note.Discarded))
		}
		j.visits(j.fa(1), encap.IPIP) // it goes on with what it has
	}
}

// A node that has lost its keys asks for others, and so does one whose agents have
// lost theirs.
//
//rfc:3957#3
func TestLostKeys(t *testing.T) {
	restart := func(j *journey, h *post, store enginetest.Store) {
		var m engine.Persistent
		var err error
		p := newPlan(t)
		k, _ := assoc.ParseKey("00112233445566778899aabbccddeeff")
		shared, _ := assoc.New(512, assoc.HMACMD5, k, assoc.Timestamps)
		secret := aaa.Shared(shared)
		if h == j.node {
			p.node.HomeAddress, p.node.Association, p.node.KeysOnDemand = netip.Addr{}, nil, true
			p.atNode.Challenge.Secret = &secret
			p.atNode.Keys = aaakey.Config{Secret: &secret, Foreign: true}
			m, err = standard.MobileNode(p.node, standard.Features(p.atNode), rand.New(rand.NewPCG(9, 9)))
		} else {
			p.home.Nodes = nil
			p.atHome.Subscribers.Authorise, p.atHome.Subscribers.Keys = true, true
			m, err = standard.HomeAgent(p.home, standard.Features(p.atHome), rand.New(rand.NewPCG(8, 8)))
		}
		if err != nil {
			t.Fatal(err)
		}
		store.Restore(t, m, j.now)
		h.machine = m
		if h != j.node {
			j.boot(h)
		}
	}
	for _, c := range []struct {
		who   string
		keeps bool
	}{{"node", true}, {"node", false}, {"home agent", true}, {"home agent", false}} {
		j := onDemand(t, 4*time.Hour, nil)
		stores := map[*post]enginetest.Store{}
		j.commits = func(h *post, records []engine.Record) {
			if stores[h] == nil {
				stores[h] = enginetest.Store{}
			}
			stores[h].Keep(records)
		}
		j.attach(j.fa(1), netip.Addr{})
		j.run(5 * time.Second)
		before := keysOf(j, j.home)
		h := j.home
		if c.who == "node" {
			h = j.node
		}
		store := stores[h]
		if !c.keeps {
			store = nil
		}
		restart(j, h, store)
		asked := len(questions[aaa.Authenticate](j))
		if h == j.node {
			j.attach(j.fa(1), netip.Addr{})
		}
		j.run(20 * time.Minute)
		j.visits(j.fa(1), encap.IPIP)
		after := keysOf(j, j.node)
		if len(after) != 1 || !slices.Contains(keysOf(j, j.home), after[0]) {
			t.Errorf("%s, keeps %v: the node has %v, the home agent %v", c.who, c.keeps, after, keysOf(j, j.home))
		}
		if same := slices.Equal(after, before); same != c.keeps {
			t.Errorf("%s, keeps %v: keys %v before, %v after; %d questions", c.who, c.keeps, before, after, len(questions[aaa.Authenticate](j))-asked)
		}
	}
}

// Whoever does not have the secret gets no key, no answer, and leaves nothing.
//
//rfc:3957#3
func TestNoKeysForStrangers(t *testing.T) {
	j := onDemand(t, time.Hour, nil)
	j.aaa = func(any) (aaa.Grant, error) {
		return aaa.Grant{}, fmt.Errorf("no: %w", aaa.ErrRejected)
	}
	said := 0
	j.tap = func(from *post, data []byte) []byte {
		if from == j.home {
			said++
		}
		return data
	}
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Minute)
	j.attach(j.fa(1), netip.MustParseAddr("192.0.10.77"))
	j.run(time.Minute)
	if said != 0 || len(keysOf(j, j.home)) != 0 || j.status().State == "registered" {
		t.Errorf("the home agent has said %d things and has keys %v", said, keysOf(j, j.home))
	}
	if !slices.ContainsFunc(questions[aaa.Authenticate](j), func(q aaa.Authenticate) bool { return q.Wishes.MobileHome.Wanted() }) {
		t.Error("nobody has asked the home agent for a key: the test shows nothing")
	}
}

// A foreign agent that requires keys refuses with 107 a node for which AAA has made
// none, and one that does not lets it in.
//
//rfc:3957#6.2
//rfc:3957#7
func TestAForeignAgentThatRequiresKeys(t *testing.T) {
	for _, required := range []bool{false, true} {
		j := onDemand(t, time.Hour, func(p *plan) { p.atForeign.Keys.Required = required })
		well := j.aaa
		j.aaa = func(q any) (aaa.Grant, error) {
			g, err := well(q)
			g.Keys.MobileForeign = nil
			return g, err
		}
		j.attach(j.fa(1), netip.Addr{})
		j.run(5 * time.Second)
		denied := slices.ContainsFunc(j.fa(1).notes, func(n note.Note) bool { return n.Kind == note.Denied && n.Code == uint8(mip4.CodeFAMissingMNFA) })
		if denied != required {
			t.Errorf("required %v: denied %v\n%s", required, denied, j.trace())
		}
		if got := j.status().State == "registered"; got == required {
			t.Errorf("required %v: registered %v", required, got)
		}
	}
}

// An order of AAA ends the session, and the key with it: AAA is asked before the
// node is served again.
//
//rfc:5176#2.1
func TestADisconnectTakesTheKey(t *testing.T) {
	j := onDemand(t, 4*time.Hour, nil)
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	well := j.aaa
	j.aaa = func(any) (aaa.Grant, error) { return aaa.Grant{}, fmt.Errorf("no: %w", aaa.ErrRejected) }
	j.step(j.home, engine.Command{Ticket: 5, Value: aaa.End{NAI: "van7@fleet.example"}})
	j.run(20 * time.Minute)
	if j.status().State == "registered" || len(j.home.entries) != 0 {
		t.Errorf("served again without AAA\n%s", j.trace())
	}
	j.aaa = well
	j.run(5 * time.Minute)
	j.visits(j.fa(1), encap.IPIP)
}
