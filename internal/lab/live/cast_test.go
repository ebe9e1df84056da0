package live

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// Away through a foreign agent, a node hears what its neighbours at home say to
// everybody, and to a group that one of its programs has joined. The simulated
// world has no groups, and its home agents hear no link below IP.
//
//rfc:5944#4.3
//rfc:5944#4.4
func TestVisitorHearsBroadcastsAndAGroup(t *testing.T) {
	t.Parallel()
	top, err := topology.Load("foreign-agents")
	if err != nil {
		t.Fatal(err)
	}
	n := top.Node("mn")
	n.Config = strings.Replace(n.Config, "home-agent = ", "broadcasts = \"on\"\ndelivery = \"encapsulating\"\nhome-agent = ", 1)
	if err := top.Check(); err != nil {
		t.Fatal(err)
	}
	stage := NewStage(t.Context(), build(t, top, Options{}), t.Logf)
	defer stage.Close()
	err = scene.Perform(&scene.Scene{Name: "casts", Play: func(scene.Lab) {
		stage.Plug("mn", "wlan0", "visited1")
		stage.Until("the node is registered", 15*time.Second, func() bool { return stage.Binding("mn").Registered })
		everybody, group := netip.MustParseAddrPort("10.10.0.255:5353"), netip.MustParseAddrPort("239.1.2.3:5454")
		ears := make(map[netip.AddrPort]*net.UDPConn)
		stage.sure(stage.node("mn").Do(func() error {
			careof, err := net.InterfaceByName(device)
			if err != nil {
				return err
			}
			if ears[everybody], err = net.ListenUDP("udp4", &net.UDPAddr{Port: int(everybody.Port())}); err != nil {
				return err
			}
			ears[group], err = net.ListenMulticastUDP("udp4", careof, net.UDPAddrFromAddrPort(group))
			return err
		}))
		mouth, err := stage.node("neighbour").ListenUDP(netip.MustParseAddrPort("10.10.0.7:5555"))
		stage.sure(err)
		defer mouth.Close()
		// A packet of a group goes through the tunnel as through a router.
		raw, err := mouth.SyscallConn()
		stage.sure(err)
		stage.sure(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 8) }))
		stage.sure(err)
		for _, to := range []netip.AddrPort{everybody, group} {
			ear := ears[to]
			defer ear.Close()
			b := make([]byte, 64)
			// The home agent hears of the membership a moment later.
			stage.Until("the neighbour is heard, who says hello to "+to.String(), 15*time.Second, func() bool {
				_, err := mouth.WriteToUDPAddrPort([]byte("hello"), to)
				stage.sure(err)
				ear.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
				n, from, err := ear.ReadFromUDPAddrPort(b)
				return err == nil && string(b[:n]) == "hello" && from.Addr() == netip.MustParseAddr("10.10.0.7")
			})
		}
	}}, stage)
	if err != nil {
		t.Error(err)
	}
}
