package lease

import (
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/host/arp"
)

const (
	// probes of an address are sent, probeWait apart. RFC 5227 takes seconds for
	// it; this is what a handover can spare.
	probes    = 2
	probeWait = 200 * time.Millisecond
	// learnWait is how long a gateway's link-layer address is listened for.
	learnWait = 3 * time.Second
)

func (m *Machine) whoHas(to engine.HardwareAddr, sender, target netip.Addr) Action {
	return Ask{To: to, Packet: arp.Packet{Op: arp.Request, SenderHW: m.hw, Sender: sender, Target: target}}
}

// askGateways: "the host ... sends a unicast ARP Request packet to each candidate
// network's test node" (RFC 4436 section 2): its gateway.
func (m *Machine) askGateways() (out []Action) {
	for _, l := range m.past {
		if l.GatewayHW != (engine.HardwareAddr{}) && l.Gateway.IsValid() {
			out = append(out, m.whoHas(l.GatewayHW, l.Address.Addr(), l.Gateway))
		}
	}
	return out
}

// probe asks who has the address, as somebody without any (RFC 5227).
func (m *Machine) probe(now time.Time) []Action {
	m.tries++
	m.next = now.Add(probeWait)
	return []Action{m.whoHas(arp.Broadcast, netip.IPv4Unspecified(), m.offer.Address.Addr())}
}

// learn remembers what a link has, and asks for the link-layer address of the
// lease's gateway.
func (m *Machine) learn(now time.Time) []Action {
	if m.home.IsValid() {
		return nil
	}
	m.past = m.past.With(m.lease)
	if !m.lease.Gateway.IsValid() || m.lease.GatewayHW != (engine.HardwareAddr{}) {
		return nil
	}
	m.learning = now.Add(learnWait)
	return []Action{m.whoHas(arp.Broadcast, m.lease.Address.Addr(), m.lease.Gateway)}
}

// Heard tells of an ARP packet on the link.
func (m *Machine) Heard(now time.Time, p arp.Packet) []Action {
	if p.SenderHW == m.hw {
		return nil
	}
	offered := m.offer.Address.Addr()
	switch {
	case m.state == Probing && (p.Sender == offered || p.Sender.IsUnspecified() && p.Target == offered):
		return m.decline(now)
	case (m.state == Rebooting || m.doubted && (m.state == Selecting || m.state == Requesting || m.state == Probing)) && p.Op == arp.Reply && !m.sure:
		return m.recognise(now, p)
	case m.has && p.Op == arp.Reply && p.Sender == m.lease.Gateway && !m.learning.IsZero():
		m.learning, m.lease.GatewayHW = time.Time{}, p.SenderHW
		m.past = m.past.With(m.lease)
		return []Action{Extend{m.lease}}
	}
	return nil
}

// recognise finds that the link is on a network of before: the gateway there
// has the same addresses. The lease is used at once; the server's word, when it
// comes, counts more. Where another server than the lease's has refused it before the
// gateway answered, the lease's own is asked once more.
//
//rfc:4436#2.1.1
func (m *Machine) recognise(now time.Time, p arp.Packet) (out []Action) {
	for _, l := range m.past {
		if l.Gateway != p.Sender || l.GatewayHW != p.SenderHW || p.Target != l.Address.Addr() || !now.Before(l.Until) {
			continue
		}
		m.sure = true
		if !m.has || !m.lease.same(l) {
			out = m.give(l)
		}
		if m.state != Rebooting || m.offer.Address != l.Address {
			m.offer = l
			m.begin(Rebooting, now)
			out = append(out, m.reboot(now)...)
		}
		return out
	}
	return nil
}
