// Package beside keeps what programs send from leaving by a mobile node's uplink
// beside the tunnel. Policy rules cannot do that alone: whoever binds a socket
// to an uplink's address has its packets led over that uplink, which the daemon
// itself relies on; and for a socket that is bound to an interface the kernel
// takes every destination for one on the link when no route is left. So a table
// of nftables looks at what leaves this host by an uplink, and refuses what is
// for the tunnel. It stays when the daemon ends.
//
// What passes:
//
//   - what carries a mark ([Mark], SO_MARK), which takes a privilege: the daemon's
//     own messages and tunnels, and what an administrator marks. The table looks
//     before the chains that change marks (mangle) do;
//   - what is for the link itself: networks that it is connected to, broadcasts and
//     multicasts, and the renewal of a lease (from UDP port 68 to port 67);
//   - answers to those who have asked this address: what the kernel says by ICMP,
//     which no program can send, and services at ports that take a privilege (TCP
//     below 1024), so that a login does not end when the node registers. Nobody
//     opens a connection from such a port;
//   - what the node has reason to send there: see [Uplink].
//
// IPv6 is blocked by a policy rule (package route), which binds such sockets too.
// What is forwarded for others is not looked at here (package lan).
package beside

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"careof/internal/host/netspace"
)

// Mark is what the daemon's own sockets carry (SO_MARK) that send over uplinks.
// It is one for all daemons of a host: each lets the others' messages pass.
const Mark = 0x434

// Own marks a socket as the daemon's.
func Own(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, Mark); err != nil {
		return fmt.Errorf("beside: mark: %w", err)
	}
	return nil
}

// TableName is the table (family ip) of a daemon with this device.
func TableName(device string) string { return tablePrefix + device }

const tablePrefix = "careof_beside_"

// Devices lists the devices of the daemons whose tables are in the calling
// thread's network namespace, whether they run or not.
func Devices() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("beside: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("beside: tables: %w", err)
	}
	var list []string
	for _, t := range tables {
		if device, ours := strings.CutPrefix(t.Name, tablePrefix); ours {
			list = append(list, device)
		}
	}
	slices.Sort(list)
	return list, nil
}

// A Passage is what programs of this host may send over an uplink and past the
// tunnel: to one address, by one protocol, to one port or, with 0, to all.
type Passage struct {
	To       netip.Addr
	Protocol uint8
	Port     uint16
}

// An Uplink is a link by which packets may not leave beside the tunnel, but
// these.
type Uplink struct {
	Name     string
	To       []netip.Prefix // destinations on the link, and those that go over it on purpose
	From     []netip.Prefix // sources whose packets go over it without a tunnel
	Passages []Passage
}

// Want is what should be in the kernel. Without uplinks there is no table.
type Want struct {
	Uplinks []Uplink
	Through []netip.Prefix // destinations that the tunnel is for
}

// equal tells whether two states are the same.
func (w *Want) equal(other *Want) bool {
	return other != nil && slices.Equal(w.marks(), other.marks())
}

// moved tells whether nothing differs but the destinations of uplinks: links have
// come and gone.
func (w *Want) moved(from *Want) bool {
	return from != nil && slices.Equal(w.Through, from.Through) && slices.EqualFunc(w.Uplinks, from.Uplinks, func(a, b Uplink) bool {
		return a.Name == b.Name && slices.Equal(a.From, b.From) && slices.Equal(a.Passages, b.Passages)
	})
}

// A Guard is the table in one network namespace. One goroutine may use it at a
// time.
type Guard struct {
	device string
	space  *netspace.Space
	moves  sync.WaitGroup // that are put into the table

	mu    sync.Mutex
	asked *Want // that was last asked for; nil after a failure

	writing sync.Mutex // guards what follows
	has     *Want      // the kernel has; nil when that is not known
	// conn is kept open: to close one, the kernel waits until what was replaced
	// over it is gone, for 16 ms and more.
	conn *nftables.Conn
}

// Open binds to the calling thread's network namespace and changes nothing.
func Open(device string) (*Guard, error) {
	space, err := netspace.Here()
	if err != nil {
		return nil, fmt.Errorf("beside: %w", err)
	}
	return &Guard{device: device, space: space}, nil
}

// Close leaves the table in place.
func (g *Guard) Close() error {
	g.moves.Wait()
	g.hangUp()
	return g.space.Close()
}

