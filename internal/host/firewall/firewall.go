// Package firewall keeps one small nftables table of our own. Strangers'
// tunnel packets are met with silence by the daemon; when the daemon is dead
// nobody listens, and the kernel would answer "protocol unreachable" or "port
// unreachable" and so tell a scanner what this host is. The table drops these
// answers on their way out. It also lowers the segment size that TCP connections
// through the tunnel device announce, where it is told to. It stays when the
// daemon ends.
package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"careof/internal/host/netspace"
	"careof/wire/encap"
)

// TableName is the nftables table (family ip) of a daemon with this device:
// "careof" and the device's name, so that several daemons do not share one.
func TableName(device string) string { return "careof_" + device }

// comment marks the rules' version: a table with other rules is replaced.
const comment = "careof silence 1"

// A Firewall is the table in one network namespace.
type Firewall struct {
	space  *netspace.Space
	device string

	mu           sync.Mutex
	segment      int // the largest that TCP may announce; 0 leaves it alone
	masquerading Masquerading
}

// Open binds to the calling thread's network namespace and changes nothing.
func Open(device string) (*Firewall, error) {
	space, err := netspace.Here()
	if err != nil {
		return nil, fmt.Errorf("firewall: %w", err)
	}
	return &Firewall{space: space, device: device}, nil
}

// Close leaves the table in place.
func (f *Firewall) Close() error { return f.space.Close() }

// Install puts the table in place, in one transaction: an older one of ours is
// replaced without a moment in between.
func (f *Firewall) Install() error {
	c, err := f.space.Nftables()
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	defer c.CloseLasting()
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: TableName(f.device)}
	c.AddTable(table) // so that the deletion finds one
	c.DelTable(table)
	c.AddTable(table)
	policy := nftables.ChainPolicyAccept
	chain := c.AddChain(&nftables.Chain{
		Name: "silence", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	for _, exprs := range f.rules() {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs, UserData: []byte(comment)})
	}
	if size := f.size(); size > 0 {
		f.clamp(c, table, size)
	}
	if m := f.masked(); m.On {
		f.masquerade(c, table, m)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("firewall: install: %w", err)
	}
	return nil
}

// Reconcile installs the table unless it is there as it should be. changed
// says that it was not.
func (f *Firewall) Reconcile() (changed bool, err error) {
	ok, err := f.Installed()
	if err != nil || ok {
		return false, err
	}
	return true, f.Install()
}

// Installed reports whether the table is there with all its rules.
func (f *Firewall) Installed() (bool, error) {
	c, err := f.space.Nftables()
	if err != nil {
		return false, fmt.Errorf("firewall: %w", err)
	}
	defer c.CloseLasting()
	table, err := c.ListTableOfFamily(TableName(f.device), nftables.TableFamilyIPv4)
	if errors.Is(err, unix.ENOENT) || err == nil && table == nil {
		return false, nil
	}
	if err != nil {
		return false, nil // some kernels answer a missing table in other ways: install says what is wrong
	}
	rules, err := c.GetRules(table, &nftables.Chain{Name: "silence", Table: table})
	if err != nil {
		return false, nil
	}
	if len(rules) != len(f.rules()) {
		return false, nil
	}
	silent := !slices.ContainsFunc(rules, func(r *nftables.Rule) bool { return string(r.UserData) != comment })
	return silent && f.clamped(c, table, f.size()) && f.masqueraded(c, table, f.masked()), nil
}

func (f *Firewall) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.segment
}

func (f *Firewall) masked() Masquerading {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.masquerading
}

// name is the device's, as the kernel compares names of interfaces.
func (f *Firewall) name() []byte { return name(f.device) }

// Remove takes the table away, for uninstalling.
func (f *Firewall) Remove() error {
	c, err := f.space.Nftables()
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	defer c.CloseLasting()
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: TableName(f.device)}
	c.AddTable(table)
	c.DelTable(table)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("firewall: remove: %w", err)
	}
	return nil
}

// Offsets in an ICMP error, from its type octet.
const (
	atType          = 0
	atCode          = 1
	atQuote         = 8                 // the quoted IP header
	atQuoteProtocol = atQuote + 9       //
	atQuotePorts    = atQuote + 20      // of a header without options
	atQuoteDstPort  = atQuotePorts + 2  //
	plainHeader     = byte(4<<4 | 20/4) // version 4, no options
	icmpUnreachable = byte(encap.DestinationUnreachable)
	icmpRedirect    = byte(encap.Redirect)
)

// rules are what the chain drops:
//
//	ICMP unreachable that quotes protocol 4, 41, 47 or 55
//	ICMP unreachable that quotes UDP to or from port 434
//	ICMP unreachable that quotes UDP behind IP options, whose ports are elsewhere
//	ICMP redirects to the tunnel device: two nodes that talk to each other
//	through their home agent are where they should be
func (f *Firewall) rules() [][]expr.Any {
	var out [][]expr.Any
	unreachable := func(code byte, more ...expr.Any) {
		out = append(out, slices.Concat(icmp(icmpUnreachable), equal(atCode, []byte{code}), more, []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}))
	}
	for _, p := range []byte{byte(encap.IPIP), unix.IPPROTO_IPV6, byte(encap.GRE), byte(encap.Minimal)} {
		unreachable(encap.ProtocolUnreachable, equal(atQuoteProtocol, []byte{p})...)
	}
	port := binary.BigEndian.AppendUint16(nil, encap.Port)
	udp := equal(atQuoteProtocol, []byte{byte(encap.UDP)})
	plain := equal(atQuote, []byte{plainHeader})
	unreachable(encap.PortUnreachable, slices.Concat(udp, plain, equal(atQuoteDstPort, port))...)
	unreachable(encap.PortUnreachable, slices.Concat(udp, plain, equal(atQuotePorts, port))...)
	unreachable(encap.PortUnreachable, slices.Concat(udp, compare(expr.CmpOpNeq, atQuote, []byte{plainHeader}))...)

	out = append(out, slices.Concat(
		[]expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: f.name()}},
		icmp(icmpRedirect), []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}))
	return out
}

// icmp matches ICMP of one type.
func icmp(kind byte) []expr.Any {
	return append([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMP}},
	}, equal(atType, []byte{kind})...)
}

func equal(offset uint32, value []byte) []expr.Any { return compare(expr.CmpOpEq, offset, value) }

// compare matches octets of the ICMP message.
func compare(op expr.CmpOp, offset uint32, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: uint32(len(value))},
		&expr.Cmp{Op: op, Register: 1, Data: value},
	}
}
