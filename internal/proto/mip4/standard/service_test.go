package standard_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/service"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// inService is a journey of a node that has no address and asks for a service;
// "ims" has a network of its own, "guests" has none, and "staff" is not for it.
func inService(t testing.TB, ask string, change func(*plan)) *journey {
	ims := netip.MustParsePrefix("10.20.0.0/24")
	p := newPlan(t)
	p.home.Nodes[0].HomeAddress = netip.Addr{}
	p.home.Networks = append([]ha.Network{{
		Prefix: ims, Reserved: true, Virtual: true, Pool: []ha.Range{{From: netip.MustParseAddr("10.20.0.5"), To: netip.MustParseAddr("10.20.0.9")}},
	}}, p.home.Networks...)
	p.node.HomeAddress = netip.Addr{}
	p.atHome.Service.Services = []service.Service{
		{Name: "ims", Nodes: []string{"@fleet.example"}, Network: ims},
		{Name: "guests"},
		{Name: "staff", Nodes: []string{"boss@fleet.example", "@office.example"}},
	}
	p.atNode.Service.Ask = ask
	if change != nil {
		change(p)
	}
	return newJourney(t, p)
}

// The service decides over the address; every request names it, and the reply has
// an unchanged copy. Whoever names none never gets an address of a service's own.
//
//rfc:5446#3
//rfc:5446#3-2
//rfc:5446#4.1-1
//rfc:5446#4.2
//rfc:5446#4.2-7
func TestTheServiceChoosesTheNetwork(t *testing.T) {
	for ask, want := range map[string]string{"ims": "10.20.0.5", "guests": "10.10.0.100", "": "10.10.0.100"} {
		j := inService(t, ask, nil)
		sent, heard := requests(j)
		j.attach(j.fa(1), netip.Addr{})
		j.run(20 * time.Minute)
		j.visits(j.fa(1), encap.IPIP)
		if got := j.status().HomeAddress.String(); got != want {
			t.Errorf("%q: home address %s, want %s", ask, got, want)
		}
		for _, list := range [][][]byte{*sent, *heard} {
			for _, data := range list {
				m, err := mip4.Parse(data)
				if err != nil {
					t.Fatal(err)
				}
				q, n, err := mip4.Get[mip4.ServiceSelection](m)
				if err != nil || ask != "" && (n != 1 || q.Identifier != ask) || ask == "" && n != 0 {
					t.Fatalf("%q: a message has %d services, %q, %v", ask, n, q.Identifier, err)
				}
				types := exts(t, data)
				if at := slices.Index(types, mip4.ExtServiceSelection); ask != "" && (at > slices.Index(types, mip4.ExtMobileHome) || at < slices.Index(types, mip4.ExtNAI)) {
					t.Errorf("%q: order %v", ask, types)
				}
			}
		}
	}
}

// A service that is not there, one that is for others, and none where one must be
// named: 151, and no binding.
//
//rfc:5446#4.2
//rfc:5446#5
func TestServicesAreAuthorised(t *testing.T) {
	for ask, only := range map[string]bool{"staff": false, "nothing": false, "": true} {
		j := inService(t, ask, func(p *plan) { p.atHome.Service.NamedOnly = only })
		_, heard := requests(j)
		j.attach(j.fa(1), netip.Addr{})
		j.run(10 * time.Second)
		if got := codes(t, *heard); !slices.Contains(got, mip4.CodeServiceAuthorization) || len(j.home.entries) != 0 {
			t.Errorf("%q: codes %v, entries %v", ask, got, j.home.entries)
		}
		if count(j.home, service.Unserved) == 0 {
			t.Errorf("%q: nobody was told", ask)
		}
	}
}

// A registered node that changes to a service that it may not use loses its binding,
// at both ends.
//
//rfc:5446#4.1-3
//rfc:5446#4.2
func TestAnotherServiceIsAuthorisedAnew(t *testing.T) {
	j := inService(t, "ims", nil)
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	p := newPlan(t)
	home := j.status().HomeAddress
	sa := p.node.Association
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Lifetime: 300, HomeAddress: home, HomeAgent: agent, CareOfAddress: j.fa(1).careOf,
		Identification: assoc.Timestamp(j.now.Wall),
	})
	d.Add(mip4.ZoneHome, &mip4.NAI{Value: "van7@fleet.example"})
	d.Add(mip4.ZoneHome, &mip4.ServiceSelection{Identifier: "staff"})
	d.Authenticate(mip4.ExtMobileHome, sa)
	data, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	j.step(j.home, engine.Packet{Link: "eth0", TTL: 64, Src: netip.AddrPortFrom(j.fa(1).careOf, 434), Dst: netip.AddrPortFrom(agent, 434), Data: data})
	j.run(time.Second)
	if len(j.home.entries) != 0 {
		t.Errorf("the binding stays\n%s", j.trace())
	}

	// The node hears 151 at its next renewal, when the home agent has closed it.
	j = inService(t, "guests", nil)
	j.attach(j.fa(1), netip.Addr{})
	j.run(5 * time.Second)
	j.tap = func(from *post, data []byte) []byte {
		if from != j.home || data[0] != byte(mip4.TypeRegistrationReply) {
			return data
		}
		m, err := mip4.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := m.Reply()
		r.Code = mip4.CodeServiceAuthorization
		d := mip4.NewReply(r)
		d.Add(mip4.ZoneHome, &mip4.NAI{Value: "van7@fleet.example"})
		d.Authenticate(mip4.ExtMobileHome, sa)
		out, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	j.step(j.node, engine.Command{Ticket: 9, Value: mn.Reregister{}})
	j.run(time.Second)
	if count(j.node, note.Lost) == 0 || j.status().State == "registered" {
		t.Errorf("the node goes on without its service\n%s", j.trace())
	}
}
