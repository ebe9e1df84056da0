package scene

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/lab/topology"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// agentAddress is the home agent's address in the default topology.
var agentAddress = netip.MustParseAddrPort("198.51.100.1:434")

// Codes of replies that scenes count.
const (
	accepted = 0
	mismatch = uint8(mip4.CodeIdentificationMismatch)
)

var replay = &Scene{
	Name: "replay",
	Doc:  "A captured request is replayed from elsewhere: at once, late, after a move and after a restart; the binding never goes back.",
	Play: func(l Lab) {
		seen := l.Record(access1)
		arrive(l, wlan, access1)
		captured := requests(seen())
		if len(captured) == 0 {
			l.Fatalf("no request was captured")
		}
		first := captured[0]
		elsewhere := netip.AddrPortFrom(l.Intruder("site"), 434)
		again := func(when string, from netip.AddrPort, refused bool) {
			before, ok := l.Binding(mobile), l.Replies(agent, accepted)
			denied := l.Replies(agent, mismatch)
			l.Inject("site", datagram(l, from, first.to, first.data))
			l.Wait(500 * time.Millisecond)
			if after := l.Binding(mobile); !after.same(before) {
				l.Fatalf("%s: the binding went from %+v to %+v", when, before, after)
			}
			if refused && l.Replies(agent, accepted) != ok {
				l.Fatalf("%s: the replay was accepted", when)
			}
			if refused {
				l.Until(fmt.Sprintf("%s: the replay is refused with code %d", when, mismatch), time.Second, func() bool { return l.Replies(agent, mismatch) == denied+1 })
			}
			if !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
				l.Fatalf("%s: packets do not get through any more", when)
			}
		}
		again("at once, from elsewhere", elsewhere, true)
		// An exact repeat from the node's own endpoint gets its reply again and
		// changes nothing: it may be the network's doing.
		again("at once, from the node's address", first.from, false)
		l.Wait(8 * time.Second)
		again("8 s late", elsewhere, true)
		l.Plug(mobile, wlan, access2)
		registered(l, 10*time.Second)
		again("after a move", elsewhere, true)
		again("after a move, from the old address", first.from, true)
		l.Kill(agent)
		l.Wait(time.Second)
		l.Start(agent)
		again("after a restart", elsewhere, true)
		again("after a restart, from the old address", first.from, true)
	},
}

var flips = &Scene{
	Name: "bit-flips",
	Doc:  "A request with any single bit flipped is never accepted.",
	Play: func(l Lab) {
		seen := l.Record(access1)
		// The test is worth something when the request is accepted unflipped, after
		// all that. A busy machine may be later with it than its timestamp is good
		// for: then all begins again, with another request.
		const tries = 5
		for range tries {
			if flipEveryBit(l, seen) {
				return
			}
			if l.Can(Exact) {
				break
			}
		}
		l.Fatalf("the unflipped request is not accepted either")
	},
}

// flipEveryBit says whether a request of the node is accepted as it is, after
// none was with a bit flipped.
func flipEveryBit(l Lab, seen func() [][]byte) bool {
	// The node's own request never arrives: what is flipped is new to the
	// home agent.
	l.BlackHole("edge", true)
	before := len(registrations(seen()))
	l.Plug(mobile, wlan, access1)
	var captured []signal
	l.Until("the node asks", 15*time.Second, func() bool {
		captured = registrations(seen())[before:]
		return len(captured) > 0
	})
	l.Unplug(mobile, wlan)
	l.Wait(3 * time.Second) // until nobody waits for a link-layer address on the edge any more
	l.BlackHole("edge", false)
	r := captured[len(captured)-1]
	for bit := range 8 * len(r.data) {
		flipped := append([]byte(nil), r.data...)
		flipped[bit/8] ^= 1 << (bit % 8)
		l.Inject("site", datagram(l, r.from, r.to, flipped))
		if bit%8 == 7 {
			// Not longer in all than the request's timestamp is good for.
			l.Wait(4 * time.Millisecond)
		}
	}
	l.Wait(500 * time.Millisecond)
	if n := l.Replies(agent, accepted); n != 0 {
		l.Fatalf("%d flipped requests were accepted", n)
	}
	late := l.Replies(agent, mismatch)
	l.Inject("site", datagram(l, r.from, r.to, r.data))
	l.Until("the unflipped request is answered", 20*time.Second, func() bool {
		return l.Replies(agent, accepted)+l.Replies(agent, mismatch) > late
	})
	return l.Replies(agent, accepted) == 1
}