func (g *Guard) dial() (err error) {
	if g.conn == nil {
		g.conn, err = g.space.Nftables()
	}
	return err
}

func (g *Guard) hangUp() {
	if g.conn != nil {
		_ = g.conn.CloseLasting() // nothing waits for it
		g.conn = nil
	}
}

// Forget has the next [Guard.Set] look at what is there.
func (g *Guard) Forget() {
	g.mu.Lock()
	g.asked = nil
	g.mu.Unlock()
	g.writing.Lock()
	g.has = nil
	g.writing.Unlock()
}

// Set puts the table in place, in one transaction, unless it is there. When links
// have come or gone and nothing else is different, it does not wait for that, which
// takes some milliseconds on a busy machine, and the tunnel that has moved would:
// until then programs can reach what is on the links as before. A failure then
// has the next Set try again.
func (g *Guard) Set(w Want) error {
	g.mu.Lock()
	before := g.asked
	g.asked = &w
	g.mu.Unlock()
	switch {
	case w.equal(before):
		return nil
	case !w.moved(before):
		return g.put()
	}
	g.moves.Go(func() { _ = g.put() })
	return nil
}

// put puts the table in place that was last asked for.
func (g *Guard) put() (err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	w := g.asked
	g.mu.Unlock()
	if w == nil || w.equal(g.has) {
		return nil
	}
	defer func() {
		if err != nil {
			g.mu.Lock()
			g.asked = nil
			g.mu.Unlock()
		}
	}()
	if err := g.dial(); err != nil {
		return fmt.Errorf("beside: %w", err)
	}
	if g.has == nil {
		installed, err := g.installed(g.conn, w)
		if err != nil {
			g.hangUp() // it may hold answers that nobody has read
		}
		if installed {
			g.has = w
			return nil
		}
	}
	// A kernel without the module that refuses with words drops.
	for _, refuse := range []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: prohibited}, &expr.Verdict{Kind: expr.VerdictDrop}} {
		if err = g.dial(); err != nil {
			return fmt.Errorf("beside: %w", err)
		}
		g.write(g.conn, w, refuse)
		if err = g.conn.Flush(); err == nil {
			g.has = w
			return nil
		}
		g.hangUp()
	}
	return fmt.Errorf("beside: filter: %w", err)
}

// prohibited is ICMP's "communication administratively prohibited": a program
// that connects gets EHOSTUNREACH at once.
const prohibited = 13

const chainName = "uplinks"

// chainOf names the chain of an uplink; names of interfaces may have any letter.
func chainOf(i int) string { return fmt.Sprintf("uplink%d", i) }

func (g *Guard) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv4, Name: TableName(g.device)}
}

// write makes the table anew.
func (g *Guard) write(c *nftables.Conn, w *Want, refuse expr.Any) {
	table := g.table()
	c.AddTable(table) // so that the deletion finds one
	c.DelTable(table)
	if len(w.Uplinks) == 0 {
		return
	}
	c.AddTable(table)
	for i := range w.Uplinks {
		c.AddChain(&nftables.Chain{Name: chainOf(i), Table: table})
	}
	policy := nftables.ChainPolicyAccept
	c.AddChain(&nftables.Chain{
		Name: chainName, Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRaw, Policy: &policy,
	})
	for _, chain := range w.chains(refuse) {
		for _, exprs := range chain.rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Name: chain.name, Table: table}, Exprs: exprs, UserData: []byte(chain.mark)})
		}
	}
}

// installed tells whether the table is there as it should be, or not there
// as there should be none.
func (g *Guard) installed(c *nftables.Conn, w *Want) (bool, error) {
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, err
	}
	there := slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == TableName(g.device) })
	if !there || len(w.Uplinks) == 0 {
		return there == (len(w.Uplinks) > 0), nil
	}
	for _, chain := range w.chains(nil) {
		rules, err := c.GetRules(g.table(), &nftables.Chain{Name: chain.name, Table: g.table()})
		if err != nil {
			return false, err
		}
		if len(rules) != len(chain.rules) || slices.ContainsFunc(rules, func(r *nftables.Rule) bool { return string(r.UserData) != chain.mark }) {
			return false, nil
		}
	}
	return true, nil
}

// A chain is one of the table's, with a mark that tells its rules from others.
type chain struct {
	name, mark string
	rules      [][]expr.Any
}

