package standard_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/pathmtu"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
)

// narrow is a pair that has registered over a path whose link says 1500 and
// that carries outer packets of at most width octets.
func narrow(t *testing.T, width int, c standard.Config) *pair {
	t.Helper()
	c.PathMTU.Enabled = true
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.ways, p.losses, p.widths = map[string]time.Duration{}, map[string]func() bool{}, map[string]int{"wlan0": width}
	p.up("wlan0", wifi)
	return p
}

// use has programs send packets, ten a second.
func (p *pair) use(d time.Duration) {
	for range d / (100 * time.Millisecond) {
		p.user++
		p.run(100 * time.Millisecond)
	}
}

// carries is what both ends believe of the tunnel: the longest inner packet,
// 0 for what the link says.
func (p *pair) carries() (node, agent int) {
	p.t.Helper()
	for _, e := range p.node.entries {
		for _, t := range e.Tunnels {
			if t.Mode != forward.Receive {
				node = t.MTU
			}
		}
	}
	for _, e := range p.agent.entries {
		for _, t := range e.Tunnels {
			if t.Mode != forward.Receive {
				agent = t.MTU
			}
		}
	}
	return node, agent
}

func (p *pair) mustCarry(want int) {
	p.t.Helper()
	if node, agent := p.carries(); node != want || agent != want {
		p.t.Errorf("after %v: the node's end of the tunnel carries %d octets, the home agent's %d, want %d (0: what the link does)",
			p.now.Mono.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), node, agent, want)
	}
	p.agree()
}

// A path of 1124 octets whose routers say nothing: both ends know within three
// seconds of registering.
//
//rfc:8899#5.3
func TestANarrowPathIsFoundAtBothEnds(t *testing.T) {
	for _, width := range []int{1487, 1480, 1400, 1124, 700, 576} {
		p := narrow(t, width, standard.Config{})
		p.run(3 * time.Second)
		p.mustCarry(width - 20)
		if p.told(pathmtu.Changed) == 0 {
			t.Errorf("%d: nobody was told", width)
		}
		p.saysOf("wlan0", "in-use", fmt.Sprintf("its path carries packets of %d octets", width))
	}
}

// The same in every form of tunnel: what is told is the outer path.
func TestANarrowPathIsFoundInUDP(t *testing.T) {
	p := narrow(t, 1124, standard.Config{NATTraversal: natt.Config{Mode: natt.Force}})
	p.run(3 * time.Second)
	p.mustCarry(1124 - encap.Overhead(encap.UDP, false))
}

// No probe leaves before the data plane has a tunnel for it: it would be lost, and
// its round with it.
func TestNoProbeLeavesBeforeItsTunnelIsMade(t *testing.T) {
	p := narrow(t, 1500, standard.Config{})
	p.node.slow = 50 * time.Millisecond
	p.run(3 * time.Second)
	p.lose("wlan0")
	p.run(time.Second)
	p.up("wlan0", wifi)
	p.run(3 * time.Second)
	if p.probes == 0 || p.astray > 0 {
		t.Errorf("%d of %d probes left when there was no tunnel", p.astray, p.probes)
	}
}

// A path that carries what its link does costs one packet, and a registration
// is as it ever was.
func TestAWidePathCostsOneProbe(t *testing.T) {
	p := narrow(t, 1500, standard.Config{})
	p.run(5 * time.Minute)
	p.mustCarry(0)
	// Ten seconds of confirming after the move, whether packets go or not.
	if p.probes == 0 || p.probes > 11 {
		t.Errorf("%d probes", p.probes)
	}
	if p.sent != 1 {
		t.Errorf("%d requests", p.sent)
	}
	before := p.probes
	p.run(time.Hour)
	if p.probes != before {
		t.Errorf("%d probes over a path that nobody uses", p.probes-before)
	}
}

// A path that becomes narrow under a connection is noticed within three
// seconds at both ends, whoever sends.
//
//rfc:8899#4.3
func TestAPathThatBecomesNarrow(t *testing.T) {
	p := narrow(t, 1500, standard.Config{})
	p.use(2 * time.Minute)
	p.mustCarry(0)
	p.widths["wlan0"] = 1124
	p.use(1700 * time.Millisecond)
	node, _ := p.carries()
	if node == 0 || node > 1104 {
		t.Errorf("the node sends packets of %d octets after 1.7 s, of which 1104 get through", node)
	}
	p.use(1300 * time.Millisecond)
	p.mustCarry(1104)
}

// A path that becomes wide again is used after ten minutes.
//
//rfc:8899#5.1.1
func TestAPathThatBecomesWideAgain(t *testing.T) {
	p := narrow(t, 1124, standard.Config{})
	p.run(3 * time.Second)
	p.widths["wlan0"] = 1500
	p.use(9 * time.Minute)
	p.mustCarry(1104)
	p.use(2 * time.Minute)
	p.mustCarry(0)
}

