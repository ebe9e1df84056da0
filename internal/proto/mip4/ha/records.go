package ha

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// nodeRecords is where the records of the nodes are kept: one for each node,
// under its NAI or home address.
const nodeRecords = "ha/node/"

// recordVersion is the first octet of a node's record.
const recordVersion = 1

// A recordOwner is a feature that keeps records of its own.
type recordOwner struct {
	prefix  string
	restore func(engine.Now, engine.Record) error
}

// AddRecords gives a feature the records whose keys begin with prefix, which
// must begin with "ha/" and the feature's name. restore gets them back before
// the first step, after the nodes' own.
func (a *Agent) AddRecords(prefix string, restore func(engine.Now, engine.Record) error) {
	for _, r := range append(a.records, recordOwner{prefix: nodeRecords}) {
		if strings.HasPrefix(prefix, r.prefix) || strings.HasPrefix(r.prefix, prefix) {
			a.Fail(fmt.Errorf("ha: records %q overlap %q", prefix, r.prefix))
			return
		}
	}
	a.records = append(a.records, recordOwner{prefix, restore})
}

// Bits of a binding's record.
const (
	bitAnyPort = 1 << iota
	bitHasKey
	bitNumbered
	bitInfinite
	bitLimited   // Tunnel.Budget: how much of it is left is not kept
	bitValidated // followed by when
	bitSecured
	bitAside // Tunnel.Link is the link of the reply
)

// record is the node's durable state:
//
//	version8 | mark 17 | home address 4 | freed 8 | count8 | count bindings | mobile networks
//
// where each mobile network is length8 and address 4,
// and a binding is
//
//	flags8 | bits8 | number16 | care-of address 4 | source 6 | local 6 | peer 6 |
//	encap8 | inside8 | mode8 | MTU16 | key32 | Identification 8 | granted seconds 4 |
//	expiry 8 | since 8 | reply from 6 | reply link-layer address 6 | link length8 | link |
//	validated 8, where the bits say so
//	public key 32, of an encrypted tunnel
//
// Times are wall clock, Unix milliseconds; addresses with a port are 4 + 2 octets.
func (a *Agent) record(n *Node) engine.Record {
	b := make([]byte, 0, len(nodeRecords)+ident.MaxNAI/8+40+96*n.list.Len())
	b = n.config.Node.Append(append(b, nodeRecords...))
	key := len(b)
	b = n.mark.Append(append(b, recordVersion))
	b = appendAddr(b, n.home)
	b = a.appendTime(b, n.freed)
	b = append(b, byte(n.list.Len()))
	for v := range n.list.Each() {
		b = a.appendBinding(b, v)
	}
	for _, p := range n.Networks() {
		b = appendAddr(append(b, byte(p.Bits())), p.Addr())
	}
	return engine.Record{Key: b[:key:key], Value: b[key:]}
}

func appendAddr(b []byte, a netip.Addr) []byte {
	var four [4]byte
	if a.Is4() {
		four = a.As4()
	}
	return append(b, four[:]...)
}

func appendAddrPort(b []byte, a netip.AddrPort) []byte {
	return binary.BigEndian.AppendUint16(appendAddr(b, a.Addr()), a.Port())
}

func (a *Agent) appendTime(b []byte, mono time.Time) []byte {
	var ms int64
	if !mono.IsZero() {
		ms = a.Now().WallOf(mono).UnixMilli()
	}
	return binary.BigEndian.AppendUint64(b, uint64(ms))
}

