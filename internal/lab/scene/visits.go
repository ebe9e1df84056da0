package scene

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"careof/internal/lab/topology"
	"careof/internal/proto/mip4/advertise"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Names of the visited links: no address is to be had there, but from the
// foreign agent that is their router.
const (
	visited1 = "visited1"
	visited2 = "visited2"
	foreign1 = "fa1"
	foreign2 = "fa2"
)

// AddForeignAgents adds two foreign agents, fa1 and fa2, behind the first
// provider of a built-in topology, each with a visited link of its own.
func AddForeignAgents(t *topology.Topology) {
	for i, name := range []string{foreign1, foreign2} {
		segment, net := []string{visited1, visited2}[i], fmt.Sprintf("198.18.%d.", i+1)
		t.Segments = append(t.Segments, topology.Segment{
			Name: segment, Delay: topology.Duration{Duration: 100 * time.Microsecond}, Network: netip.MustParsePrefix(net + "0/24"), Gateway: netip.MustParseAddr(net + "1"),
		})
		careOf := fmt.Sprintf("100.65.0.1%d", i+1)
		t.Nodes = append(t.Nodes, topology.Node{
			Name: name, Kind: topology.ForeignAgent,
			Interfaces: []topology.Interface{
				{Name: "wan", Segment: "isp1", Address: netip.MustParsePrefix(careOf + "/24"), Gateway: netip.MustParseAddr("100.65.0.1")},
				{Name: "lan", Segment: segment, Address: netip.MustParsePrefix(net + "1/24")},
			},
			Config: "version = 1\nstate-directory = \"state\"\n[foreign-agent]\ninterfaces = [\"lan\"]\n" +
				"care-of-address = \"" + careOf + "\"\nadvertise-interval = \"3s\"\n",
		})
	}
}

// careOf1 and careOf2 are what the foreign agents lend.
var (
	careOf1 = netip.MustParseAddr("100.65.0.11")
	careOf2 = netip.MustParseAddr("100.65.0.12")
)

// journey is a scene that goes the long way with one encapsulation.
func journey(form encap.Kind) *Scene {
	return &Scene{
		Name:     "foreign-agents-" + form.String(),
		Doc:      "From home to one foreign agent, to another, behind a translator and home again, by " + form.String() + "; the stream survives.",
		Topology: "home-link",
		Edit: func(t *topology.Topology) {
			AddForeignAgents(t)
			edit(t, mobile, "home-agent = ", "encapsulation = \""+form.String()+"\"\nhome-agent = ")
		},
		//rfc:5944#3.1
		//rfc:5944#2.4.2
		//rfc:5944#4.2.2
		Play: func(l Lab) {
			l.Plug(mobile, wlan, "home")
			l.Until("the node is at home", 15*time.Second, func() bool { return l.Binding(mobile).AtHome })
			stream := l.Stream(mobile, peer, 400_000)
			down, up := l.Flow(peer, mobile, 5*time.Millisecond), l.Flow(mobile, peer, 5*time.Millisecond)
			l.Wait(2 * time.Second)
			wire := l.Record("isp1")
			for i, segment := range []string{visited1, visited2, visited1} {
				began := l.Now()
				b := arrive(l, wlan, segment)
				want := []netip.Addr{careOf1, careOf2, careOf1}[i]
				if b.CareOf != want {
					l.Fatalf("registered with %v, not with %v", b.CareOf, want)
				}
				l.Wait(3 * time.Second)
				d, u := down.Report(began, began+time.Second), up.Report(began, began+time.Second)
				l.Logf("to %s: registered in %v; downlink gap %v, uplink gap %v", segment, b.Took, d.Gap, u.Gap)
				// An announced move costs registration time, not advertisement
				// time. From home the way itself becomes half a round trip longer.
				limit := pathRTT + 20*time.Millisecond
				if i == 0 {
					limit += pathRTT / 2
				}
				if l.Can(Exact) && (d.Gap > limit || u.Gap > limit) {
					l.Fatalf("to %s: gaps of %v and %v, more than %v", segment, d.Gap, u.Gap, limit)
				}
				if d.Duplicates+u.Duplicates > 0 {
					l.Fatalf("to %s: %d and %d packets came twice", segment, d.Duplicates, u.Duplicates)
				}
			}
			both := 0
			for _, p := range wire() {
				if h, _, err := encap.Pull(bytes.Clone(p)); err == nil && h.Kind == form && (h.Dst == careOf1 || h.Dst == careOf2 || h.Src == careOf1 || h.Src == careOf2) {
					both++
				}
			}
			if both < 1000 {
				l.Fatalf("only %d packets of the tunnels are %v", both, form)
			}
			arrive(l, wlan, access2)
			l.Until("the tunnel is in UDP behind the translator", time.Second, func() bool { return l.Binding(mobile).UDP })
			l.Wait(3 * time.Second)
			l.Plug(mobile, wlan, "home")
			l.Until("the node is at home again", 15*time.Second, func() bool {
				b := l.Binding(mobile)
				return b.AtHome && b.Registered && b.Tunnels == 0
			})
			well(l, stream, time.Minute)
		},
	}
}

