package standard_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// assigned is a plan whose node takes the home agent that it is given.
func assigned(t testing.TB, knows ...netip.Addr) *plan {
	p := newPlan(t)
	p.node.Assigned, p.node.HomeAgents = true, nil
	for _, a := range knows {
		p.node.HomeAgents = append(p.node.HomeAgents, mn.HomeAgent{Address: a})
	}
	p.atNode.Assignment.Ask = nobody
	p.atHome.Assignment.Serve = true
	return p
}

// asks are the requests that the node has sent to foreign agents.
func asks(t testing.TB, sent [][]byte) (list []mip4.RegistrationRequest) {
	t.Helper()
	for _, data := range sent {
		m, err := mip4.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := m.Request(); err == nil {
			list = append(list, r)
		}
	}
	return list
}

// A node that knows no home agent gets the one that the foreign agent knows;
// its first lifetime is short, and the next request names the one that it has
// got.
//
//rfc:4433#5.1.1
//rfc:4433#5.1.1-1
//rfc:4433#5.2
//rfc:4433#6
//rfc:4433#6-1
//rfc:4433#9
func TestAForeignAgentChoosesTheHomeAgent(t *testing.T) {
	p := assigned(t)
	p.atForeign.Assignment.Assign = []netip.Addr{netip.MustParseAddr("198.51.100.99"), agent} // the first one never answers
	j := newJourney(t, p)
	sent, _ := requests(j)
	j.lost = netip.MustParseAddr("198.51.100.99")
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Minute)
	j.visits(j.fa(1), encap.IPIP)
	list := asks(t, *sent)
	last := list[len(list)-1]
	if list[0].HomeAgent != nobody || list[0].Lifetime != 5 || last.HomeAgent != agent || last.Lifetime != 600 {
		t.Errorf("asked %+v first, %+v last", list[0], last)
	}
	if s := j.status(); s.HomeAgent != agent {
		t.Errorf("the node is with %v", s.HomeAgent)
	}
}

// AAA chooses before the foreign agent does.
//
//rfc:4433#6
func TestAAAChoosesTheHomeAgent(t *testing.T) {
	j := challenged(t, func(p *plan) {
		p.node.Assigned, p.node.HomeAgents = true, nil
		p.atNode.Assignment.Ask = nobody
		p.atHome.Assignment.Serve = true
		p.atForeign.Assignment.Assign = []netip.Addr{netip.MustParseAddr("198.51.100.99")}
	})
	inner := j.aaa
	j.aaa = func(q any) (aaa.Grant, error) {
		g, err := inner(q)
		g.HomeAgent = agent
		return g, err
	}
	j.lost = netip.MustParseAddr("198.51.100.99")
	j.attach(j.fa(1), netip.Addr{})
	j.run(10 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
}

// What the node requests goes before what the foreign agent knows. Nobody to
// send the request to, or nobody that could be, is code 90.
//
//rfc:4433#3.4.1
//rfc:4433#3.4.1-2
//rfc:4433#5.2
//rfc:4433#5.2-1
//rfc:4433#5.2-2
//rfc:4433#5.2-3
//rfc:4433#7
func TestWhereAForeignAgentSendsARequest(t *testing.T) {
	for _, c := range []struct {
		what   string
		field  netip.Addr
		asked  netip.Addr // in the extension; invalid: none
		assign []netip.Addr
		want   mip4.Code // 0: it is relayed to the home agent
	}{
		{"the extension's", nobody, agent, nil, 0},
		{"the extension's, not the field's", netip.MustParseAddr("198.51.100.99"), agent, nil, 0},
		{"the extension's, not the assigned one", nobody, agent, []netip.Addr{netip.MustParseAddr("198.51.100.99")}, 0},
		{"the assigned one", nobody, netip.Addr{}, []netip.Addr{agent}, 0},
		{"nobody", nobody, netip.Addr{}, nil, mip4.CodeFANonzeroHARequired},
		{"nobody in the home domain", netip.MustParseAddr("255.255.255.255"), netip.Addr{}, nil, mip4.CodeFANonzeroHARequired},
		{"a group", nobody, netip.MustParseAddr("224.0.0.11"), nil, mip4.CodeFANonzeroHARequired},
		{"this link", nobody, netip.MustParseAddr("169.254.1.1"), nil, mip4.CodeFANonzeroHARequired},
		{"this host", nobody, netip.MustParseAddr("127.0.0.1"), nil, mip4.CodeFANonzeroHARequired},
	} {
		p := assigned(t, agent)
		p.atForeign.Assignment.Assign = c.assign
		j := newJourney(t, p)
		f := j.fa(1)
		j.at = f
		_, heard := requests(j)
		j.run(time.Second)
		d := mip4.NewRequest(mip4.RegistrationRequest{Lifetime: 300, HomeAddress: homeAddress, HomeAgent: c.field, CareOfAddress: f.careOf, Identification: 77})
		d.Add(mip4.ZoneHome, &mip4.NAI{Value: "van7@fleet.example"})
		if c.asked.IsValid() {
			d.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RequestedHA, Address: c.asked})
		}
		d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
		data, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		j.log = nil
		j.replay(f, data, j.node.hw)
		j.run(20 * time.Millisecond)
		relayed := slices.Contains(j.log, fmt.Sprintf("fa1 %v>%v", f.careOf, agent))
		got := codes(t, *heard)
		if relayed != (c.want == 0) || c.want != 0 && !slices.Equal(got, []mip4.Code{c.want}) {
			t.Errorf("%s: relayed %v, codes %v, want %v", c.what, relayed, got, c.want)
		}
	}
}

// A foreign agent of before 2006 does not know where to send a request for
// nobody: the node names the home agent too.
//
//rfc:4433#4.1
//rfc:4433#10
func TestAnOldForeignAgent(t *testing.T) {
	p := assigned(t, agent)
	p.without = []string{"assignment"}
	j := newJourney(t, p)
	sent, _ := requests(j)
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	if list := asks(t, *sent); list[0].HomeAgent != nobody || list[1].HomeAgent != agent || len(list) > 2 {
		t.Errorf("%d requests, %v", len(list), list)
	}
}
