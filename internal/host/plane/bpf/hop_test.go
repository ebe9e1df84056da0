package bpf_test

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/plane/planetest"
	"careof/wire/encap"
)

// arrives sends packets to the mobile node, a few at a time, until what they do
// has been what is wanted for a whole series.
func arrives(t *testing.T, s *planetest.Scene, want bool, when string) {
	t.Helper()
	packet := planetest.UDPPacket(planetest.Correspondent, planetest.Home, 50)
	good := 0
	for end := time.Now().Add(20 * time.Second); good < 3; {
		if time.Now().After(end) {
			t.Fatalf("%s: packets arrive: %v, want %v", when, !want, want)
		}
		had := s.Mobile.Counters(planetest.MobileKey).ReceivedPackets
		planetest.SendRaw(t, s.CN, packet, packet, packet)
		// The network takes microseconds; what counts is that the next series
		// is sent later than a memory of routes lasts.
		got := false
		for wait := time.Now().Add(20 * time.Millisecond); time.Now().Before(wait); {
			got = s.Mobile.Counters(planetest.MobileKey).ReceivedPackets > had
		}
		if got == want {
			good++
		} else {
			good = 0
		}
	}
}

// The programs remember next hops for a moment only: a route that changes, and
// a neighbour whose link-layer address does, are followed while packets flow.
func TestNextHopsThatChangeAreFollowed(t *testing.T) {
	s := planetest.NewScene(t, opener(false, nil), 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.IPIP})
	// A neighbour counts as reachable for half to one and a half of its time.
	// Were that less than the delay, the kernel would ask again and again by
	// itself, and not only because packets go there.
	s.HA.Do(func() {
		for name, value := range map[string]string{
			"base_reachable_time_ms": "2200", "retrans_time_ms": "100", "delay_first_probe_time": "1", "ucast_solicit": "1",
		} {
			if err := os.WriteFile("/proc/sys/net/ipv4/neigh/wan0/"+name, []byte(value), 0); err != nil {
				t.Error(err)
			}
		}
	})
	arrives(t, s, true, "at first")

	away := s.HA.HostRoute("198.51.100.0/24")
	away.Type = unix.RTN_UNREACHABLE
	if err := s.HA.H.RouteAdd(away); err != nil {
		t.Fatal(err)
	}
	arrives(t, s, false, "without a route")
	if err := s.HA.H.RouteDel(&netlink.Route{Dst: away.Dst, Type: unix.RTN_UNREACHABLE}); err != nil {
		t.Fatal(err)
	}
	arrives(t, s, true, "with the route again")

	// The neighbour says nothing of its new address, not even by asking for
	// the home agent's, which is why it has that for good: the kernel finds out
	// because packets that it sees keep the old one in use.
	// More often than there are processors, each of which remembers its own.
	for i := range runtime.NumCPU() + 1 {
		eth0 := s.R.Link("eth0")
		if err := s.R.H.LinkSetHardwareAddr(eth0, net.HardwareAddr{2, 0, 0, 1, 2, byte(i)}); err != nil {
			t.Fatal(err)
		}
		// A new address of its own makes the kernel forget all others.
		known := &netlink.Neigh{
			LinkIndex: eth0.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: planetest.Agent.AsSlice(), HardwareAddr: s.HA.Link("wan0").Attrs().HardwareAddr,
		}
		if err := s.R.H.NeighSet(known); err != nil {
			t.Fatal(err)
		}
		arrives(t, s, true, "to a neighbour with a new address")
	}
	if sent, _ := share(s.Agent, planetest.AgentKey); sent < 0.5 {
		t.Errorf("only %.2f went past user space: nothing was tested", sent)
	}
}
