package mobilenetwork_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/feature/mobilenetwork"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

var (
	careOf    = netip.MustParseAddr("203.0.113.9")
	homeAgent = netip.MustParseAddr("198.51.100.1")
	router    = netip.MustParseAddr("10.10.0.5")
	nested    = netip.MustParseAddr("10.10.0.6")
	plain     = netip.MustParseAddr("10.10.0.7")
	lan       = netip.MustParsePrefix("10.20.7.0/24")
	inHome    = netip.MustParsePrefix("10.10.0.128/26")
)

func key(t testing.TB) *assoc.Association {
	t.Helper()
	a, err := assoc.New(256, assoc.HMACSHA256, assoc.NewKey([]byte("home-home-home-h")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// An agent is a home agent that is asked by hand.
type agent struct {
	t     *testing.T
	ha    *ha.Agent
	now   engine.Now
	plane enginetest.Plane
	reply *mip4.Message
	sent  engine.Send // the reply
	from  string      // the interface that requests come in by
	fail  error       // of the next commit

	records map[string][]byte
}

func newAgent(t *testing.T, cfg mobilenetwork.Config) *agent {
	t.Helper()
	p := &agent{t: t, plane: make(enginetest.Plane), from: "wan0", records: make(map[string][]byte)}
	p.now = engine.Now{Mono: time.Unix(1000, 0), Wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	var err error
	p.ha, err = ha.New(ha.Config{
		Addresses: []netip.Addr{homeAgent},
		Device:    "careof0",
		Networks:  []ha.Network{{Prefix: netip.MustParsePrefix("10.10.0.0/24"), Virtual: true}},
		Nodes: []ha.MobileNode{
			{Node: ident.Node{HomeAddress: router}, Keys: []*assoc.Association{key(t)}, Prefixes: []netip.Prefix{lan, inHome}},
			{Node: ident.Node{HomeAddress: nested}, Keys: []*assoc.Association{key(t)}},
			{Node: ident.Node{HomeAddress: plain}, Keys: []*assoc.Association{key(t)}},
		},
	}, rand.New(rand.NewPCG(1, 2)), func(a *ha.Agent) {
		if err := mobilenetwork.New(cfg).Home(a); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *agent) do(acts []engine.Action) {
	for _, act := range acts {
		switch act := act.(type) {
		case engine.Send:
			m, err := mip4.Parse(slices.Clone(act.Data))
			if err != nil {
				p.t.Fatal(err)
			}
			p.reply, p.sent = m, act
		case engine.Commit:
			err := p.fail
			p.fail = nil
			if err == nil {
				for _, r := range act.Records {
					p.records[string(r.Key)] = slices.Clone(r.Value)
				}
				for _, c := range act.Changes {
					p.plane.Apply(p.t, c)
				}
				p.do(act.Then)
			}
			p.do(enginetest.Step(p.ha, p.now, engine.Answer{Ticket: act.Ticket, Err: err}))
		}
	}
}

// ask sends a request with these prefixes, and gives the code and the
// acknowledgements of the answer.
func (p *agent) ask(who, careOf netip.Addr, lifetime uint16, prefixes ...mip4.MobileNetworkRequest) (mip4.Code, []string) {
	p.t.Helper()
	p.now.Mono, p.now.Wall, p.reply = p.now.Mono.Add(2*time.Second), p.now.Wall.Add(2*time.Second), nil
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: mip4.FlagT | mip4.FlagD, Lifetime: lifetime, HomeAddress: who, HomeAgent: homeAgent, CareOfAddress: careOf,
		Identification: assoc.Timestamp(p.now.Wall),
	})
	for i := range prefixes {
		d.Add(mip4.ZoneHome, &prefixes[i])
	}
	d.Authenticate(mip4.ExtMobileHome, key(p.t))
	data, err := d.Seal()
	if err != nil {
		p.t.Fatal(err)
	}
	p.do(enginetest.Step(p.ha, p.now, engine.Packet{
		Link: p.from, Src: netip.AddrPortFrom(careOf, 40000), Dst: netip.AddrPortFrom(homeAgent, 434), TTL: 60, Data: data,
	}))
	if p.reply == nil {
		return 255, nil
	}
	r, err := p.reply.Reply()
	if err != nil {
		p.t.Fatal(err)
	}
	acks, err := mip4.GetAll[mip4.MobileNetworkAck](p.reply)
	if err != nil {
		p.t.Fatal(err)
	}
	var list []string
	for _, a := range acks {
		s := fmt.Sprintf("%v/%d %d", a.Prefix, a.PrefixLength, a.Code)
		if a.Implicit {
			s += " implicit"
		}
		list = append(list, s)
	}
	return r.Code, list
}

func request(prefix string, length uint8) mip4.MobileNetworkRequest {
	return mip4.MobileNetworkRequest{PrefixLength: length, Prefix: netip.MustParseAddr(prefix)}
}

// A code for each prefix, as it was asked for.
//
//rfc:5177#4.2
//rfc:5177#6.3
//rfc:5177#6.6
//rfc:6626#3.1
//rfc:5177#4.2-1
//rfc:5177#6.3-1
//rfc:5177#6.3-2
//rfc:5177#6.6-1
//rfc:5177#6.6-2
//rfc:5177#6.6-4
//rfc:5177#6.6-5
func TestACodeForEachPrefix(t *testing.T) {
	for _, c := range []struct {
		name  string
		asked []mip4.MobileNetworkRequest
		code  mip4.Code
		acks  []string
	}{
		{"in the table", []mip4.MobileNetworkRequest{request("10.20.7.0", 24)}, 0, []string{"10.20.7.0/24 0"}},
		{"an address in it", []mip4.MobileNetworkRequest{request("10.20.7.9", 24)}, 0, []string{"10.20.7.9/24 0"}},
		{"twice", []mip4.MobileNetworkRequest{request("10.20.7.0", 24), request("10.20.7.0", 24)}, 0, []string{"10.20.7.0/24 0", "10.20.7.0/24 0"}},
		{"a part of it", []mip4.MobileNetworkRequest{request("10.20.7.0", 25)}, 147, []string{"10.20.7.0/25 2"}},
		{"more than it", []mip4.MobileNetworkRequest{request("10.20.0.0", 16)}, 147, []string{"10.20.0.0/16 2"}},
		{"everything", []mip4.MobileNetworkRequest{request("10.20.7.0", 0)}, 147, []string{"10.20.7.0/0 1"}},
		{"33 bits", []mip4.MobileNetworkRequest{request("10.20.7.0", 33)}, 147, []string{"10.20.7.0/33 1"}},
		{"one to be assigned", []mip4.MobileNetworkRequest{request("0.0.0.0", 24)}, 147, []string{"0.0.0.0/24 1"}},
		{"some", []mip4.MobileNetworkRequest{request("10.99.0.0", 16), request("10.20.7.0", 24), request("10.20.7.0", 255)}, 0,
			[]string{"10.99.0.0/16 2", "10.20.7.0/24 0", "10.20.7.0/255 1"}},
		{"implicit", nil, 0, []string{"10.20.7.0/24 0 implicit", "10.10.0.128/26 0 implicit"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newAgent(t, mobilenetwork.Config{})
			code, acks := p.ask(router, careOf, 300, c.asked...)
			if code != c.code || !slices.Equal(acks, c.acks) {
				t.Errorf("code %d with %q, want %d with %q", code, acks, c.code, c.acks)
			}
			if (len(p.plane) > 0) != c.code.Accepted() {
				t.Errorf("entries %v with code %d", p.plane, code)
			}
		})
	}
}

// "The Home Agent MUST ignore any included Mobile Network Request extension in a
// deregistration request"; a node without prefixes hears 148, and one that asks
// for none nothing of them.
//
//rfc:5177#6.1
//rfc:5177#6.7
//rfc:5177#6.7-2
func TestWhoMayBeARouter(t *testing.T) {
	p := newAgent(t, mobilenetwork.Config{})
	if code, acks := p.ask(plain, careOf, 300, request("10.20.7.0", 24)); code != 148 || acks != nil || len(p.plane) != 0 {
		t.Errorf("code %d with %q", code, acks)
	}
	if code, acks := p.ask(plain, careOf, 300); code != 0 || acks != nil || len(p.plane) != 1 {
		t.Errorf("code %d with %q", code, acks)
	}
	p.ask(router, careOf, 300)
	if len(p.plane) != 4 {
		t.Errorf("entries %v", p.plane)
	}
	if code, acks := p.ask(router, router, 0, request("10.99.0.0", 16)); code != 0 || acks != nil || len(p.plane) != 1 {
		t.Errorf("code %d with %q, entries %v", code, acks, p.plane)
	}
}

// What could not be made forwarding is told by MOBNET_FWDING_SETUP_FAILED, and
// is not left half done.
//
//rfc:5177#6.3
//rfc:5177#6.6
//rfc:5177#6.6-3
func TestForwardingThatFails(t *testing.T) {
	p := newAgent(t, mobilenetwork.Config{})
	p.fail = errors.New("no room")
	if code, acks := p.ask(router, careOf, 300, request("10.20.7.0", 24)); code != 130 || !slices.Equal(acks, []string{"10.20.7.0/24 3"}) {
		t.Errorf("code %d with %q", code, acks)
	}
	if len(p.plane) != 0 {
		t.Errorf("entries %v", p.plane)
	}
	if code, _ := p.ask(router, careOf, 300, request("10.20.7.0", 24)); code != 0 || len(p.plane) != 2 {
		t.Errorf("code %d, entries %v", code, p.plane)
	}
}

// A router behind a router: its care-of address is one of the other's network,
// also where that is a part of the home network; but never one of its own.
//
//rfc:5177#8
func TestANestedRouter(t *testing.T) {
	for _, c := range []struct {
		who, careOf string
		code        mip4.Code
	}{
		{"10.10.0.6", "10.20.7.50", 0},
		{"10.10.0.6", "10.10.0.150", 0},
		{"10.10.0.5", "10.20.7.50", 129},
		{"10.10.0.5", "10.10.0.150", 129},
		{"10.10.0.6", "10.10.0.99", 129},
	} {
		p := newAgent(t, mobilenetwork.Config{})
		if code, _ := p.ask(netip.MustParseAddr(c.who), netip.MustParseAddr(c.careOf), 300); code != c.code {
			t.Errorf("%s at %s: code %d, want %d", c.who, c.careOf, code, c.code)
		}
	}
}

// A pool that is used up answers MOBNET_UNASSIGNED; what a binding leaves is
// free for others, and nobody takes an assigned prefix by naming it.
//
//rfc:6626#3.2
//rfc:6626#4
//rfc:6626#3.2-1
//rfc:6626#3.2-2
//rfc:6626#4-1
func TestAPoolIsUsedUp(t *testing.T) {
	pool := mobilenetwork.Pool{Prefix: netip.MustParsePrefix("10.30.0.0/23"), Length: 24, PerNode: 1}
	p := newAgent(t, mobilenetwork.Config{Pools: []mobilenetwork.Pool{pool}})
	want := request("0.0.0.0", 28) // a hint, no more
	_, first := p.ask(router, careOf, 300, want)
	_, second := p.ask(plain, careOf, 300, want, want)
	if len(first) != 1 || len(second) != 2 || first[0] == second[0] || second[1] != "0.0.0.0/28 4" {
		t.Fatalf("answers %q and %q", first, second)
	}
	if code, acks := p.ask(nested, careOf, 300, want); code != 147 || !slices.Equal(acks, []string{"0.0.0.0/28 4"}) {
		t.Errorf("code %d with %q", code, acks)
	}
	stolen := netip.MustParsePrefix(first[0][:len(first[0])-2])
	if code, acks := p.ask(nested, careOf, 300, request(stolen.Addr().String(), 24)); code != 147 || acks[0] != stolen.String()+" 2" {
		t.Errorf("code %d with %q", code, acks)
	}
	p.ask(router, router, 0)
	if code, acks := p.ask(nested, careOf, 300, want); code != 0 || !slices.Equal(acks, first) {
		t.Errorf("code %d with %q", code, acks)
	}
	// It is named from then on, and kept.
	if code, acks := p.ask(nested, careOf, 300, request(stolen.Addr().String(), 24)); code != 0 || !slices.Equal(acks, first) {
		t.Errorf("code %d with %q", code, acks)
	}
	if e := p.plane[forward.Key("ha/10.10.0.6/"+stolen.String())]; e.Inner != stolen || e.Router != nested {
		t.Errorf("entry %+v", e)
	}
}

// A node is in a network that has the same addresses as a mobile network. What is
// for it goes where its requests come from, and not to the mobile router: that would
// have its tunnel, and the node nothing. Who does visit the router has its requests
// come out of the router's tunnel, and is left to routing.
//
//rfc:5177#8
func TestANetworkWithTheAddressesOfAMobileNetwork(t *testing.T) {
	pool := mobilenetwork.Pool{Prefix: netip.MustParsePrefix("10.30.0.0/23"), Length: 24, PerNode: 1}
	p := newAgent(t, mobilenetwork.Config{Pools: []mobilenetwork.Pool{pool}})
	p.ask(router, careOf, 300, request(lan.Addr().String(), uint8(lan.Bits())))
	key := forward.Key("ha/" + plain.String())
	for _, where := range []netip.Addr{lan.Addr().Next().Next(), pool.Prefix.Addr().Next()} {
		for _, one := range []struct{ from, link string }{{"wan0", "wan0"}, {"careof0", ""}, {"wan1", "wan1"}} {
			p.from = one.from
			code, _ := p.ask(plain, where, 300)
			if code != 0 || p.sent.Link != one.link {
				t.Errorf("at %v, by %s: code %d, the reply goes by %q", where, one.from, code, p.sent.Link)
			}
			if tunnels := p.plane[key].Tunnels; tunnels[0].Peer.Addr() != where || tunnels[0].Link != one.link {
				t.Errorf("at %v, by %s: tunnels %+v", where, one.from, tunnels)
			}
			// A denial, too, must get there.
			if code, _ := p.ask(router, where, 300); lan.Contains(where) && (code == 0 || p.sent.Link != one.link) {
				t.Errorf("at %v, by %s: code %d, the reply goes by %q", where, one.from, code, p.sent.Link)
			}
		}
		after := newAgent(t, mobilenetwork.Config{Pools: []mobilenetwork.Pool{pool}})
		after.now = p.now
		for k, value := range p.records {
			if err := after.ha.Restore(p.now, engine.Record{Key: []byte(k), Value: value}); err != nil {
				t.Error(err)
			}
		}
		var link string
		for e := range after.ha.Entries() {
			if e.Key == key {
				link = e.Tunnels[0].Link
			}
		}
		if link != "wan1" {
			t.Errorf("at %v, after a restart: by %q", where, link)
		}
	}
	p.from = "wan0"
	p.ask(plain, careOf, 300)
	if tunnels := p.plane[key].Tunnels; p.sent.Link != "" || tunnels[0].Link != "" {
		t.Errorf("elsewhere: the reply goes by %q, tunnels %+v", p.sent.Link, tunnels)
	}
}