func (a *Agent) appendBinding(b []byte, v *binding.Binding) []byte {
	t := &v.Tunnel
	var bits byte
	number, numbered := v.ID.Number()
	for _, f := range [...]struct {
		set bool
		bit byte
	}{{t.AnyPort, bitAnyPort}, {t.HasKey, bitHasKey}, {numbered, bitNumbered}, {v.Lifetime == binding.Infinite, bitInfinite},
		{t.Budget > 0, bitLimited}, {!v.Validated.IsZero(), bitValidated}, {t.Secured(), bitSecured}, {t.Link != "" && t.Link == v.ReplyTo.Link, bitAside}} {
		if f.set {
			bits |= f.bit
		}
	}
	b = append(b, v.Flags, bits)
	b = binary.BigEndian.AppendUint16(b, number)
	b = appendAddr(b, v.CareOfAddress)
	b = appendAddrPort(b, v.Source)
	b = appendAddrPort(b, t.Local)
	b = appendAddrPort(b, t.Peer)
	b = append(b, byte(t.Encap), byte(t.Inside), byte(t.Mode))
	b = binary.BigEndian.AppendUint16(b, uint16(t.MTU))
	b = binary.BigEndian.AppendUint32(b, t.Key)
	b = binary.BigEndian.AppendUint64(b, v.Identification)
	granted := uint32(0)
	if v.Lifetime != binding.Infinite {
		granted = uint32(v.Lifetime / time.Second)
	}
	b = binary.BigEndian.AppendUint32(b, granted)
	b = a.appendTime(b, v.Expires)
	b = a.appendTime(b, v.Since)
	b = appendAddrPort(b, v.ReplyTo.Src)
	b = append(b, v.ReplyTo.HW[:]...)
	link := v.ReplyTo.Link[:min(len(v.ReplyTo.Link), 255)]
	b = append(append(b, byte(len(link))), link...)
	if !v.Validated.IsZero() {
		b = a.appendTime(b, v.Validated)
	}
	if key := t.PeerKey.Octets(); t.Secured() {
		b = append(b, key[:]...)
	}
	return b
}

// errRecord says that a record cannot be understood.
var errRecord = errors.New("ha: record cannot be understood")

// A reader takes a record apart. Its error sticks.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.bad, r.b = true, nil
		return make([]byte, n)
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
func (r *reader) u8() byte    { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) addr() netip.Addr {
	return netip.AddrFrom4([4]byte(r.take(4)))
}
func (r *reader) addrPort() netip.AddrPort {
	a := r.addr()
	return netip.AddrPortFrom(a, r.u16())
}

// wall is a stored instant on the present monotonic clock, zero for none.
func (r *reader) wall(now engine.Now) time.Time {
	ms := int64(r.u64())
	if ms == 0 {
		return time.Time{}
	}
	return now.Mono.Add(time.UnixMilli(ms).Sub(now.Wall))
}

// Restore implements [engine.Persistent]. Records of nodes that are not (or
// not any more) configured in this shard are left alone: should the node come
// back, its replay mark is still there.
//
//rfc:5944#5.7
func (a *Agent) Restore(now engine.Now, rec engine.Record) error {
	a.Begin(now)
	if name, ok := nodeName(rec.Key); ok {
		return a.restoreNode(now, name, rec.Value)
	}
	for _, r := range a.records {
		if bytes.HasPrefix(rec.Key, []byte(r.prefix)) {
			return r.restore(now, rec)
		}
	}
	return nil
}

// nodeName is the name of the node that a record is about.
func nodeName(key []byte) ([]byte, bool) { return bytes.CutPrefix(key, []byte(nodeRecords)) }

// A nodeRecord is what [Agent.record] has written.
type nodeRecord struct {
	mark     assoc.Mark
	home     netip.Addr
	freed    time.Time
	bindings []binding.Binding
	networks []netip.Prefix
}

// parse sets n. The room of its bindings is used again: a start reads a million
// records.
func (n *nodeRecord) parse(now engine.Now, value []byte) error {
	*n = nodeRecord{bindings: n.bindings[:0]}
	r := &reader{b: value}
	if v := r.u8(); v != recordVersion {
		return fmt.Errorf("%w: version %d", errRecord, v)
	}
	var err error
	if n.mark, err = assoc.ParseMark(r.take(17)); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	n.home, n.freed = r.addr(), r.wall(now)
	for range r.u8() {
		n.bindings = append(n.bindings, r.binding(now))
	}
	for len(r.b) > 0 && !r.bad {
		bits := r.u8()
		p := netip.PrefixFrom(r.addr(), int(bits))
		if !p.IsValid() {
			return fmt.Errorf("%w: mobile network /%d", errRecord, bits)
		}
		n.networks = append(n.networks, p)
	}
	if r.bad {
		return fmt.Errorf("%w: wrong length", errRecord)
	}
	return nil
}

