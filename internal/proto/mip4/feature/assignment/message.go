package assignment

import (
	"encoding/binary"
	"net/netip"

	"careof/internal/core/assoc"
	"careof/wire/mip4"
)

// The suite's own messages: Experimental Messages (RFC 4064 section 3), which
// others ignore. All begin and end alike:
//
//	type8=255 | vendor32 | kind8 | body | SPI32 | authenticator
//
// The authenticator covers everything before it, with the association's
// algorithm. Times are Unix milliseconds, and grow from one message to the next.
const (
	kindReport = 1 // home agent to home agent
	kindNotice = 2 // home agent to mobile node
)

// enterprise is the number of the suite's own extensions too: the one for
// examples and documentation (RFC 5612).
const enterprise uint32 = 32473

const prefix = 6 // octets before the body

func begin(kind byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{byte(mip4.TypeExperimentalMessage)}, enterprise)
	return append(b, kind)
}

// seal signs a message.
func seal(b []byte, key *assoc.Association) []byte {
	b = binary.BigEndian.AppendUint32(b, key.SPI())
	return key.Sign(b, b)
}

// open verifies a message with one of the keys and gives its body. algorithm
// none proves nothing, and opens nothing.
func open(m *mip4.Message, kind byte, keys ...*assoc.Association) ([]byte, bool) {
	b := m.Raw
	if len(b) < prefix+4 || b[0] != byte(mip4.TypeExperimentalMessage) || binary.BigEndian.Uint32(b[1:]) != enterprise || b[5] != kind {
		return nil, false
	}
	for _, k := range keys {
		if k == nil || !k.Authenticated() || len(b) < prefix+4+k.Size() {
			continue
		}
		covered := b[:len(b)-k.Size()]
		if binary.BigEndian.Uint32(covered[len(covered)-4:]) == k.SPI() && k.Verify(covered, b[len(covered):]) {
			return covered[prefix : len(covered)-4], true
		}
	}
	return nil, false
}

func appendAddr(b []byte, a netip.Addr) []byte { v := a.As4(); return append(b, v[:]...) }

func addrAt(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

// A report is what one machine of a home agent says of itself.
//
//	from 4 | to 4 | sent 8 | machine8 | machines8 | flags8 | nodes32 | capacity32 | holdings, each home address 4, Identification 8
type report struct {
	from, to          netip.Addr
	sent              uint64
	machine, machines uint8
	drained           bool
	nodes, capacity   uint32
	holds             []holding
}

// A holding is a node that is registered there, and with which request.
type holding struct {
	home           netip.Addr
	identification uint64
}

const (
	reportSize  = 4 + 4 + 8 + 1 + 1 + 1 + 4 + 4
	holdingSize = 12
	flagDrained = 1
)

func (r report) seal(key *assoc.Association) []byte {
	b := appendAddr(appendAddr(begin(kindReport), r.from), r.to)
	b = binary.BigEndian.AppendUint64(b, r.sent)
	var flags byte
	if r.drained {
		flags = flagDrained
	}
	b = append(b, r.machine, r.machines, flags)
	b = binary.BigEndian.AppendUint32(b, r.nodes)
	b = binary.BigEndian.AppendUint32(b, r.capacity)
	for _, h := range r.holds {
		b = binary.BigEndian.AppendUint64(appendAddr(b, h.home), h.identification)
	}
	return seal(b, key)
}

func openReport(m *mip4.Message, keys ...*assoc.Association) (r report, ok bool) {
	b, ok := open(m, kindReport, keys...)
	if !ok || len(b) < reportSize || (len(b)-reportSize)%holdingSize != 0 {
		return report{}, false
	}
	r = report{
		from: addrAt(b), to: addrAt(b[4:]), sent: binary.BigEndian.Uint64(b[8:]), machine: b[16], machines: b[17],
		drained: b[18]&flagDrained != 0, nodes: binary.BigEndian.Uint32(b[19:]), capacity: binary.BigEndian.Uint32(b[23:]),
	}
	for b = b[reportSize:]; len(b) > 0; b = b[holdingSize:] {
		r.holds = append(r.holds, holding{addrAt(b), binary.BigEndian.Uint64(b[4:])})
	}
	return r, r.machine < r.machines
}

// A notice is a home agent's wish that a node registers again. A foreign agent on
// the way passes it on.
//
//	agent 4 | home address 4 | sent 8
type notice struct {
	agent, home netip.Addr
	sent        uint64
}

const noticeSize = 4 + 4 + 8

func (n notice) seal(key *assoc.Association) []byte {
	b := appendAddr(appendAddr(begin(kindNotice), n.agent), n.home)
	return seal(binary.BigEndian.AppendUint64(b, n.sent), key)
}

// readNotice reads a notice that another one verifies.
func readNotice(m *mip4.Message) (notice, bool) {
	b := m.Raw
	if len(b) < prefix+noticeSize+4 || b[0] != byte(mip4.TypeExperimentalMessage) || binary.BigEndian.Uint32(b[1:]) != enterprise || b[5] != kindNotice {
		return notice{}, false
	}
	b = b[prefix:]
	return notice{addrAt(b), addrAt(b[4:]), binary.BigEndian.Uint64(b[8:])}, true
}

func openNotice(m *mip4.Message, keys ...*assoc.Association) (notice, bool) {
	b, ok := open(m, kindNotice, keys...)
	if !ok || len(b) != noticeSize {
		return notice{}, false
	}
	return notice{addrAt(b), addrAt(b[4:]), binary.BigEndian.Uint64(b[8:])}, true
}
