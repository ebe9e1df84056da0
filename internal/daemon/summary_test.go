package daemon

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"careof/internal/proto/mip4/mn"
)

// What a node's line in careof show status says is true of this moment: where it
// was before its uplink went is told as that, and instead of a tunnel why there is
// none.
func TestTheStatusOfANodeIsTrue(t *testing.T) {
	at := netip.MustParseAddr
	s := mn.Status{HomeAddress: at("10.10.0.5"), HomeAgent: at("198.51.100.1"), CareOfAddress: at("192.0.2.7"), Link: "w1", Encapsulation: "udp", Encrypted: true}
	w1 := mn.UplinkInfo{Link: "w1", State: "in-use", Usable: true, Active: true, Why: "the only uplink that can be used"}
	down := mn.UplinkInfo{Link: "w1", State: "unusable", Why: "link is down"}
	silent := w1
	silent.Unanswered, silent.Why = 3, "the only uplink that can be used; the home agent has left the last 3 requests over it unanswered"
	for _, c := range []struct {
		what, state string
		change      func(s *mn.Status)
		uplinks     []mn.UplinkInfo
		want        string
	}{
		{"registered", "registered", nil, []mn.UplinkInfo{w1},
			"home address 10.10.0.5, at 192.0.2.7 on w1, home agent 198.51.100.1, tunnel udp, encrypted"},
		{"the home agent is silent", "registered", nil, []mn.UplinkInfo{silent},
			"home address 10.10.0.5, at 192.0.2.7 on w1, home agent 198.51.100.1, tunnel udp, encrypted, w1: " + silent.Why},
		{"the only uplink is gone", "idle", nil, []mn.UplinkInfo{down},
			"home address 10.10.0.5, last at 192.0.2.7 on w1, home agent 198.51.100.1, w1: link is down"},
		{"it is longer ago", "idle", func(s *mn.Status) { s.CareOfAddress, s.Link, s.Encapsulation = netip.Addr{}, "", "" }, nil,
			"home address 10.10.0.5, home agent 198.51.100.1, none of its uplinks is there"},
		{"denied", "registering", func(s *mn.Status) {
			*s = mn.Status{State: s.State, HomeAddress: s.HomeAddress, HomeAgent: s.HomeAgent,
				Problem: &mn.Problem{Code: 129, Meaning: "administratively prohibited", At: time.Date(2026, 11, 22, 12, 0, 5, 0, time.Local)}}
		}, []mn.UplinkInfo{{Link: "w1", State: "standby", Usable: true, Why: "denied: 129 administratively prohibited; asked again in 8s"}},
			"home address 10.10.0.5, home agent 198.51.100.1, problem at 12:00:05: 129 administratively prohibited, " +
				"w1: denied: 129 administratively prohibited; asked again in 8s"},
		{"at home", "home", func(s *mn.Status) { s.CareOfAddress, s.Encapsulation = netip.Addr{}, "" }, []mn.UplinkInfo{down},
			"home address 10.10.0.5, home agent 198.51.100.1"},
		{"very many", "idle", nil, []mn.UplinkInfo{down, down, down, down, down, down},
			"home address 10.10.0.5, last at 192.0.2.7 on w1, home agent 198.51.100.1, " + strings.Repeat("w1: link is down, ", 4) + "and 2 uplinks more (careof show uplinks)"},
	} {
		s := s
		s.State = c.state
		if c.change != nil {
			c.change(&s)
		}
		if got := mobileSummary(s, c.uplinks); got != c.want {
			t.Errorf("%s:\n%s\n%s", c.what, got, c.want)
		}
	}
}

// A mobile network is said to be served while its router can be reached, and to be
// at no care-of address otherwise.
func TestANetworkIsServedWhileItsRouterIsRegistered(t *testing.T) {
	at := netip.MustParseAddr("192.0.2.7")
	n := mn.MobileNetwork{Prefix: netip.MustParsePrefix("10.20.7.0/24"), Link: "lan", Served: true, State: "served"}
	for state, want := range map[string]string{
		"registered": "served", "home": "served", "idle": "not reached: the router is idle", "registering": "not reached: the router is registering",
	} {
		got := routersNetwork(mn.Status{State: state, CareOfAddress: at}, n)
		if got.State != want || got.CareOfAddress.IsValid() != (want == "served") {
			t.Errorf("%s: %+v", state, got)
		}
	}
	denied := n
	denied.Served, denied.State = false, "refused: 155 ..."
	if got := routersNetwork(mn.Status{State: "idle"}, denied); got.State != denied.State {
		t.Errorf("%+v", got)
	}
}
