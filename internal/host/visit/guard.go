package visit

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/netspace"
)

// A guard is a table of nftables that drops what comes in on a visitor's link
// from its home address, but not from its link-layer address; and of those
// whose packets are taken from below IP, all but what is for this host:
//
//	set homes    { ifname . ipv4_addr }
//	set visitors { ifname . ipv4_addr . ether_addr }
//	set sorted   { ifname . ipv4_addr . ether_addr }
//	set tunnels  { inet_proto; 4, 47, 55 }
//	chain taken {
//	    ip protocol @tunnels drop
//	    fib daddr type local accept
//	    fib daddr type broadcast accept
//	    fib daddr type multicast accept
//	    drop
//	}
//	chain prerouting { type filter hook prerouting priority raw;
//	    iifname . ip saddr . ether saddr @sorted jump taken
//	    iifname . ip saddr . ether saddr @visitors accept
//	    iifname . ip saddr @homes drop
//	}
type guard struct {
	space                   *netspace.Space
	table                   *nftables.Table
	homes, visitors, sorted *nftables.Set
}

// TableName is the guard's table (family ip) of a daemon with this device.
func TableName(device string) string { return "careof_visit_" + device }

func newGuard(space *netspace.Space, device string) (*guard, error) {
	homes, err := nftables.ConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr)
	if err != nil {
		return nil, err
	}
	visitors, err := nftables.ConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr, nftables.TypeEtherAddr)
	if err != nil {
		return nil, err
	}
	g := &guard{space: space, table: &nftables.Table{Family: nftables.TableFamilyIPv4, Name: TableName(device)}}
	g.homes = &nftables.Set{Table: g.table, Name: "homes", KeyType: homes, Concatenation: true}
	g.visitors = &nftables.Set{Table: g.table, Name: "visitors", KeyType: visitors, Concatenation: true}
	g.sorted = &nftables.Set{Table: g.table, Name: "sorted", KeyType: visitors, Concatenation: true}
	return g, g.do(func(c *nftables.Conn) error {
		c.AddTable(g.table) // so that the deletion finds one
		c.DelTable(g.table)
		c.AddTable(g.table)
		for _, set := range []*nftables.Set{g.homes, g.visitors, g.sorted} {
			if err := c.AddSet(set, nil); err != nil {
				return err
			}
		}
		tunnels := &nftables.Set{Table: g.table, Name: "tunnels", KeyType: nftables.TypeInetProto}
		if err := c.AddSet(tunnels, []nftables.SetElement{{Key: []byte{4}}, {Key: []byte{47}}, {Key: []byte{55}}}); err != nil {
			return err
		}
		taken := c.AddChain(&nftables.Chain{Name: "taken", Table: g.table})
		g.take(c, taken, tunnels)
		policy := nftables.ChainPolicyAccept
		chain := c.AddChain(&nftables.Chain{
			Name: "prerouting", Table: g.table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw, Policy: &policy,
		})
		g.rule(c, chain, g.sorted, true, &expr.Verdict{Kind: expr.VerdictJump, Chain: taken.Name})
		g.rule(c, chain, g.visitors, true, &expr.Verdict{Kind: expr.VerdictAccept})
		g.rule(c, chain, g.homes, false, &expr.Verdict{Kind: expr.VerdictDrop})
		return nil
	})
}

// Registers: four octets each from 8 on; register 1 is 8 to 11, register 2
// begins at 12. A concatenation stands in successive ones.
const (
	registerName  = 1
	registerHome  = 12
	registerEther = 13
)

// rule matches the packets of a set.
func (g *guard) rule(c *nftables.Conn, chain *nftables.Chain, set *nftables.Set, ether bool, verdict *expr.Verdict) {
	exprs := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: registerName},
		&expr.Payload{DestRegister: registerHome, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
	}
	if ether {
		exprs = append(exprs, &expr.Payload{DestRegister: registerEther, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6})
	}
	exprs = append(exprs,
		&expr.Lookup{SourceRegister: registerName, SetName: set.Name, SetID: set.ID},
		verdict)
	c.AddRule(&nftables.Rule{Table: g.table, Chain: chain, Exprs: exprs})
}

