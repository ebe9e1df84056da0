package firewall

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// headers of a TCP segment in IPv4, without options.
	headers = 20 + 20
	// leastSegment is what every host takes (RFC 9293 section 3.7.1): no
	// connection is told to send less.
	leastSegment = 536

	flagsOffset      = 13 // of the TCP header
	synAndReset      = 0x02 | 0x04
	syn              = 0x02
	maxSegmentOption = 2
)

// SetClamp makes the table, from its next reconciliation on, lower the maximum
// segment size that TCP connections through the device announce, at either end,
// to what fits into packets of mtu octets there; 0 leaves it alone. So they need
// not find out, which they cannot where routers' answers are dropped.
func (f *Firewall) SetClamp(mtu int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.segment = 0
	if mtu > 0 {
		f.segment = max(mtu-headers, leastSegment)
	}
}

// clamps are the chains that see TCP connections begin: those of this host's
// own programs, and those that it forwards.
var clamps = []struct {
	name string
	hook *nftables.ChainHook
	keys []expr.MetaKey // by which interface the device is recognised
}{
	{"segments_in", nftables.ChainHookInput, []expr.MetaKey{expr.MetaKeyIIFNAME}},
	{"segments_forward", nftables.ChainHookForward, []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME}},
	{"segments_out", nftables.ChainHookOutput, []expr.MetaKey{expr.MetaKeyOIFNAME}},
}

func clampComment(size int) string { return fmt.Sprintf("careof segments 1 of %d", size) }

// clamp adds the chains for segments of at most size octets.
func (f *Firewall) clamp(c *nftables.Conn, table *nftables.Table, size int) {
	policy := nftables.ChainPolicyAccept
	for _, k := range clamps {
		chain := c.AddChain(&nftables.Chain{
			Name: k.name, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: k.hook, Priority: nftables.ChainPriorityMangle, Policy: &policy,
		})
		for _, key := range k.keys {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: f.lower(key, uint16(min(size, 0xffff))), UserData: []byte(clampComment(size))})
		}
	}
}

// lower is the rule: the first segment of either end of a connection, with a
// larger maximum.
func (f *Firewall) lower(key expr.MetaKey, size uint16) []expr.Any {
	octets := binary.BigEndian.AppendUint16(nil, size)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: f.name()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flagsOffset, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{synAndReset}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{syn}},
		&expr.Exthdr{DestRegister: 1, Type: maxSegmentOption, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: octets},
		&expr.Immediate{Register: 1, Data: octets},
		&expr.Exthdr{SourceRegister: 1, Type: maxSegmentOption, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
	}
}

// clamped reports whether the chains are there as they should be, or none of
// them when nothing is to be lowered.
func (f *Firewall) clamped(c *nftables.Conn, table *nftables.Table, size int) bool {
	for _, k := range clamps {
		rules, err := c.GetRules(table, &nftables.Chain{Name: k.name, Table: table})
		if size == 0 {
			if err == nil && len(rules) > 0 {
				return false
			}
			continue
		}
		if err != nil || len(rules) != len(k.keys) {
			return false
		}
		for _, r := range rules {
			if string(r.UserData) != clampComment(size) {
				return false
			}
		}
	}
	return true
}