var hops = &Scene{
	Name:     "hop-by-hop",
	Doc:      "What a foreign agent may change in a request and a reply: the addresses of the datagram, and nothing within.",
	Topology: "home-link",
	Edit:     AddForeignAgents,
	//rfc:5944#3.7.2.2
	//rfc:5944#3.7.3.2
	Play: func(l Lab) {
		near, far := l.Record(visited1), l.Record("isp1")
		if b := arrive(l, wlan, visited1); b.CareOf != careOf1 {
			l.Fatalf("registered with %v", b.CareOf)
		}
		l.Wait(time.Second)
		lan, wan := netip.MustParseAddr("198.18.1.1"), netip.MustParseAddr("10.10.0.1")
		home := netip.MustParseAddr("10.10.0.5")
		for _, c := range []struct {
			kind       mip4.MessageType
			nearBy     [2]netip.Addr // source and destination on the visited link
			beyond     [2]netip.Addr
			ttl        uint8 // on the visited link
			fromMobile bool
		}{
			{mip4.TypeRegistrationRequest, [2]netip.Addr{home, lan}, [2]netip.Addr{careOf1, wan}, 255, true},
			{mip4.TypeRegistrationReply, [2]netip.Addr{lan, home}, [2]netip.Addr{wan, careOf1}, 0, false},
		} {
			a, b := message(near(), c.kind), message(far(), c.kind)
			switch {
			case a == nil || b == nil:
				l.Fatalf("%v was not seen on both links", c.kind)
			case !bytes.Equal(a.payload, b.payload):
				l.Fatalf("%v: %x became %x", c.kind, a.payload, b.payload)
			case [2]netip.Addr{a.ip.Src, a.ip.Dst} != c.nearBy || [2]netip.Addr{b.ip.Src, b.ip.Dst} != c.beyond:
				l.Fatalf("%v goes from %v to %v, and from %v to %v", c.kind, a.ip.Src, a.ip.Dst, b.ip.Src, b.ip.Dst)
			case c.ttl != 0 && a.ip.TTL != c.ttl:
				l.Fatalf("%v has TTL %d", c.kind, a.ip.TTL)
			}
		}
	},
}

// A seenMessage is a signalling message that was seen, and how it travelled.
type seenMessage struct {
	ip      encap.IPv4
	payload []byte
}

// message finds the first message of a kind among recorded packets.
func message(packets [][]byte, kind mip4.MessageType) *seenMessage {
	for _, p := range packets {
		ip, u, err := encap.ParseUDP(p)
		if err != nil || len(u.Payload) == 0 || mip4.MessageType(u.Payload[0]) != kind || u.Src.Port() != encap.Port && u.Dst.Port() != encap.Port {
			continue
		}
		return &seenMessage{ip, u.Payload}
	}
	return nil
}

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
		for range 2 {
			l.Kill(foreign1)
			l.Wait(time.Second)
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
		l.Inject("isp1", wrap(wan, careOf1, probe(cn, other, "for a stranger")))
		// For the visitor, but not from its home agent.
		l.Inject("isp1", wrap(l.Intruder("isp1"), careOf1, probe(cn, home, "from a stranger")))
		// From the visited link, with the visitor's address, but not from it.
		l.Inject(visited1, probe(home, cn, "in the visitor's name"))
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
			if h, inner, err := encap.Pull(bytes.Clone(p)); err == nil && h.Src == careOf1 && bytes.Contains(inner, []byte("in the visitor's name")) {
				l.Fatalf("a neighbour's packet was tunnelled in the visitor's name")
			}
			if ip, err := encap.ParseIPv4(p); err == nil && ip.Protocol == 1 && ip.Src == careOf1 {
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
		core.Routes = append(core.Routes, topology.Route{Prefix: netip.MustParsePrefix("198.18.1.0/24"), Via: careOf1})
		key := "spi = 300\nkey = \"hex:99112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"\nalgorithm = \"hmac-sha256\"\n"
		t.Node(agent).Config += "\n[[home-agent.foreign-agent]]\naddress = \"" + careOf1.String() + "\"\n" + key
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
