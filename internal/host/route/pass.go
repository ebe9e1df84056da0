package route

import (
	"cmp"
	"net/netip"
	"slices"

	"careof/internal/host/beside"
)

// A Passage is what programs of this host may send past the tunnel, over an
// uplink and with its address.
type Passage = beside.Passage

// SetPassages lets these packets past the tunnel over an uplink, and no others:
// to sign in to a network that lets nobody out before. What is sent from a home
// address, and what is forwarded for others, stays in the tunnel.
func (k *Keeper) SetPassages(link string, list []Passage) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	list = slices.Clone(list)
	slices.SortFunc(list, comparePassages)
	list = slices.Compact(list)
	if slices.Equal(k.passages[link], list) {
		return nil
	}
	if len(list) == 0 {
		delete(k.passages, link)
	} else {
		k.passages[link] = list
	}
	return k.refresh()
}

func comparePassages(a, b Passage) int {
	return cmp.Or(a.To.Compare(b.To), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

// passageRules are the rules of an uplink's passages; table is the uplink's. They
// come after those of home addresses, beside that for connected networks. In IPv6
// the main table says by which uplink packets leave: there are no others.
func (k *Keeper) passageRules(link string, table int) (rules []Rule) {
	for _, p := range k.passages[link] {
		r := Rule{
			Priority: k.priority(ruleConnected), To: netip.PrefixFrom(p.To, p.To.BitLen()), Protocol: p.Protocol, Port: p.Port, Local: true, Table: table,
		}
		there := len(k.uplinks[link].routes) > 0 // the table has any
		if p.To.Is6() {
			r.IPv6, r.Table, there = true, mainTable, k.hasIPv6
		}
		if there {
			rules = append(rules, r)
		}
	}
	return rules
}
