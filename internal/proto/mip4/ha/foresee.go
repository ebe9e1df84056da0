package ha

import (
	"net/netip"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/wire/mip4"
)

// Foresee implements [engine.Foresighted]. What the home agent knows of one node
// among a hundred thousand lies in a dozen places of memory that no cache holds,
// and each says where the next one is. Of one node they are waited for one after
// the other; here the processor fetches those of many nodes at the same time.
func (a *Agent) Foresee(events []engine.Event) {
	const atOnce = 32
	var nodes [atOnce]*Node
	for len(events) > 0 {
		n := 0
		for n < atOnce && len(events) > 0 {
			if p, ok := events[0].(engine.Packet); ok && len(p.Data) >= 8 && mip4.MessageType(p.Data[0]) == mip4.TypeRegistrationRequest {
				if node := a.at(netip.AddrFrom4([4]byte(p.Data[4:8]))); node != nil {
					nodes[n] = node
					n++
				}
			}
			events = events[1:]
		}
		a.fetch(nodes[:n])
	}
}

// fetch reads of every node what a request of it will read, one step of the way
// for all of them before the next.
func (a *Agent) fetch(nodes []*Node) {
	var first [32]*assoc.Association
	sum := 0
	for _, n := range nodes {
		sum += int(n.index) + n.list.Len()
		if n.last != nil || n.removed {
			sum++
		}
	}
	for i, n := range nodes {
		if first[i] = nil; len(n.config.Keys) > 0 {
			first[i] = n.config.Keys[0]
		}
		sum += n.list.Fetch() + a.expiry.Fetch(n.index)
		if l := n.last; l != nil {
			sum += int(l.identification) + len(l.data)
		}
	}
	for i, n := range nodes {
		if k := first[i]; k != nil {
			sum += int(k.SPI())
		}
		if l := n.last; l != nil && len(l.data) > 0 {
			sum += int(l.data[0])
		}
	}
	for i := range nodes {
		if k := first[i]; k != nil {
			sum += k.Fetch()
		}
	}
	a.fetched = sum
}

var _ engine.Foresighted = (*Agent)(nil)