func (a *Agent) restoreNode(now engine.Now, name, value []byte) error {
	if value == nil || a.former == nil && a.cfg.Shard != 0 && ident.ShardOf(name, a.cfg.Shards) != a.cfg.Shard {
		return nil // another machine's. Shard 0 has the pools' nodes too, whatever their names
	}
	n := a.named(name)
	if n == nil {
		if a.former != nil {
			var r nodeRecord
			if err := r.parse(now, value); err == nil {
				r.bindings = nil
				a.former[string(name)] = r
			}
		}
		return nil
	}
	r := &a.restoring
	if err := r.parse(now, value); err != nil {
		return err
	}
	n.mark, n.freed = r.mark, r.freed
	if !a.restoreHome(n, r.home) {
		return nil // another home address now: the bindings were for the old one
	}
	var list binding.List
	for _, b := range r.bindings {
		agent := b.Tunnel.Local.Addr()
		if a.cfg.LocalAddress.IsValid() {
			agent = a.cfg.Addresses[0]
		}
		b.Tunnel.Wrap = wrapper(b.Decapsulates, agent)
		list.Put(b, true, now.Mono)
	}
	n.list = list
	a.restoreNetworks(n, r.networks)
	a.reschedule(n)
	for _, b := range r.bindings {
		if held, there := n.list.Get(b.ID); there {
			for _, run := range a.restored {
				run(n, held)
			}
		}
	}
	return nil
}

// restoreHome gives the node its stored home address again, if the
// configuration still allows it.
func (a *Agent) restoreHome(n *Node, home netip.Addr) bool {
	if n.config.HomeAddress.IsValid() || !home.IsValid() || home.IsUnspecified() {
		return n.config.HomeAddress == home
	}
	for _, p := range a.pools {
		if p.all[home] && (p.owner[home] == nil || p.owner[home] == n) {
			a.give(p, n, home)
			return true
		}
	}
	return false
}

func (r *reader) binding(now engine.Now) binding.Binding {
	var b binding.Binding
	t := &b.Tunnel
	b.Flags = r.u8()
	bits := r.u8()
	number := r.u16()
	b.CareOfAddress = r.addr()
	b.ID = binding.ByCareOf(b.CareOfAddress)
	if bits&bitNumbered != 0 {
		b.ID = binding.ByNumber(number)
	}
	b.Source = r.addrPort()
	t.Local, t.Peer = r.addrPort(), r.addrPort()
	t.Encap, t.Inside, t.Mode = encap.Kind(r.u8()), encap.Kind(r.u8()), forward.Mode(r.u8())
	t.MTU = int(r.u16())
	t.Key = r.u32()
	t.AnyPort, t.HasKey = bits&bitAnyPort != 0, bits&bitHasKey != 0
	b.Identification = r.u64()
	b.Lifetime = time.Duration(r.u32()) * time.Second
	b.Expires = r.wall(now)
	b.Since = r.wall(now)
	b.Renewed = now.Mono
	if bits&bitInfinite != 0 {
		b.Lifetime, b.Expires = binding.Infinite, time.Time{}
	} else if longest := now.Mono.Add(b.Lifetime); b.Expires.IsZero() || b.Expires.After(longest) {
		// The wall clock may have jumped back meanwhile: a binding never
		// lives longer than it was granted.
		b.Expires = longest
	}
	b.Broadcast, b.Decapsulates = mip4.RequestFlags(b.Flags).Has(mip4.FlagB), mip4.RequestFlags(b.Flags).Has(mip4.FlagD)
	b.ReplyTo.Src, b.ReplyTo.Dst = r.addrPort(), b.Source
	b.ReplyTo.HW = engine.HardwareAddr(r.take(6))
	b.ReplyTo.Link = string(r.take(int(r.u8())))
	if bits&bitAside != 0 {
		t.Link = b.ReplyTo.Link
	}
	if bits&bitValidated != 0 {
		b.Validate(r.wall(now))
	}
	if bits&bitLimited != 0 {
		t.Budget = 1 // it is spent: nobody knows how much of it was
	}
	if bits&bitSecured != 0 {
		t.PeerKey = forward.KeyOf([32]byte(r.take(32)))
	}
	return b
}

// Entries implements [engine.Persistent]. They come in the order in which the
// nodes are configured.
func (a *Agent) Entries() iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		space := make([]forward.Tunnel, 0, MaxSimultaneous)
		for _, n := range a.nodes {
			if !a.entries(space, n, yield) {
				return
			}
		}
	}
}