// On another network nothing of what was found counts.
func TestANarrowPathIsForgottenWithItsNetwork(t *testing.T) {
	p := narrow(t, 1124, standard.Config{})
	p.run(3 * time.Second)
	p.widths["wlan0"] = 1500
	p.lose("wlan0")
	p.run(time.Second)
	p.up("wlan0", lte)
	p.run(3 * time.Second)
	p.mustCarry(0)
}

// A path that loses packets of every length is not narrow.
func TestLossIsNotNarrowness(t *testing.T) {
	luck := rand.New(rand.NewPCG(1, 2))
	p := narrow(t, 1500, standard.Config{Paths: path.Config{Profile: path.Off}})
	p.run(time.Second)
	p.losses["wlan0"] = func() bool { return luck.IntN(100) < 10 }
	narrower := 0
	for range 600 {
		p.use(time.Second)
		if node, _ := p.carries(); node != 0 {
			narrower++
		}
	}
	// Where chance lets it look narrow, the next round mends it.
	if narrower > 6 {
		t.Errorf("of 600 s at 10 %% loss the path counted as narrow for %d", narrower)
	}
	p.losses["wlan0"] = nil
	p.use(11 * time.Minute)
	p.mustCarry(0)
}

// A dead path is not narrow either, nor is a home agent that answers no echoes.
func TestSilenceIsNotNarrowness(t *testing.T) {
	p := narrow(t, 1500, standard.Config{})
	p.answers = false
	p.use(time.Minute)
	p.mustCarry(0)
	if p.probes > 60 {
		t.Errorf("%d probes to somebody who answers none", p.probes)
	}
}

// A home agent without the feature skips the extension, and a foreign answer
// without the token proves nothing.
//
//rfc:8899#4.1
func TestAProbeIsAnsweredOnlyByWhoSawIt(t *testing.T) {
	p := narrow(t, 1124, standard.Config{})
	for range 30 {
		for seq := range uint16(20) {
			p.step(p.node, engine.Plane{Event: forward.EchoReply{Key: p.node.machine.(*mn.Node).Key(), ID: 1, Seq: seq, Token: 7}})
		}
		p.run(100 * time.Millisecond)
	}
	p.mustCarry(1104)
}

// told is what the data plane was last told that the path carries.
func (h *host) told() (octets int) {
	if n := len(h.carried); n > 0 {
		return h.carried[n-1].Octets
	}
	return 0
}

// The data plane is told what probes have shown, once, so that it believes no forged
// "too big"; such a one is answered with a probe at once, also while the path rests,
// and changes nothing.
//
//rfc:8899#4.6.2
func TestWhatRoutersSayIsProbed(t *testing.T) {
	p := narrow(t, 1500, standard.Config{Paths: path.Config{Profile: path.Off}})
	p.run(time.Minute)
	if got := p.node.carried; len(got) != 1 || got[0].Peer != agent || got[0].Octets < 1480 || got[0].Octets > 1500 {
		t.Fatalf("told %+v", got)
	}
	said := p.node.carried[0]
	forged := engine.Plane{Event: forward.TooBig{Key: p.node.machine.(*mn.Node).Key(), Peer: said.Peer, Link: said.Link, MTU: 556}}
	for range 20 {
		before := p.probes
		p.step(p.node, forged)
		if p.probes != before+1 {
			t.Fatalf("%d probes", p.probes-before)
		}
		p.run(10 * time.Millisecond)
		p.step(p.node, forged) // one is on its way
		if p.probes != before+1 {
			t.Fatalf("%d probes", p.probes-before)
		}
		p.run(time.Second)
		p.mustCarry(0)
	}
	if len(p.node.carried) != 1 {
		t.Errorf("told %+v", p.node.carried)
	}
	// A true one is found out about, in no more time than the search takes.
	p.widths["wlan0"] = 1124
	p.step(p.node, engine.Plane{Event: forward.TooBig{Key: p.node.machine.(*mn.Node).Key(), Peer: said.Peer, Link: said.Link, MTU: 1104}})
	p.run(2 * time.Second)
	p.mustCarry(1104)
	if got := p.node.told(); got != 1124 {
		t.Errorf("told that %d octets get through", got)
	}
	// Of another path it says nothing.
	before := p.probes
	for _, ev := range []forward.TooBig{{Peer: stranger, Link: said.Link, MTU: 556}, {Peer: said.Peer, Link: "lte0", MTU: 556}} {
		p.step(p.node, engine.Plane{Event: ev})
	}
	if p.probes != before {
		t.Errorf("%d probes for another path", p.probes-before)
	}
	// When nobody answers any more, nothing is known of the path.
	p.answers = false
	p.step(p.node, forged)
	p.use(30 * time.Second)
	if got := p.node.told(); got != 0 {
		t.Errorf("nobody answers, and %d octets get through", got)
	}
}
