package firewall

import (
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Masquerading is which packets from the device leave with the address of the
// interface that they leave by: those with private sources (RFC 1918) or shared
// ones (RFC 6598), which nobody out there could answer.
type Masquerading struct {
	On bool
	// Except are interfaces on which such addresses are at home.
	Except []string
}

// SetMasquerading makes the table, from its next reconciliation on, masquerade.
func (f *Firewall) SetMasquerading(m Masquerading) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.masquerading = Masquerading{m.On, slices.Sorted(slices.Values(m.Except))}
}

const masqueradeChain = "masquerade"

// private are the sources, and their masks.
var private = []struct{ address, mask [4]byte }{
	{[4]byte{10}, [4]byte{0xff}},
	{[4]byte{172, 16}, [4]byte{0xff, 0xf0}},
	{[4]byte{192, 168}, [4]byte{0xff, 0xff}},
	{[4]byte{100, 64}, [4]byte{0xff, 0xc0}},
}

func masqueradeComment(m Masquerading) string {
	return "careof masquerade 1 except " + strings.Join(m.Except, " ")
}

// masquerade adds the chain.
func (f *Firewall) masquerade(c *nftables.Conn, table *nftables.Table, m Masquerading) {
	policy := nftables.ChainPolicyAccept
	chain := c.AddChain(&nftables.Chain{
		Name: masqueradeChain, Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource, Policy: &policy,
	})
	for _, p := range private {
		exprs := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: f.name()},
		}
		for _, link := range append([]string{f.device}, m.Except...) {
			exprs = append(exprs, &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name(link)})
		}
		exprs = append(exprs,
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // the source
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: p.mask[:], Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.address[:]},
			&expr.Masq{})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs, UserData: []byte(masqueradeComment(m))})
	}
}

// masqueraded reports whether the chain is there as it should be, or not there
// when nothing is to be masqueraded.
func (f *Firewall) masqueraded(c *nftables.Conn, table *nftables.Table, m Masquerading) bool {
	rules, err := c.GetRules(table, &nftables.Chain{Name: masqueradeChain, Table: table})
	if !m.On {
		return err != nil || len(rules) == 0
	}
	return err == nil && len(rules) == len(private) &&
		!slices.ContainsFunc(rules, func(r *nftables.Rule) bool { return string(r.UserData) != masqueradeComment(m) })
}

// name is an interface's, as the kernel compares them.
func name(link string) []byte {
	out := make([]byte, unix.IFNAMSIZ)
	copy(out, link)
	return out
}
