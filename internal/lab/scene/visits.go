package scene

import (
	"bytes"
	"net/netip"
	"time"

	"careof/internal/lab/topology"
	"careof/internal/proto/mip4/advertise"
	"careof/wire/encap"
)

// Names of the visited links: no address is to be had there, but from the
// foreign agent that is their router.
const (
	visited1 = "visited1"
	visited2 = "visited2"
	foreign1 = "fa1"
	foreign2 = "fa2"
)

// AddForeignAgents adds the two foreign agents of the topology foreign-agents,
// fa1 and fa2, behind the first provider of another built-in one, each with a
// visited link of its own.
func AddForeignAgents(t *topology.Topology) {
	from, err := topology.Load("foreign-agents")
	if err != nil {
		panic(err) // a test reads each of them
	}
	for i, name := range []string{foreign1, foreign2} {
		t.Segments = append(t.Segments, *from.Segment([]string{visited1, visited2}[i]))
		t.Nodes = append(t.Nodes, *from.Node(name))
	}
}

// CareOf1 and CareOf2 are what the foreign agents lend.
var (
	CareOf1 = netip.MustParseAddr("100.65.0.11")
	CareOf2 = netip.MustParseAddr("100.65.0.12")
)

var foreignCrash = &Scene{
	Name:     "foreign-agent-crash",
	Doc:      "A foreign agent is killed and starts again: its sequence number begins anew, and its visitor registers at once.",
	Topology: "home-link",
	Edit:     AddForeignAgents,
	//rfc:5944#2.4.4
	Play: func(l Lab) {
		arrive(l, wlan, visited1)
		stream := l.Stream(mobile, peer, 100_000)
		l.Wait(5 * time.Second)
		// The second time it is away for longer than its advertisements last: the
		// node has forgotten it, and its sequence number.
		for _, away := range []time.Duration{time.Second, 4 * AdvertiseInterval} {
			l.Kill(foreign1)
			l.Wait(away)
			l.Start(foreign1)
			took := l.Until("packets get through again", 10*time.Second, func() bool { return l.Reaches(peer, mobile) && l.Reaches(mobile, peer) })
			l.Logf("packets get through %v after the foreign agent started again", took)
			if l.Can(Exact) && took > 3*time.Second {
				l.Fatalf("that took %v", took)
			}
			l.Wait(5 * time.Second)
		}
		well(l, stream, time.Minute)
	},
}

var visitorsOnly = &Scene{
	Name:     "visitors-only",
	Doc:      "A foreign agent takes out of tunnels what is for its visitors, and sends into them what comes from them; all else goes nowhere.",
	Topology: "home-link",
	Edit:     AddForeignAgents,
	//rfc:5944#4.2.2
	//rfc:3024#5.1
	Play: func(l Lab) {
		arrive(l, wlan, visited1)
		l.Wait(time.Second)
		near, far := l.Record(visited1), l.Record("isp1")
		home, wan := netip.MustParseAddr("10.10.0.5"), netip.MustParseAddr("10.10.0.1")
		probe := func(src, dst netip.Addr, text string) []byte {
			p, err := encap.AppendUDP(nil, encap.IPv4{ID: 7, TTL: 64}, netip.AddrPortFrom(src, 5000), netip.AddrPortFrom(dst, 5001), []byte(text))
			if err != nil {
				l.Fatalf("%v", err)
			}
			return p
		}
		wrap := func(src, dst netip.Addr, inner []byte) []byte {
			p, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: src, Dst: dst, TTL: 64, ID: 8}, inner)
			if err != nil {
				l.Fatalf("%v", err)
			}
			return p
		}
		cn, other := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("10.10.0.99")
		// From the home agent, for somebody who does not visit: a loop if it
		// were routed.
		l.Inject("isp1", wrap(wan, CareOf1, probe(cn, other, "for a stranger")))
		// For the visitor, but not from its home agent.
		l.Inject("isp1", wrap(l.Intruder("isp1"), CareOf1, probe(cn, home, "from a stranger")))
		// From the visited link, with the visitor's address, but not from it.
		l.Inject(visited1, probe(home, cn, "in the visitor's name"))
		l.Until("they are on the links", time.Second, func() bool {
			return containing(far(), "for a stranger") > 0 && containing(far(), "from a stranger") > 0 && containing(near(), "in the visitor's name") > 0
		})
		l.Wait(time.Second)
		for _, text := range []string{"for a stranger", "from a stranger"} {
			if n := containing(near(), text); n != 0 {
				l.Fatalf("what came %q was delivered", text)
			}
		}
		if n := containing(far(), "for a stranger"); n != 1 {
			l.Fatalf("what came for a stranger was seen %d times: it was sent on", n)
		}
		for _, p := range far() {
			if h, inner, err := encap.Pull(bytes.Clone(p)); err == nil && h.Src == CareOf1 && bytes.Contains(inner, []byte("in the visitor's name")) {
				l.Fatalf("a neighbour's packet was tunnelled in the visitor's name")
			}
			if ip, err := encap.ParseIPv4(p); err == nil && ip.Protocol == 1 && ip.Src == CareOf1 {
				l.Fatalf("the foreign agent answered a tunnel packet")
			}
		}
		if !l.Reaches(mobile, peer) || !l.Reaches(peer, mobile) {
			l.Fatalf("the visitor is not served")
		}
	},
}

