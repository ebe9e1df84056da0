package scene

import (
	"net/netip"
	"time"
)

// The home agents of the topology ha-pool.
const otherHome = "ha2"

var (
	firstAgent = netip.MustParseAddr("10.10.0.1")
	otherAgent = netip.MustParseAddr("10.10.0.2")
)

// servedBy waits until one home agent of the pool serves the node, alone.
func servedBy(l Lab, address netip.Addr, limit time.Duration) time.Duration {
	return l.Until(address.String()+" serves the node", limit, func() bool {
		b := l.Binding(mobile)
		return b.Registered && b.HomeAgent == address && b.Tunnels == 1
	})
}

// believed checks that the home link knows which home agent that is.
func believed(l Lab, name string) {
	home := l.Binding(mobile).HomeAddress
	l.Until("the neighbour believes "+name, 5*time.Second, func() bool {
		return l.Reaches("neighbour", mobile) && l.Neighbor("neighbour", home) == l.HardwareAddr(name, "eth0")
	})
}

// drains drains one home agent and then the other, with packets on their way in
// both directions; well judges what that took, where it is exact, and how many were
// lost.
func drains(l Lab, down, up Flow, well func(took time.Duration, down, up int) bool) {
	for _, to := range []struct {
		from, name string
		address    netip.Addr
	}{{agent, otherHome, otherAgent}, {otherHome, agent, firstAgent}} {
		began := l.Now()
		l.Drain(to.from, true)
		took := servedBy(l, to.address, 20*time.Second)
		l.Wait(2 * time.Second)
		d, u := down.Report(began, began+2*time.Second), up.Report(began, began+2*time.Second)
		l.Logf("%s drained: %s serves after %v; of %d and %d packets %d and %d are lost, longest gaps %v and %v",
			to.from, to.name, took.Round(time.Millisecond), d.Sent, u.Sent, d.Lost, u.Lost, d.Gap, u.Gap)
		if l.Can(Exact) && !well(took, d.Lost, u.Lost) {
			l.Fatalf("%v, and %d and %d packets are lost", took, d.Lost, u.Lost)
		}
		believed(l, to.name)
		l.Drain(to.from, false)
		l.Wait(3 * time.Second)
	}
}

var drained = &Scene{
	Name:     "ha-drain",
	Doc:      "A home agent of a pool is drained: its node goes to the other one and nothing is lost; drained itself, that one sends it back.",
	Topology: "ha-pool",
	//rfc:4433#4.2
	//rfc:4433#5.3
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 2_000_000)
		down, up := l.Flow(peer, mobile, 10*time.Millisecond), l.Flow(mobile, peer, 10*time.Millisecond)
		servedBy(l, firstAgent, 15*time.Second)
		believed(l, agent)
		l.Wait(3 * time.Second)
		drains(l, down, up, func(took time.Duration, down, up int) bool { return down+up == 0 })
		well(l, stream, 60*time.Second)
	},
}

var fallen = &Scene{
	Name:     "ha-dies",
	Doc:      "A home agent of a pool dies with its host: the node comes back through the other one, and stays there when the dead one rises with its old bindings.",
	Topology: "ha-pool",
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 500_000)
		down := l.Flow(peer, mobile, 20*time.Millisecond)
		servedBy(l, firstAgent, 15*time.Second)
		believed(l, agent)
		l.Wait(3 * time.Second)
		began := l.Now()
		l.Fall(agent)
		// Ten seconds of silence, a part of two and a half, and a registration;
		// the lifetime is ten minutes.
		took := servedBy(l, otherAgent, 40*time.Second)
		if l.Can(Exact) && took > 14*time.Second {
			l.Fatalf("the other home agent serves after %v", took)
		}
		l.Wait(2 * time.Second)
		r := down.Report(began, l.Now()-time.Second)
		l.Logf("the home agent died: an outage of %v, %d of %d packets lost", r.Gap, r.Lost, r.Sent)
		l.Start(agent)
		l.Wait(5 * time.Second)
		servedBy(l, otherAgent, 10*time.Second)
		believed(l, otherHome)
		if !l.Reaches(peer, mobile) || !l.Reaches("neighbour", mobile) {
			l.Fatalf("packets do not get through after the dead one rose")
		}
		well(l, stream, 90*time.Second)
	},
}

var steadfast = &Scene{
	Name: "ha-stays",
	Doc: "A node of a pool stays with its home agent while that starts again, three times, and while its path carries nothing for " +
		"half a minute; and it leaves a dead one behind that path at once when it carries again.",
	Topology: "ha-pool",
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 200_000)
		servedBy(l, firstAgent, 15*time.Second)
		l.Wait(3 * time.Second)
		stays := func(what string) {
			if b := l.Binding(mobile); b.HomeAgent != firstAgent {
				l.Fatalf("%s: the node has gone to %v", what, b.HomeAgent)
			}
		}
		for range 3 {
			began := l.Now()
			l.Kill(agent)
			l.Wait(3 * time.Second)
			l.Start(agent)
			away := l.Now() - began
			l.Wait(6 * time.Second)
			if !l.Can(Exact) && away > 6*time.Second && l.Binding(mobile).HomeAgent == otherAgent {
				// A busy machine takes as long to start it as nobody waits for.
				l.Logf("the home agent was away for %v, and the node has gone to the other one", away)
				l.Drain(otherHome, true)
				servedBy(l, firstAgent, 20*time.Second)
				l.Drain(otherHome, false)
				l.Wait(3 * time.Second)
				continue
			}
			stays("its home agent was away for three seconds")
		}
		l.BlackHole(access1, true)
		l.Wait(30 * time.Second)
		l.BlackHole(access1, false)
		took := l.Until("the path carries again", 30*time.Second, func() bool { return l.Reaches(peer, mobile) })
		l.Wait(15 * time.Second)
		stays("its path carried nothing for half a minute")
		servedBy(l, firstAgent, 5*time.Second)
		l.Logf("three restarts and a path that was dead: the same home agent, which is reached %v after", took.Round(time.Millisecond))

		l.BlackHole(access1, true)
		l.Fall(agent)
		l.Wait(30 * time.Second)
		l.BlackHole(access1, false)
		took = servedBy(l, otherAgent, 30*time.Second)
		l.Logf("a home agent that died meanwhile: the other one serves %v after", took.Round(time.Millisecond))
		well(l, stream, 90*time.Second)
	},
}

var drainedAbroad = &Scene{
	Name: "ha-drain-visited",
	Doc: "The node of a pool visits a foreign agent, which passes the home agent's wish on: it goes to the other home agent when its " +
		"own is drained, with its connections; and back in the same way.",
	Topology: "ha-pool",
	Edit:     AddForeignAgents,
	//rfc:4433#4.2
	Play: func(l Lab) {
		arrive(l, wlan, visited1)
		stream := l.Stream(mobile, peer, 500_000)
		down, up := l.Flow(peer, mobile, 10*time.Millisecond), l.Flow(mobile, peer, 10*time.Millisecond)
		servedBy(l, firstAgent, 15*time.Second)
		believed(l, agent)
		l.Wait(3 * time.Second)
		// What the new home agent sends right behind its reply may arrive before
		// the foreign agent has made the visit true.
		drains(l, down, up, func(took time.Duration, down, up int) bool { return took <= time.Second && down <= 1 && up == 0 })
		well(l, stream, 60*time.Second)
	},
}