// chains are that of the hook and one for each uplink.
func (w *Want) chains(refuse expr.Any) []chain {
	marks := w.marks()
	out := []chain{{chainName, marks[0], w.base()}}
	for i := range w.Uplinks {
		out = append(out, chain{chainOf(i), marks[i+1], w.rules(i, refuse)})
	}
	return out
}

// marks name the rules of each chain: their version, and what they are made of.
func (w *Want) marks() []string {
	mark := func(of ...any) string {
		h := fnv.New64a()
		fmt.Fprintln(h, of...)
		return fmt.Sprintf("careof beside 3 %016x", h.Sum64())
	}
	names := make([]any, len(w.Uplinks))
	for i := range w.Uplinks {
		names[i] = w.Uplinks[i].Name
	}
	out := []string{mark(names...)}
	for i := range w.Uplinks {
		out = append(out, mark(w.Uplinks[i], w.Through))
	}
	return out
}

// base parts the uplinks.
func (w *Want) base() [][]expr.Any {
	out := [][]expr.Any{{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		accept,
	}}
	for i, u := range w.Uplinks {
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, u.Name)
		out = append(out, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
			&expr.Verdict{Kind: expr.VerdictGoto, Chain: chainOf(i)},
		})
	}
	return out
}

var accept = &expr.Verdict{Kind: expr.VerdictAccept}

var (
	groups    = netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4)
	everybody = netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 32)
)

// Offsets in an IPv4 header.
const (
	atSource      = 12
	atDestination = 16
)

// rules are what may leave by an uplink, and what may not:
//
//	ip daddr 224.0.0.0/4 accept
//	ip daddr 255.255.255.255 accept
//	udp sport 68 udp dport 67 accept
//	meta l4proto icmp icmp type != echo-request accept
//	tcp sport < 1024 tcp flags & (syn | ack) != syn accept
//	ip hdrlength != 5 reject with icmp admin-prohibited
//	ip daddr 192.168.8.0/24 accept
//	ip daddr 0.0.0.0/0 reject with icmp admin-prohibited
func (w *Want) rules(i int, refuse expr.Any) (out [][]expr.Any) {
	u := &w.Uplinks[i]
	const clientToServer = 68<<16 | 67
	out = append(out,
		append(within(atDestination, groups), accept),
		append(within(atDestination, everybody), accept),
		slices.Concat(protocol(unix.IPPROTO_UDP), at(0, expr.CmpOpEq, binary.BigEndian.AppendUint32(nil, clientToServer)), []expr.Any{accept}),
		slices.Concat(protocol(unix.IPPROTO_ICMP), at(0, expr.CmpOpNeq, []byte{echoRequest}), []expr.Any{accept}),
		slices.Concat(protocol(unix.IPPROTO_TCP), at(0, expr.CmpOpLt, binary.BigEndian.AppendUint16(nil, privileged)), []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: atFlags, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{syn}},
			accept,
		}))
	// By a source route the destination of such a packet is only its first stop.
	out = append(out, []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x0f}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{withoutOptions}},
		refuse,
	})
	for _, p := range u.To {
		out = append(out, append(within(atDestination, p), accept))
	}
	for _, p := range u.From {
		out = append(out, append(within(atSource, p), accept))
	}
	for _, p := range u.Passages {
		rule := append(within(atDestination, netip.PrefixFrom(p.To, 32)), protocol(p.Protocol)...)
		if p.Port != 0 {
			rule = append(rule, at(2, expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, p.Port))...)
		}
		out = append(out, append(rule, accept))
	}
	for _, p := range w.Through {
		out = append(out, append(within(atDestination, p), refuse))
	}
	return out
}

const (
	echoRequest    = 8
	withoutOptions = 5 // words of an IPv4 header
)

// Of TCP: the first port that anybody may bind to, where the flags are, and two.
const (
	privileged = 1024
	atFlags    = 13
	syn        = 0x02
	ack        = 0x10
)

// within matches an address of the IPv4 header; the whole of the addresses
// matches without a look.
func within(offset uint32, p netip.Prefix) []expr.Any {
	if p.Bits() == 0 {
		return nil
	}
	a := p.Masked().Addr().As4()
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a[:]},
	}
}

func protocol(p uint8) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}}}
}

// at compares octets behind the IPv4 header.
func at(offset uint32, op expr.CmpOp, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: uint32(len(value))},
		&expr.Cmp{Op: op, Register: 1, Data: value},
	}
}
