package standard_test

import (
	"testing"
	"time"

	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/feature/wireguard"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
	"careof/wire/mip4"
)

var agentKey, nodeKey = forward.KeyOf([32]byte{1, 2, 3}), forward.KeyOf([32]byte{4, 5, 6})

// encrypting is a pair of which the node encrypts, and the home agent does as it
// is told.
func encrypting(t *testing.T, home wireguard.Mode) *pair {
	t.Helper()
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.bootAgent(agentConfig(t), atAgent(home))
	nc := nodeConfig(t)
	nc.Encrypted = true
	p.bootNode(nc, standard.Config{
		NATTraversal: natt.Config{Mode: natt.Force}, WireGuard: wireguard.Config{Own: nodeKey},
	})
	return p
}

func atAgent(home wireguard.Mode) standard.Config {
	return standard.Config{
		NATTraversal: natt.Config{Keepalive: 20 * time.Second},
		WireGuard:    wireguard.Config{Own: agentKey, Home: home},
	}
}

// sealed fails when there is a way for a packet to leave, or to be taken, in the
// clear; it tells whether there is one that is encrypted for the other end.
func (p *pair) sealed() (ok bool) {
	p.t.Helper()
	for _, h := range []struct {
		*host
		peer forward.PublicKey
	}{{p.agent, nodeKey}, {p.node, agentKey}} {
		ok = false
		for _, e := range h.entries {
			if len(e.Direct) > 0 {
				p.t.Errorf("%v goes around the tunnel", e.Direct)
			}
			for _, x := range e.Tunnels {
				if x.Encap != encap.UDP || x.Inside != encap.WireGuard || x.PeerKey != h.peer {
					p.t.Fatalf("in the clear, or for somebody else: %+v\n%s", x, p.trace())
				}
				ok = ok || x.Mode != forward.Receive
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// T23: the registration carries the keys, at home behind a NAT as before it, over
// moves, renewals and restarts of both ends; at no moment is there a tunnel in
// the clear.
func TestKeysTravelWithTheRegistration(t *testing.T) {
	p := encrypting(t, wireguard.Allowed)
	check := func(what string) {
		t.Helper()
		for range 200 { // the time between request and reply too
			p.run(10 * time.Millisecond)
			p.sealed()
		}
		if !p.sealed() {
			t.Fatalf("%s: there is no encrypted tunnel\n%s", what, p.trace())
		}
		p.agree()
		if s := p.status(); s.Encapsulation != "wireguard" || !s.Encrypted {
			t.Errorf("%s: the node says %+v", what, s)
		}
	}
	p.up("wlan0", wifi)
	check("first registration")
	p.nat[behindNAT] = 61001
	p.lose("wlan0")
	p.up("lte0", behindNAT)
	check("behind a NAT")
	p.run(2 * time.Hour)
	check("renewals")
	if p.probes == 0 || len(p.echoes) > 0 {
		t.Errorf("%d keepalives inside the tunnel, %d beside it", p.probes, len(p.echoes))
	}
	p.agent.entries = map[forward.Key]forward.Entry{}
	p.bootAgent(agentConfig(t), atAgent(wireguard.Allowed))
	for e := range p.agent.machine.Entries() {
		p.agent.entries[e.Key] = e
	}
	if len(p.agent.entries) != 1 || !p.sealed() {
		t.Errorf("after the home agent's restart: %+v", p.agent.entries)
	}
	nc := nodeConfig(t)
	nc.Encrypted = true
	p.bootNode(nc, standard.Config{NATTraversal: natt.Config{Mode: natt.Force}, WireGuard: wireguard.Config{Own: nodeKey}})
	p.up("lte0", behindNAT)
	check("the node's restart")
	if n := p.agent.count(note.Denied); n != 0 {
		t.Errorf("%d denials\n%s", n, p.trace())
	}
}

// What is restored of an earlier configuration that did not encrypt is not used.
func TestARegistrationInTheClearIsNotRestored(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.agree()
	nc := nodeConfig(t)
	nc.Encrypted = true
	p.bootNode(nc, standard.Config{NATTraversal: natt.Config{Mode: natt.Force}, WireGuard: wireguard.Config{Own: nodeKey}})
	for e := range p.node.machine.Entries() {
		if len(e.Tunnels) > 0 {
			t.Errorf("restored: %+v", e)
		}
	}
}

// A home agent that does not know the extension accepts without a key. The node
// does not use what it was given, and gives it back.
func TestAHomeAgentThatDoesNotEncryptIsNotUsed(t *testing.T) {
	for name, change := range map[string]func(*pair){
		"unknown to it": func(p *pair) { p.bootAgent(agentConfig(t), atAgent(wireguard.Off)) },
		"without UDP tunnels": func(p *pair) {
			c := agentConfig(t)
			c.Encapsulations = []encap.Kind{encap.IPIP}
			p.bootAgent(c, atAgent(wireguard.Allowed))
		},
		"set back meanwhile": func(p *pair) {
			p.up("wlan0", wifi)
			p.run(time.Second)
			p.bootAgent(agentConfig(t), atAgent(wireguard.Off))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := encrypting(t, wireguard.Allowed)
			change(p)
			p.up("wlan0", wifi)
			for range 600 {
				p.run(time.Second)
				for _, e := range p.node.entries {
					for _, x := range e.Tunnels {
						if !x.Secured() {
							t.Fatalf("in the clear: %+v\n%s", x, p.trace())
						}
					}
				}
			}
			s := p.status()
			if s.State == "registered" || s.Problem == nil {
				t.Errorf("the node is %s, its problem %+v\n%s", s.State, s.Problem, p.trace())
			}
		})
	}
}

// Where encryption is required, who does not ask for it is denied.
func TestEncryptionMayBeRequired(t *testing.T) {
	p := encrypting(t, wireguard.Required)
	p.up("wlan0", wifi)
	p.run(time.Second)
	if !p.sealed() {
		t.Fatalf("the node that encrypts is not registered\n%s", p.trace())
	}
	p.node.entries = map[forward.Key]forward.Entry{}
	p.node.store = enginetest.Store{}
	p.bootNode(nodeConfig(t), standard.Config{})
	p.up("wlan0", wifi)
	p.run(5 * time.Second)
	if s := p.status(); s.State == "registered" || s.Problem == nil || mip4.Code(s.Problem.Code) != mip4.CodeHAEncapsulationUnavailable {
		t.Errorf("the node that does not is %s, its problem %+v\n%s", s.State, s.Problem, p.trace())
	}
}
