package visit

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/netspace"
)

// A guard is a table of nftables that drops what comes in on a visitor's link
// from its home address, but not from its link-layer address:
//
//	set homes    { ifname . ipv4_addr }
//	set visitors { ifname . ipv4_addr . ether_addr }
//	chain prerouting { type filter hook prerouting priority raw;
//	    iifname . ip saddr . ether saddr @visitors accept
//	    iifname . ip saddr @homes drop
//	}
type guard struct {
	space    *netspace.Space
	table    *nftables.Table
	homes    *nftables.Set
	visitors *nftables.Set
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
	return g, g.do(func(c *nftables.Conn) error {
		c.AddTable(g.table) // so that the deletion finds one
		c.DelTable(g.table)
		c.AddTable(g.table)
		if err := c.AddSet(g.homes, nil); err != nil {
			return err
		}
		if err := c.AddSet(g.visitors, nil); err != nil {
			return err
		}
		policy := nftables.ChainPolicyAccept
		chain := c.AddChain(&nftables.Chain{
			Name: "prerouting", Table: g.table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw, Policy: &policy,
		})
		g.rule(c, chain, g.visitors, true, expr.VerdictAccept)
		g.rule(c, chain, g.homes, false, expr.VerdictDrop)
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
func (g *guard) rule(c *nftables.Conn, chain *nftables.Chain, set *nftables.Set, ether bool, verdict expr.VerdictKind) {
	exprs := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: registerName},
		&expr.Payload{DestRegister: registerHome, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
	}
	if ether {
		exprs = append(exprs, &expr.Payload{DestRegister: registerEther, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6})
	}
	exprs = append(exprs,
		&expr.Lookup{SourceRegister: registerName, SetName: set.Name, SetID: set.ID},
		&expr.Verdict{Kind: verdict})
	c.AddRule(&nftables.Rule{Table: g.table, Chain: chain, Exprs: exprs})
}

// conn opens a netlink socket in the namespace, for the caller to close.
func (g *guard) conn() (c *nftables.Conn, err error) {
	err = g.space.Do(func() (err error) {
		c, err = nftables.New(nftables.AsLasting())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("visit: guard: %w", err)
	}
	return c, nil
}

// do runs one transaction.
func (g *guard) do(build func(*nftables.Conn) error) error {
	c, err := g.conn()
	if err != nil {
		return err
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
func key(link string, home netip.Addr, hw ...forward.HardwareAddr) []byte {
	b := make([]byte, unix.IFNAMSIZ, unix.IFNAMSIZ+12)
	copy(b, link)
	a := home.As4()
	b = append(b, a[:]...)
	for _, h := range hw {
		b = append(append(b, h[:]...), 0, 0)
	}
	return b
}

// allow lets a visitor's packets in and nobody else's with its address.
func (g *guard) allow(s seat) error {
	return g.do(func(c *nftables.Conn) error {
		if err := c.SetAddElements(g.visitors, []nftables.SetElement{{Key: key(s.link, s.home, s.hw)}}); err != nil {
			return err
		}
		return c.SetAddElements(g.homes, []nftables.SetElement{{Key: key(s.link, s.home)}})
	})
}

// forget takes a visitor's elements away, as far as no other visit needs them.
func (g *guard) forget(s seat, node, home bool) error {
	if !node && !home {
		return nil
	}
	return g.do(func(c *nftables.Conn) error {
		if home {
			if err := c.SetDeleteElements(g.homes, []nftables.SetElement{{Key: key(s.link, s.home)}}); err != nil {
				return err
			}
		}
		if node {
			return c.SetDeleteElements(g.visitors, []nftables.SetElement{{Key: key(s.link, s.home, s.hw)}})
		}
		return nil
	})
}

func (g *guard) remove() error {
	return g.do(func(c *nftables.Conn) error {
		c.AddTable(g.table)
		c.DelTable(g.table)
		return nil
	})
}
