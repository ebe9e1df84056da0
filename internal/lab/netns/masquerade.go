package netns

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Masquerade makes the node's kernel translate what leaves by an interface, as most home routers do: an nftables chain
// with one masquerade rule. The node must forward.
func (node *Node) Masquerade(out string) error {
	conn, err := nftables.New(nftables.WithNetNSFd(node.fd))
	if err != nil {
		return fmt.Errorf("netns: %s: nftables: %w", node.name, err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "masquerade"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	name := make([]byte, 16) // IFNAMSIZ
	copy(name, out)
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Masq{},
	}})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("netns: %s: masquerade on %s: %w", node.name, out, err)
	}
	return nil
}