var forged = &Scene{
	Name: "forged-133",
	Doc:  "Forged denials do not make a mobile node change its Identification or lose its registration.",
	Play: func(l Lab) {
		seen := l.Record(access1)
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 50_000)
		l.Wait(time.Second)
		all := registrations(seen())
		r := all[len(all)-1]
		m, err := mip4.Parse(r.data)
		if err != nil {
			l.Fatalf("%v", err)
		}
		q, err := m.Request()
		if err != nil {
			l.Fatalf("%v", err)
		}
		before := l.Binding(mobile)
		sent := len(all)
		for _, code := range []mip4.Code{mip4.CodeIdentificationMismatch, mip4.CodeHAMobileNodeAuth, mip4.CodeUnknownHomeAgent, mip4.CodeAccepted} {
			for _, authenticated := range []bool{false, true} {
				d := mip4.NewReply(mip4.RegistrationReply{
					Code: code, HomeAddress: q.HomeAddress, HomeAgent: q.HomeAgent, Identification: 1<<63 | q.Identification&0xffffffff,
				})
				if authenticated {
					wrong, err := assoc.New(256, assoc.HMACSHA256, assoc.NewKey([]byte("a guess")), assoc.Timestamps)
					if err != nil {
						l.Fatalf("%v", err)
					}
					d.Authenticate(mip4.ExtMobileHome, wrong)
				}
				data, err := d.Seal()
				if err != nil {
					l.Fatalf("%v", err)
				}
				l.Inject(access1, datagram(l, r.to, r.from, data))
			}
		}
		l.Wait(6 * time.Second) // the node asks a question of its own meanwhile
		if after := l.Binding(mobile); !after.same(before) {
			l.Fatalf("the binding went from %+v to %+v", before, after)
		}
		if n := len(registrations(seen())); n != sent {
			l.Fatalf("the forged replies made the node send %d requests", n-sent)
		}
		well(l, stream, 30*time.Second)
	},
}

var strangers = &Scene{
	Name: "strangers",
	Doc:  "Tunnel packets of strangers, of every form and nested, are neither forwarded nor answered, at either end and in every state.",
	Play: func(l Lab) {
		silent := func(when string, target netip.AddrPort) {
			for _, segment := range []string{"site", access1} {
				from := l.Intruder(segment)
				seen := l.Record(segment)
				home, _ := netip.ParseAddr("10.10.0.5")
				victim, _ := netip.ParseAddr("192.0.2.10")
				sent := strangeTunnels(l, from, target, home, victim)
				for _, p := range sent {
					l.Inject(segment, p)
					l.Wait(time.Millisecond)
				}
				l.Wait(300 * time.Millisecond)
				for _, p := range seen() {
					if ip, err := encap.ParseIPv4(p); err == nil && ip.Dst == from && ip.Src == target.Addr() {
						l.Fatalf("%s: %v answers a stranger on %s", when, target, segment)
					}
				}
			}
		}
		silent("before any binding", agentAddress)
		seen := l.Record(access1)
		arrive(l, wlan, access1)
		all := requests(seen())
		if len(all) == 0 {
			l.Fatalf("no request was captured")
		}
		node := all[0].from
		silent("while a node is bound", agentAddress)
		silent("while it is registered", node)
		l.Kill(agent)
		silent("while the home agent's daemon is dead", agentAddress)
		l.Start(agent)
		l.Kill(mobile)
		silent("while the mobile node's daemon is dead", node)
		l.Start(mobile)
		registered(l, 10*time.Second)
	},
}

var nonces = &Scene{
	Name: "nonces",
	Doc:  "Replay protection with nonces: the first request is refused and tells one, moves go on, a replay is refused.",
	Edit: func(t *topology.Topology) {
		edit(t, agent, `algorithm = "hmac-sha256"`, "algorithm = \"hmac-sha256\"\nreplay = \"nonce\"")
		edit(t, mobile, `algorithm = "hmac-sha256"`, "algorithm = \"hmac-sha256\"\nreplay = \"nonce\"")
	},
	Play: func(l Lab) {
		seen := l.Record(access1)
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 100_000)
		captured := requests(seen())
		for _, to := range []string{access2, access1} {
			l.Wait(2 * time.Second)
			arrive(l, wlan, to)
		}
		l.Wait(2 * time.Second)
		before, ok := l.Binding(mobile), l.Replies(agent, accepted)
		for _, r := range captured {
			l.Inject("site", datagram(l, netip.AddrPortFrom(l.Intruder("site"), 434), r.to, r.data))
			l.Wait(200 * time.Millisecond)
		}
		if !l.Binding(mobile).same(before) || l.Replies(agent, accepted) != ok {
			l.Fatalf("a replay was accepted")
		}
		// The refused replays have cost a nonce: the node gets over it.
		arrive(l, wlan, access2)
		well(l, stream, 30*time.Second)
	},
}