// take fills the chain of packets that are taken from below IP. What a visitor
// tunnels to this host is among them.
func (g *guard) take(c *nftables.Conn, chain *nftables.Chain, tunnels *nftables.Set) {
	add := func(exprs ...expr.Any) { c.AddRule(&nftables.Rule{Table: g.table, Chain: chain, Exprs: exprs}) }
	add(
		&expr.Payload{DestRegister: registerName, Base: expr.PayloadBaseNetworkHeader, Offset: 9, Len: 1},
		&expr.Lookup{SourceRegister: registerName, SetName: tunnels.Name, SetID: tunnels.ID},
		&expr.Verdict{Kind: expr.VerdictDrop})
	for _, kind := range []uint32{unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_MULTICAST} {
		add(
			&expr.Fib{Register: registerName, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: registerName, Data: binaryutil.NativeEndian.PutUint32(kind)},
			&expr.Verdict{Kind: expr.VerdictAccept})
	}
	add(&expr.Verdict{Kind: expr.VerdictDrop})
}

// do runs one transaction.
func (g *guard) do(build func(*nftables.Conn) error) error {
	c, err := g.space.Nftables()
	if err != nil {
		return fmt.Errorf("visit: guard: %w", err)
	}
	defer c.CloseLasting()
	if err := build(c); err != nil {
		return fmt.Errorf("visit: guard: %w", err)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("visit: guard: %w", err)
	}
	return nil
}

// key is a set's element: each part is padded to four octets.
func key(at place, hw ...forward.HardwareAddr) []byte {
	b := make([]byte, unix.IFNAMSIZ, unix.IFNAMSIZ+12)
	copy(b, at.link)
	a := at.home.As4()
	b = append(b, a[:]...)
	for _, h := range hw {
		b = append(append(b, h[:]...), 0, 0)
	}
	return b
}

// allow lets in what is wanted and not there yet.
func (g *guard) allow(want, is arrangement) error {
	return g.change(want, is, (*nftables.Conn).SetAddElements)
}

// forget takes away what is there and not wanted any more.
func (g *guard) forget(is, want arrangement) error {
	return g.change(is, want, (*nftables.Conn).SetDeleteElements)
}

// change adds or deletes the elements of one arrangement that the other has not.
func (g *guard) change(of, but arrangement, do func(*nftables.Conn, *nftables.Set, []nftables.SetElement) error) error {
	places := func(nodes map[node]bool) map[place]bool {
		out := make(map[place]bool)
		for n := range nodes {
			out[n.place] = true
		}
		return out
	}
	var homes, visitors, sorted []nftables.SetElement
	butHomes := places(but.nodes)
	for at := range places(of.nodes) {
		if !butHomes[at] {
			homes = append(homes, nftables.SetElement{Key: key(at)})
		}
	}
	for n := range of.nodes {
		if !but.nodes[n] {
			visitors = append(visitors, nftables.SetElement{Key: key(n.place, n.hw)})
		}
	}
	for n := range of.sorted {
		if !but.sorted[n] {
			sorted = append(sorted, nftables.SetElement{Key: key(n.place, n.hw)})
		}
	}
	if len(homes)+len(visitors)+len(sorted) == 0 {
		return nil
	}
	return g.do(func(c *nftables.Conn) error {
		var errs []error
		for _, part := range []struct {
			set      *nftables.Set
			elements []nftables.SetElement
		}{{g.sorted, sorted}, {g.visitors, visitors}, {g.homes, homes}} {
			if len(part.elements) > 0 {
				errs = append(errs, do(c, part.set, part.elements))
			}
		}
		return errors.Join(errs...)
	})
}

// whole says whether the table is there.
func (g *guard) whole() (is bool, err error) {
	c, err := g.space.Nftables()
	if err != nil {
		return false, fmt.Errorf("visit: guard: %w", err)
	}
	defer c.CloseLasting()
	chains, err := c.ListChainsOfTableFamily(g.table.Family)
	if err != nil {
		return false, fmt.Errorf("visit: guard: %w", err)
	}
	return slices.ContainsFunc(chains, func(one *nftables.Chain) bool {
		return one.Table.Name == g.table.Name && one.Name == "prerouting"
	}), nil
}

func (g *guard) remove() error {
	return g.do(func(c *nftables.Conn) error {
		c.AddTable(g.table)
		c.DelTable(g.table)
		return nil
	})
}
