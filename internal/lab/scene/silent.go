package scene

import (
	"net/netip"
	"time"
)

// Handovers moves a node with a flow of packets in both directions between two
// foreign agents, and returns how long nothing arrived, each time. announced
// says that the node's link goes down and up; otherwise it stays up, and only
// advertisements tell.
func Handovers(l Lab, moves int, announced bool) (down, up []time.Duration) {
	arrive(l, wlan, visited1)
	to, from := l.Flow(peer, mobile, 5*time.Millisecond), l.Flow(mobile, peer, 5*time.Millisecond)
	l.Wait(2 * time.Second)
	for i := range moves {
		segment, careOf := visited2, CareOf2
		if i%2 == 1 {
			segment, careOf = visited1, CareOf1
		}
		began := l.Now()
		if announced {
			l.Plug(mobile, wlan, segment)
		} else {
			l.Shift(mobile, wlan, segment)
		}
		registeredWith(l, careOf)
		l.Wait(time.Second)
		d, u := to.Report(began, l.Now()-300*time.Millisecond), from.Report(began, l.Now()-300*time.Millisecond)
		down, up = append(down, d.Gap), append(up, u.Gap)
		// Not in step with the advertisements.
		l.Wait(time.Duration(1+i%5) * 170 * time.Millisecond)
	}
	to.Stop()
	from.Stop()
	return down, up
}

func registeredWith(l Lab, careOf netip.Addr) {
	l.Until("the node is registered with "+careOf.String(), 30*time.Second, func() bool {
		b := l.Binding(mobile)
		return b.Registered && b.CareOf == careOf
	})
}

// AdvertiseInterval is that of the foreign agents of [AddForeignAgents].
const AdvertiseInterval = 3 * time.Second

var silentMove = &Scene{
	Name:     "silent-move",
	Doc:      "A node moves between foreign agents and its link says nothing: the outage follows the advertisement interval; a move that the link announces costs a round trip.",
	Topology: "home-link",
	Edit:     AddForeignAgents,
	//rfc:5944#2.4.2.1
	//rfc:5944#2.4.2.2
	Play: func(l Lab) {
		down, up := Handovers(l, 2, false)
		l.Logf("without link events: downlink gaps %v, uplink gaps %v", down, up)
		for i := range down {
			if worst := max(down[i], up[i]); l.Can(Exact) && (worst < PathRTT || worst > 3*AdvertiseInterval+PathRTT+time.Second) {
				l.Fatalf("gaps of %v and %v", down[i], up[i])
			}
		}
		down, up = Handovers(l, 2, true)
		l.Logf("with link events: downlink gaps %v, uplink gaps %v", down, up)
		for i := range down {
			if limit := PathRTT + 20*time.Millisecond; l.Can(Exact) && max(down[i], up[i]) > limit {
				l.Fatalf("gaps of %v and %v, more than %v", down[i], up[i], limit)
			}
		}
	},
}
