package standard_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
)

// Behind a NAT the tunnel goes through UDP, to the address and port that the
// home agent sees; before it and after it, it does not.
//
//rfc:3519#4.4
//rfc:3519#4.6
//rfc:3519#4.7-1
//rfc:3519#4.4-6
func TestThroughNATAndBack(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.agree()
	p.nat[behindNAT] = 61001
	p.up("lte0", behindNAT)
	p.run(time.Second)
	p.lose("wlan0")
	// Data go through the NAT together with the request, in UDP.
	if e := p.node.entries[p.node.machine.(*mn.Node).Key()]; e.Tunnels[0].Encap != encap.UDP || e.Tunnels[0].Mode != forward.Both {
		t.Errorf("tunnels %+v", e.Tunnels)
	}
	p.run(time.Second)
	p.agree()
	if got := p.status().Encapsulation; got != "udp" {
		t.Errorf("encapsulation %s behind the NAT", got)
	}
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.agree()
	if got := p.status().Encapsulation; got != "ipip" {
		t.Errorf("encapsulation %s before the NAT", got)
	}
}

// Forced UDP, without a NAT.
//
//rfc:3519#3.1.1
func TestForcedUDP(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Mode: natt.Force}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.up("wlan0", wifi)
	p.run(time.Second)
	if got := p.status().Encapsulation; got != "udp" {
		t.Errorf("encapsulation %s\n%s", got, p.trace())
	}
}

// Keepalives go out when nothing else was sent for K, and only then.
//
//rfc:3519#4.9
//rfc:3519#3.2-2
//rfc:3519#4.9-2
func TestKeepalives(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Keepalive: 20 * time.Second}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.nat[behindNAT] = 61001
	p.up("wlan0", behindNAT)
	start := p.now.Mono
	p.run(65 * time.Second)
	if len(p.echoes) != 3 || p.echoes[0].Sub(start) != 20*time.Second || p.echoes[1].Sub(start) != 40*time.Second {
		t.Errorf("keepalives at %v\n%s", p.echoes, p.trace())
	}
	// Traffic both ways makes them needless.
	n := len(p.echoes)
	for range 60 {
		p.node.use = p.now.Mono
		p.run(5 * time.Second)
	}
	if len(p.echoes) > n+1 {
		t.Errorf("%d keepalives beside traffic", len(p.echoes)-n)
	}
	if p.node.count(natt.MappingLost) != 0 {
		t.Error("a mapping was lost")
	}
}

// The NAT forgets the mapping: no answers, so the node registers again, the
// home agent learns the new port, and the interval is halved, down to 10 s.
//
//rfc:3519#4.10
//rfc:3519#4.9-4
//rfc:3519#4.10-1
//rfc:3519#4.10-3
func TestLostMapping(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Keepalive: 30 * time.Second}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.narrow = true // so that nothing is learnt but by losses
	p.nat[behindNAT] = 61001
	p.up("wlan0", behindNAT)
	p.run(time.Second)
	for i, want := range []time.Duration{15, 10, 10} {
		p.nat[behindNAT]++
		// K may pass, then three tries of 1, 2 and 4 s.
		p.run(40 * time.Second)
		if got := p.node.count(natt.MappingLost); got != i+1 {
			t.Fatalf("%d mappings lost, want %d\n%s", got, i+1, p.trace())
		}
		p.agree()
		p.run(100 * time.Second)
		if k := p.echoes[len(p.echoes)-1].Sub(p.echoes[len(p.echoes)-2]); k != want*time.Second {
			t.Errorf("after loss %d the interval is %v, want %v", i+1, k, want*time.Second)
		}
	}
	// "it SHOULD return to its original keepalive interval" in a new network.
	p.step(p.node, engine.LinkChanged{Link: engine.Link{
		Name: "wlan0", Up: true, Addresses: []netip.Prefix{netip.PrefixFrom(behindNAT, 24)},
		Gateways: []netip.Addr{netip.MustParseAddr("192.168.8.1")}, GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, 99},
	}})
	p.run(100 * time.Second)
	if k := p.echoes[len(p.echoes)-1].Sub(p.echoes[len(p.echoes)-2]); k != 30*time.Second {
		t.Errorf("in a new network the interval is %v", k)
	}
}

// Back in a network whose NAT forgets early, the node keeps its mapping there as
// it has learnt to, and loses none.
//
//rfc:3519#4.10
func TestWhatANATForgetsIsRemembered(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Keepalive: 40 * time.Second}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.narrow = true // so that nothing is learnt but by losses
	p.nat[behindNAT] = 61001
	network := func(last byte) {
		p.lose("wlan0")
		p.run(time.Second)
		p.step(p.node, engine.LinkChanged{Link: engine.Link{
			Name: "wlan0", Up: true, Addresses: []netip.Prefix{netip.PrefixFrom(behindNAT, 24)},
			Gateways: []netip.Addr{netip.MustParseAddr("192.168.8.1")}, GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, last},
		}})
		p.run(150 * time.Second)
	}
	interval := func(want time.Duration) {
		t.Helper()
		if k := p.echoes[len(p.echoes)-1].Sub(p.echoes[len(p.echoes)-2]); k != want {
			t.Errorf("the interval is %v, want %v", k, want)
		}
	}
	network(1)
	interval(40 * time.Second)
	p.nat[behindNAT]++
	p.run(150 * time.Second)
	interval(20 * time.Second)
	network(2)
	interval(40 * time.Second)
	network(1)
	interval(20 * time.Second)
	if n := p.node.count(natt.MappingLost); n != 1 {
		t.Errorf("%d mappings lost", n)
	}
	// Very many networks later it has been forgotten, and the state is bounded.
	for i := range 70 {
		network(byte(10 + i))
		p.nat[behindNAT]++
		p.run(60 * time.Second)
	}
	network(1)
	interval(40 * time.Second)
}

// A node that goes on sending notices too that its mapping has changed: it
// gets nothing any more.
//
//rfc:3519#4.10
func TestLostMappingUnderTraffic(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Keepalive: 15 * time.Second}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.nat[behindNAT] = 61001
	p.up("wlan0", behindNAT)
	p.run(10 * time.Second)
	p.node.deaf = p.now.Mono
	p.nat[behindNAT]++
	for range 40 {
		p.node.use = p.now.Mono
		p.run(time.Second)
	}
	p.agree()
	if p.node.count(natt.MappingLost) != 1 {
		t.Errorf("not noticed\n%s", p.trace())
	}
}

// "A change in the link layer address indicates probable movement to a new
// network": equal private addresses behind two NATs.
//
//rfc:3519#5.1
func TestEqualPrivateNetworks(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.nat[behindNAT] = 61001
	p.up("wlan0", behindNAT)
	p.run(5 * time.Second)
	p.nat[behindNAT] = 7777
	n := p.sent
	l := engine.Link{
		Name: "wlan0", Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(behindNAT, 24)},
		Gateways: []netip.Addr{netip.MustParseAddr("192.168.8.1")},
	}
	p.step(p.node, engine.LinkChanged{Link: l}) // not resolved yet
	l.GatewayHW = engine.HardwareAddr{2, 0, 0, 0, 0, 44}
	p.step(p.node, engine.LinkChanged{Link: l})
	if p.sent != n+1 {
		t.Fatalf("%d requests", p.sent-n)
	}
	p.run(100 * time.Millisecond)
	p.agree()
}
