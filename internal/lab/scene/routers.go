package scene

import (
	"net/netip"
	"time"

	"careof/internal/lab/topology"
)

// laptop is a host on the network of a mobile router.
const laptop = "laptop"

// addCabin makes the mobile node a router with a network behind it.
func addCabin(t *topology.Topology) {
	cabin := netip.MustParsePrefix("10.20.7.0/24")
	t.Segments = append(t.Segments, topology.Segment{Name: "cabin", Network: cabin})
	edit(t, agent, "algorithm = \"hmac-sha256\"\n", "algorithm = \"hmac-sha256\"\nprefixes = [\"10.20.7.0/24\"]\n")
	t.Node(mobile).Config += "\n[[mobile-node.mobile-network]]\ninterface = \"lan0\"\nprefix = \"10.20.7.0/24\"\n"
	at := func(address string) netip.Prefix { return netip.MustParsePrefix(address) }
	n := t.Node(mobile)
	n.Interfaces = append(n.Interfaces, topology.Interface{Name: "lan0", Segment: "cabin", Address: at("10.20.7.1/24")})
	t.Nodes = append(t.Nodes, topology.Node{Name: laptop, Kind: topology.Host, Interfaces: []topology.Interface{
		{Name: "eth0", Segment: "cabin", Address: at("10.20.7.10/24"), Gateway: netip.MustParseAddr("10.20.7.1")},
	}})
	core := t.Node("core")
	core.Routes = append(core.Routes, topology.Route{Prefix: cabin, Via: netip.MustParseAddr("198.51.100.1")})
}

var van = &Scene{
	Name: "mobile-router",
	Doc:  "A laptop on a mobile router's network keeps its stream over moves, a NAT and restarts of both daemons, and none of its packets is seen on a visited network.",
	Edit: addCabin,
	//rfc:5177#5
	//rfc:5177#6.2.1
	//rfc:5177#6.5
	//rfc:5177#7
	Play: func(l Lab) {
		visited := [](func() [][]byte){l.Record(access1), l.Record(access2)}
		arrive(l, wlan, access1)
		reached := func(when string) {
			l.Until("packets get through both ways "+when, 15*time.Second, func() bool {
				return l.Reaches(laptop, peer) && l.Reaches(peer, laptop)
			})
		}
		reached("at first")
		stream := l.Stream(laptop, peer, 200_000)
		l.Wait(time.Second)
		arrive(l, wlan, access2)
		reached("behind the NAT")
		l.Kill(agent)
		l.Start(agent)
		reached("after the home agent's restart")
		l.Kill(mobile)
		l.Start(mobile)
		registered(l, 15*time.Second)
		reached("after the router's restart")
		l.Plug(mobile, "wwan0", access1)
		l.Unplug(mobile, wlan)
		registered(l, 15*time.Second)
		reached("over the other link")
		well(l, stream, 60*time.Second)
		for _, packets := range visited {
			for _, p := range packets() {
				if len(p) >= 20 && (inCabin(p[12:16]) || inCabin(p[16:20])) {
					l.Fatalf("a packet of the laptop is on a visited network: %x", p[:20])
				}
			}
		}
	},
}

func inCabin(a []byte) bool { return a[0] == 10 && a[1] == 20 && a[2] == 7 }
