package scene

import (
	"time"

	"careof/internal/lab/world"
)

var crash = &Scene{
	Name: "home-agent-crash",
	Doc:  "The home agent is killed amid traffic and started again: bindings are back, nobody registers anew.",
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 200_000)
		down := l.Flow(peer, mobile, 20*time.Millisecond)
		l.Wait(2 * time.Second)
		accepted := l.Replies(agent, 0)
		for range 3 {
			l.Kill(agent)
			l.Wait(1500 * time.Millisecond)
			l.Start(agent)
			back := l.Now()
			l.Wait(time.Second)
			if r := settled(l, down, back+200*time.Millisecond, back+800*time.Millisecond); r.Lost > 0 {
				l.Fatalf("%d of %d packets are lost after the restart", r.Lost, r.Sent)
			}
		}
		if now := l.Replies(agent, 0); now != accepted {
			l.Fatalf("%d registrations were needed after the restarts", now-accepted)
		}
		well(l, stream, 30*time.Second)
	},
}

var reboot = &Scene{
	Name: "home-agent-reboot",
	Doc:  "The home agent's whole machine reboots: the stored bindings are enough.",
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 100_000)
		l.Wait(2 * time.Second)
		accepted := l.Replies(agent, 0)
		l.Reboot(agent)
		l.Wait(2 * time.Second)
		if now := l.Replies(agent, 0); now != accepted {
			l.Fatalf("%d registrations were needed after the reboot", now-accepted)
		}
		l.Until("packets get through after the reboot", 20*time.Second, func() bool { return l.Reaches(peer, mobile) })
		well(l, stream, 30*time.Second)
	},
}

var mobileCrash = &Scene{
	Name: "mobile-node-crash",
	Doc:  "The mobile node's daemon is killed, then its machine reboots with a clock of 1970; it registers again within two round trips.",
	Needs: []Ability{
		Clocks,
	},
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 100_000)
		l.Wait(2 * time.Second)
		l.Kill(mobile)
		l.Wait(time.Second)
		l.Start(mobile)
		registered(l, 10*time.Second)
		well(l, stream, 30*time.Second)
		l.SetClock(mobile, -56*365*24*time.Hour)
		l.Reboot(mobile)
		took := l.Until("the mobile node is registered", 10*time.Second, func() bool { return l.Binding(mobile).Registered })
		l.Logf("registered %v after the reboot with a clock of 1970", took)
		if limit := 2*PathRTT + 30*time.Millisecond; l.Can(Exact) && took > limit {
			l.Fatalf("registering took %v, more than two round trips (%v)", took, limit)
		}
		if !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
			l.Fatalf("packets do not get through after the reboot")
		}
	},
}

var clocks = &Scene{
	Name:  "clock-jumps",
	Doc:   "Wall clocks jump by an hour in both directions, at either end; registrations go on.",
	Needs: []Ability{Clocks},
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 100_000)
		for _, step := range []struct {
			node  string
			ahead time.Duration
		}{{mobile, time.Hour}, {mobile, -time.Hour}, {mobile, 0}, {agent, time.Hour}} {
			// Not the home agent's clock back by an hour: "MUST be greater than
			// all previously accepted timestamps" (RFC 5944 section 5.7.1) makes
			// it refuse everybody for that hour, as it must.
			l.SetClock(step.node, step.ahead)
			l.Wait(time.Second)
			for _, to := range []string{access2, access1} {
				l.Plug(mobile, wlan, to)
				took := l.Until("the mobile node is registered", 10*time.Second, func() bool { return l.Binding(mobile).Registered })
				l.Logf("%s is %v ahead: registered on %s after %v", step.node, step.ahead, to, took)
				l.Wait(2 * time.Second)
			}
			if !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
				l.Fatalf("packets do not get through while the clock of %s is %v ahead", step.node, step.ahead)
			}
		}
		well(l, stream, 30*time.Second)
	},
}

var brokenDisk = &Scene{
	Name:  "broken-disk",
	Doc:   "The home agent's disk is full and its data plane refuses: nothing is promised that is not so, and it recovers.",
	Needs: []Ability{Faults},
	Play: func(l Lab) {
		for _, f := range []world.Faults{{DiskFull: 1}, {Refused: 1}, {DiskFull: 0.5, Refused: 0.5, SlowDisk: 0.5}} {
			l.Break(agent, f)
			l.Plug(mobile, wlan, access1)
			l.Wait(8 * time.Second)
			if b := l.Binding(mobile); b.Registered && (f.DiskFull == 1 || f.Refused == 1) {
				l.Fatalf("the mobile node is registered although no commit can become true")
			}
			l.Break(agent, world.Faults{})
			registered(l, time.Minute)
			if !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
				l.Fatalf("packets do not get through")
			}
			l.Unplug(mobile, wlan)
			l.Wait(time.Minute)
		}
	},
}

var failedUndo = &Scene{
	Name:  "failed-undo",
	Doc:   "The data plane refuses a move, and then refuses to take back the old binding: that is tried again until it holds.",
	Needs: []Ability{Faults},
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		l.Break(agent, world.Faults{Refused: 1})
		l.Plug(mobile, wlan, access2)
		l.Wait(300 * time.Millisecond)
		l.Unplug(mobile, wlan)
		l.Wait(2 * time.Second)
		if b := l.Binding(mobile); b.Tunnels == 0 {
			l.Fatalf("the data plane let the old binding go: the scene shows nothing")
		}
		l.Break(agent, world.Faults{})
		l.Until("nothing is forwarded to a node that is not bound", 10*time.Second, func() bool { return l.Binding(mobile).Tunnels == 0 })
		arrive(l, wlan, access2)
		l.Wait(time.Minute)
		if !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
			l.Fatalf("packets do not get through")
		}
	},
}
