package scene

import (
	"net/netip"
	"time"

	"careof/internal/lab/topology"
	"careof/wire/encap"
)

// validating makes a mobile node answer challenges.
func validating(t *topology.Topology) {
	edit(t, mobile, "[mobile-node]\n", "[mobile-node]\npath-validation = \"on\"\n")
}

// redirect: a node that has a key names a third party as where it is, or
// somebody on the way does so for it. Both come to the home agent as the same
// octets: an authentic request from somebody else's address.
var redirect = &Scene{
	Name: "redirect-flood",
	Doc:  "Authentic requests come from a victim's address while somebody sends the node very much: the victim gets replies, no data, and no more than three octets for one; the node itself is served at once.",
	Edit: validating,
	Play: func(l Lab) {
		seen := l.Record(access1)
		// The node's own requests never arrive: they are new to the home agent.
		l.BlackHole("edge", true)
		l.Plug(mobile, wlan, access1)
		var captured []signal
		l.Until("the node asks", 15*time.Second, func() bool {
			captured = registrations(seen())
			return len(captured) > 0
		})
		l.Unplug(mobile, wlan)
		l.Wait(3 * time.Second)
		l.BlackHole("edge", false)

		victim := l.Intruder("site")
		site := l.Record("site")
		flow := l.Flow(peer, mobile, 5*time.Millisecond)
		l.Wait(time.Second) // its first packets find the way
		r := captured[len(captured)-1]
		request := datagram(l, netip.AddrPortFrom(victim, 4000), r.to, r.data)
		l.Inject("site", request)
		l.Until("the request is accepted", 2*time.Second, func() bool { return l.Replies(agent, accepted) == 1 })
		l.Wait(3 * time.Second)
		got, data := 0, 0
		for _, p := range site() {
			ip, err := encap.ParseIPv4(p)
			if err != nil || ip.Dst != victim || ip.Src != agentAddress.Addr() {
				continue
			}
			got += len(p)
			if _, d, err := encap.ParseUDP(p); err == nil && len(d.Payload) > 0 && d.Payload[0] == encap.TunnelDataType {
				data += len(p)
			}
		}
		l.Logf("the victim got %d octets, %d of them data, for a request of %d", got, data, len(request))
		if got == 0 || got > 3*len(request) || data > 0 {
			l.Fatalf("the victim got %d octets, %d of them data, for a request of %d", got, data, len(request))
		}
		flow.Stop()
		arrive(l, wlan, access1)
		flow = l.Flow(peer, mobile, 5*time.Millisecond)
		began := l.Now()
		l.Wait(2 * time.Second)
		if r := settled(l, flow, began+500*time.Millisecond, l.Now()-500*time.Millisecond); r.Lost > 0 {
			l.Fatalf("the node itself lost %d of %d packets", r.Lost, r.Sent)
		}
		flow.Stop()
	},
}

// rewritten: somebody on the way to the home agent gives one request of a node
// another source.
var rewritten = &Scene{
	Name: "rewritten-source",
	Doc:  "One renewal of a node reaches the home agent with somebody else's source: packets go on to where the node is, and he gets no more than three octets for one.",
	Edit: validating,
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		l.Wait(time.Second)
		seen := l.Record(access1)
		flow := l.Flow(peer, mobile, 5*time.Millisecond)
		l.Wait(time.Second)
		began := l.Now()
		// The node attaches anew, and its request is kept back.
		before := len(registrations(seen()))
		l.BlackHole("edge", true)
		l.Plug(mobile, wlan, access1)
		var kept []signal
		l.Until("the node asks", 5*time.Second, func() bool {
			kept = registrations(seen())
			return len(kept) > before
		})
		victim := l.Intruder("site")
		site := l.Record("site")
		l.BlackHole("edge", false)
		r := kept[len(kept)-1]
		request := datagram(l, netip.AddrPortFrom(victim, 4000), r.to, r.data)
		l.Inject("site", request)
		l.Wait(3 * time.Second)
		got := 0
		for _, p := range site() {
			if ip, err := encap.ParseIPv4(p); err == nil && ip.Dst == victim && ip.Src == agentAddress.Addr() {
				got += len(p)
			}
		}
		if got == 0 || got > 3*len(request) {
			l.Fatalf("he got %d octets for a request of %d", got, len(request))
		}
		end := l.Now() - 500*time.Millisecond
		rep := flow.Report(began, end)
		l.Logf("he got %d octets for a request of %d; the node lost %d of %d packets, in a gap of %v", got, len(request), rep.Lost, rep.Sent, rep.Gap)
		if l.Can(Exact) && rep.Gap > 300*time.Millisecond {
			l.Fatalf("nothing came for %v", rep.Gap)
		}
		flow.Stop()
	},
}