func containing(packets [][]byte, text string) (n int) {
	for _, p := range packets {
		if bytes.Contains(p, []byte(text)) {
			n++
		}
	}
	return n
}

var visitByNAI = &Scene{
	Name:     "visit-by-nai",
	Doc:      "A node without a home address gets one through a foreign agent: the reply comes to an address that it does not have yet.",
	Topology: "home-link",
	Edit: func(t *topology.Topology) {
		AddForeignAgents(t)
		edit(t, agent, `home-address = "10.10.0.5"`, `nai = "van7@fleet.example"`)
		edit(t, agent, `prefix = "10.10.0.0/24"`, "prefix = \"10.10.0.0/24\"\npool = [\"10.10.0.100-10.10.0.199\"]")
		edit(t, mobile, `home-address = "10.10.0.5"`, `nai = "van7@fleet.example"`)
	},
	//rfc:2794#3
	Play: func(l Lab) {
		if b := arrive(l, wlan, visited1); b.HomeAddress != netip.MustParseAddr("10.10.0.100") {
			l.Fatalf("the home address is %v", b.HomeAddress)
		}
		l.Wait(time.Second) // the address is given to the host
		stream := l.Stream(mobile, peer, 50_000)
		l.Wait(2 * time.Second)
		arrive(l, wlan, visited2)
		well(l, stream, time.Minute)
	},
}

var registrationRequired = &Scene{
	Name:     "registration-required",
	Doc:      "A node with an address of its own registers it through the foreign agent that wants it (R bit), and tunnels past it.",
	Topology: "home-link",
	Needs:    []Ability{Tuned},
	Edit: func(t *topology.Topology) {
		AddForeignAgents(t)
		for i := range t.Segments {
			if t.Segments[i].Name == visited1 {
				t.Segments[i].FirstLease = netip.MustParseAddr("198.18.1.50")
			}
		}
		core := t.Node("core")
		core.Routes = append(core.Routes, topology.Route{Prefix: netip.MustParsePrefix("198.18.1.0/24"), Via: CareOf1})
		key := "spi = 300\nkey = \"hex:99112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"\nalgorithm = \"hmac-sha256\"\n"
		t.Node(agent).Config += "\n[[home-agent.foreign-agent]]\naddress = \"" + CareOf1.String() + "\"\n" + key
		t.Node(foreign1).Config += "\n[[foreign-agent.home-agent]]\naddress = \"10.10.0.1\"\n" + key
	},
	Tune: func(t *Tuning) {
		if t.Foreign != nil && t.Node == foreign1 {
			t.Foreign.Advertise = []advertise.Link{{Name: "lan", Foreign: true, Registration: true}}
		}
	},
	//rfc:5944#2.1.1
	//rfc:5944#3.1
	Play: func(l Lab) {
		near := l.Record(visited1)
		l.Plug(mobile, wlan, visited1)
		own := netip.MustParseAddr("198.18.1.50")
		l.Until("the node's own address is registered", 15*time.Second, func() bool {
			b := l.Binding(mobile)
			return b.Registered && b.CareOf == own
		})
		l.Wait(15 * time.Second)
		through := false
		for _, p := range near() {
			if ip, u, err := encap.ParseUDP(p); err == nil && ip.Src == own && ip.Dst == netip.MustParseAddr("198.18.1.1") && u.Dst.Port() == encap.Port {
				through = true
			}
		}
		if b := l.Binding(mobile); !through || b.CareOf != own || !b.Registered {
			l.Fatalf("registered %v, through the agent %v", b.CareOf, through)
		}
		if !l.Reaches(mobile, peer) || !l.Reaches(peer, mobile) {
			l.Fatalf("packets do not get through")
		}
	},
}

// encapsulating asks for the encapsulating delivery style.
var encapsulating = &Scene{
	Name:     "encapsulating-delivery",
	Doc:      "The node itself tunnels to the foreign agent, which sends on what comes so (RFC 3024 section 5.2).",
	Topology: "home-link",
	Needs:    []Ability{Tuned},
	Edit:     AddForeignAgents,
	Tune: func(t *Tuning) {
		if t.Mobile != nil {
			t.Mobile.ForeignAgents.EncapsulatingDelivery = true
		}
	},
	//rfc:3024#5.2
	Play: func(l Lab) {
		near := l.Record(visited1)
		arrive(l, wlan, visited1)
		stream := l.Stream(mobile, peer, 100_000)
		well(l, stream, 30*time.Second)
		home, lan := netip.MustParseAddr("10.10.0.5"), netip.MustParseAddr("198.18.1.1")
		tunnelled := 0
		for _, p := range near() {
			if h, _, err := encap.Pull(bytes.Clone(p)); err == nil && h.Src == home && h.Dst == lan {
				tunnelled++
			} else if ip, err := encap.ParseIPv4(p); err == nil && ip.Src == home && ip.Protocol == 6 {
				l.Fatalf("a packet of the stream left the node plain")
			}
		}
		if tunnelled < 20 {
			l.Fatalf("%d packets were tunnelled to the foreign agent", tunnelled)
		}
	},
}
