package scene

import (
	"net/netip"
	"time"

	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// advertisement makes the packet of an Agent Advertisement from an address.
func advertisement(l Lab, from netip.Addr, sequence uint16, careOf netip.Addr) []byte {
	d := adv4.Draft{
		Lifetime: 9, Routers: []adv4.Router{{Addr: from}},
		Agent: adv4.MobilityAgent{Sequence: sequence, Lifetime: 600, Flags: adv4.FlagF | adv4.FlagT, CareOfAddresses: []netip.Addr{careOf}},
	}
	b, err := d.Append(nil)
	if err != nil {
		l.Fatalf("%v", err)
	}
	p, err := encap.AppendIPv4(nil, &encap.IPv4{TTL: 1, Protocol: 1, Src: from, Dst: netip.MustParseAddr("224.0.0.1")}, len(b))
	if err != nil {
		l.Fatalf("%v", err)
	}
	return append(p, b...)
}

// requestsTo counts the Registration Requests to an address.
func requestsTo(packets [][]byte, to netip.Addr) (n int) {
	for _, r := range requests(packets) {
		if r.to.Addr() == to {
			n++
		}
	}
	return n
}

var bogus = &Scene{
	Name:     "bogus-foreign-agent",
	Doc:      "Somebody on the visited link advertises as a foreign agent, advertises in the real one's name, and replays old replies: who is registered stays so, and who comes gets through.",
	Topology: "home-link",
	Edit:     AddForeignAgents,
	//rfc:5944#2.4.2
	//rfc:5944#2.4.4
	//rfc:5944#3.6.2.1
	//rfc:5944#5.2
	Play: func(l Lab) {
		near, far := l.Record(visited1), l.Record("isp1")
		arrive(l, wlan, visited1)
		stream := l.Stream(mobile, peer, 100_000)
		stranger := l.Intruder(visited1)
		stays := func(what string) {
			if b := l.Binding(mobile); b.CareOf != CareOf1 || b.Tunnels != 1 || !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
				l.Fatalf("%s: registered with %v, %d tunnels", what, b.CareOf, b.Tunnels)
			}
		}
		// "a mobile node SHOULD NOT attempt to register with a new agent" as long
		// as its own is heard.
		for i := range 20 {
			l.Inject(visited1, advertisement(l, stranger, uint16(i), netip.MustParseAddr("203.0.113.66")))
			l.Wait(300 * time.Millisecond)
		}
		stays("another agent advertises")
		if n := requestsTo(near(), stranger); n != 0 {
			l.Fatalf("the node has asked the bogus agent %d times", n)
		}
		// In the real agent's name: it has started again, it says, and has
		// another care-of address. That may cost requests, which the real agent
		// answers, and not one for each.
		asked := len(requests(near()))
		for i := range 20 {
			l.Inject(visited1, advertisement(l, netip.MustParseAddr("198.18.1.1"), uint16(i%3), netip.MustParseAddr("203.0.113.66")))
			l.Wait(100 * time.Millisecond)
		}
		// The real agent is heard again within two intervals.
		l.Wait(2 * AdvertiseInterval)
		l.Until("the node is registered as before", 15*time.Second, func() bool {
			b := l.Binding(mobile)
			return b.CareOf == CareOf1 && b.Tunnels == 1
		})
		stays("somebody advertises in the agent's name")
		n := len(requests(near())) - asked
		l.Logf("20 advertisements in the agent's name made the node send %d requests", n)
		if n > 20 {
			l.Fatalf("20 forged advertisements made the node send %d requests", n)
		}
		// Old replies come again: to the node, and to its agent.
		for _, replayed := range []struct {
			segment string
			packets [][]byte
		}{{visited1, near()}, {"isp1", far()}} {
			for _, p := range replayed.packets {
				_, u, err := encap.ParseUDP(p)
				if err == nil && len(u.Payload) > 0 && mip4.MessageType(u.Payload[0]) == mip4.TypeRegistrationReply {
					l.Inject(replayed.segment, p)
				}
			}
		}
		l.Wait(time.Second)
		stays("old replies come again")
		// Who comes anew hears the bogus agent first and often.
		stranger = l.Intruder(visited2)
		there := l.Record(visited2)
		l.Plug(mobile, wlan, visited2)
		for i := range 50 {
			l.Inject(visited2, advertisement(l, stranger, uint16(i), netip.MustParseAddr("203.0.113.66")))
			l.Wait(100 * time.Millisecond)
		}
		l.Until("the node is registered through the real agent", 30*time.Second, func() bool {
			b := l.Binding(mobile)
			return b.Registered && b.CareOf == CareOf2
		})
		// The real one dies: the bogus agent is all there is, and is asked. It
		// cannot answer for the home agent; the real one is found again.
		l.Kill(foreign2)
		for i := 0; requestsTo(there(), stranger) == 0; i++ {
			if i == 300 {
				l.Fatalf("the bogus agent is not heard: the scene shows nothing")
			}
			l.Inject(visited2, advertisement(l, stranger, uint16(50+i), netip.MustParseAddr("203.0.113.66")))
			l.Wait(100 * time.Millisecond)
		}
		l.Start(foreign2)
		l.Until("the node is registered through the real agent again", 30*time.Second, func() bool {
			b := l.Binding(mobile)
			return b.Registered && b.CareOf == CareOf2 && l.Reaches(peer, mobile)
		})
		well(l, stream, time.Minute)
	},
}
