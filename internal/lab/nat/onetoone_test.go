package nat

import (
	"net/netip"
	"testing"
)

// A cloud's translator changes the address and nothing else, in both directions
// and without having seen anything before.
func TestOneToOneChangesOnlyTheAddress(t *testing.T) {
	inside := netip.PrefixFrom(host.Addr(), 32)
	outer := netip.AddrPortFrom(external, host.Port())
	for _, row := range []struct {
		name                     string
		out, outWant, in, inWant []byte
	}{
		{"UDP", udp(host, agent, "hello"), udp(outer, agent, "hello"), udp(agent, outer, "odd"), udp(agent, host, "odd")},
		{"TCP", tcp(host, agent, "hello"), tcp(outer, agent, "hello"), tcp(agent, outer, "odd"), tcp(agent, host, "odd")},
		{"an echo from either side",
			icmp(8, 0, host.Addr(), agent.Addr(), 0x1234_0001, []byte("ping")),
			icmp(8, 0, external, agent.Addr(), 0x1234_0001, []byte("ping")),
			icmp(8, 0, agent.Addr(), external, 0x1234_0001, []byte("ping")),
			icmp(8, 0, agent.Addr(), host.Addr(), 0x1234_0001, []byte("ping"))},
		{"IP-in-IP",
			ip(4, host.Addr(), agent.Addr(), []byte("a packet in a packet")), ip(4, external, agent.Addr(), []byte("a packet in a packet")),
			ip(4, agent.Addr(), external, []byte("a packet in a packet")), ip(4, agent.Addr(), host.Addr(), []byte("a packet in a packet"))},
		{"an error about a datagram",
			icmp(3, 3, host.Addr(), agent.Addr(), 0, udp(agent, host, "to a closed port")),
			icmp(3, 3, external, agent.Addr(), 0, udp(agent, outer, "to a closed port")),
			icmp(3, 3, agent.Addr(), external, 0, udp(outer, agent, "to a closed port")),
			icmp(3, 3, agent.Addr(), host.Addr(), 0, udp(host, agent, "to a closed port"))},
	} {
		b := newBox(t, func(c *Config) { c.Kind, c.Inside = OneToOne, inside })
		in, v := b.Inbound(t0, row.in)
		if v != Translated {
			t.Errorf("%s: inbound: %v", row.name, v)
			continue
		}
		same(t, row.name+" in", in, row.inWant)
		same(t, row.name+" out", outward(t, b, t0, row.out), row.outWant)
	}
	if _, err := New(Config{External: external, Inside: netip.MustParsePrefix("10.0.0.0/24"), Kind: OneToOne}); err == nil {
		t.Error("one-to-one for a whole network was accepted")
	}
}
