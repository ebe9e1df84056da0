package scene

import (
	"net/netip"
	"strings"
	"testing"

	"careof/internal/core/assoc"
	"careof/internal/lab/topology"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// The comparison is worth something: whatever a box on the way may not do is
// found.
//
//rfc:5944#3.7.2.2
//rfc:5944#3.7.3.2
func TestHopsAreJudged(t *testing.T) {
	top := topology.HomeLink()
	AddForeignAgents(top)
	hops := &hopReader{topology: top}
	key, err := assoc.New(256, assoc.HMACSHA256, assoc.NewKey([]byte("a key of sixteen")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	home, agent, lan := netip.MustParseAddr("10.10.0.5"), netip.MustParseAddr("10.10.0.1"), netip.MustParseAddr("198.18.1.1")
	seal := func(d *mip4.Draft) []byte {
		b, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	request := seal(mip4.NewRequest(mip4.RegistrationRequest{Lifetime: 600, HomeAddress: home, HomeAgent: agent, CareOfAddress: CareOf1}).Authenticate(mip4.ExtMobileHome, key))
	relayed := func(change func(*mip4.Draft)) []byte {
		d := mip4.RelayDraft(request)
		change(d)
		return seal(d)
	}
	forHome := relayed(func(d *mip4.Draft) { d.Authenticate(mip4.ExtForeignHome, key) })
	forNode := relayed(func(d *mip4.Draft) { d.Authenticate(mip4.ExtMobileForeign, key) })
	bent := append([]byte(nil), request...)
	bent[3]++ // the lifetime
	at := func(segment string, from, to netip.AddrPort, ttl uint8, payload []byte) *sighting {
		m, err := mip4.Parse(payload)
		if err != nil {
			t.Fatal(err)
		}
		return &sighting{segment, encap.IPv4{Src: from.Addr(), Dst: to.Addr(), TTL: ttl}, encap.UDPDatagram{Src: from, Dst: to, Payload: payload}, m}
	}
	node, toAgent := netip.AddrPortFrom(home, 5000), netip.AddrPortFrom(agent, encap.Port)
	care := netip.AddrPortFrom(CareOf1, encap.Port)
	near := at(visited1, node, netip.AddrPortFrom(lan, encap.Port), 255, request)
	far := at("isp1", care, toAgent, 64, forHome)
	for _, c := range []struct {
		name          string
		before, after *sighting
		wrong         string
	}{
		{"a request is relayed", near, far, ""},
		{"a request is relayed without a key", near, at("isp1", care, toAgent, 64, request), ""},
		{"the agent's own extension is removed", at(visited1, node, care, 255, forNode), at("isp1", care, toAgent, 64, request), ""},
		{"the agent's own extension is left", at(visited1, node, care, 255, forNode), at("isp1", care, toAgent, 64, forNode), "not for there"},
		{"the lifetime is changed", near, at("isp1", care, toAgent, 64, bent), "authenticated from end to end"},
		{"from another address", near, at("isp1", node, toAgent, 64, request), "sent it from"},
		{"to another port", near, at("isp1", care, netip.AddrPortFrom(agent, 435), 64, request), "sent it from"},
		{"a router forwards", far, at("home", care, toAgent, 63, forHome), ""},
		{"a router does not count down", far, at("home", care, toAgent, 64, forHome), "TTL"},
		{"a router strips", far, at("home", care, toAgent, 63, request), "changed the message"},
		{"a router translates", far, at("home", node, toAgent, 63, forHome), "sends on from"},
		{"a translator translates", at(access2, node, toAgent, 255, request), at("isp2", care, toAgent, 254, request), ""},
		{"a translator looks inside", at(access2, node, toAgent, 255, forHome), at("isp2", care, toAgent, 254, request), "changed the message"},
		{"a translator does too much", at(access2, node, toAgent, 255, request), at("isp2", care, node, 254, request), "both addresses"},
	} {
		_, err := hops.change(c.before, c.after)
		if (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
