package revoke

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"time"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
)

// recordPrefix is where a home agent keeps what was agreed about bindings:
//
//	version8 | bits8 | number16 | care-of address 4 | home agent 4 |
//	peer's timestamp32 | heard 8 | our timestamp32
//
// under the node's name and the binding's ID. heard is wall clock, Unix
// milliseconds.
const recordPrefix = "ha/revocation/"

const (
	recordVersion = 1
	recordLen     = 1 + 1 + 2 + 4 + 4 + 4 + 8 + 4

	bitNumbered = 1
	bitRelayed  = 2
	bitInform   = 4
)

// record is the agreement's durable form; of nil it deletes.
func (h *home) record(at place, a *agreement) engine.Record {
	rec := engine.Record{Key: []byte(recordPrefix + at.node.String() + "/" + at.id.String())}
	if a == nil {
		return rec
	}
	number, numbered := at.id.Number()
	var bits byte
	for _, f := range [...]struct {
		set bool
		bit byte
	}{{numbered, bitNumbered}, {a.relayed, bitRelayed}, {a.inform, bitInform}} {
		if f.set {
			bits |= f.bit
		}
	}
	b := []byte{recordVersion, bits}
	b = binary.BigEndian.AppendUint16(b, number)
	b = appendAddr(b, at.id.CareOf())
	b = appendAddr(b, a.agent)
	b = binary.BigEndian.AppendUint32(b, a.peer)
	b = binary.BigEndian.AppendUint64(b, uint64(h.agent.Now().WallOf(a.heard).UnixMilli()))
	rec.Value = binary.BigEndian.AppendUint32(b, a.sent)
	return rec
}

func appendAddr(b []byte, a netip.Addr) []byte {
	var four [4]byte
	if a.Is4() {
		four = a.As4()
	}
	return append(b, four[:]...)
}

var errRecord = errors.New("revoke: record cannot be understood")

// restore brings an agreement back; one whose binding did not come back is
// left alone.
func (h *home) restore(now engine.Now, rec engine.Record) error {
	name, _, ok := cutLast(strings.TrimPrefix(string(rec.Key), recordPrefix))
	if !ok || rec.Value == nil {
		return nil
	}
	v := rec.Value
	if len(v) != recordLen || v[0] != recordVersion {
		return errRecord
	}
	n := h.agent.Named(name)
	if n == nil {
		return nil
	}
	bits := v[1]
	id := binding.ByCareOf(netip.AddrFrom4([4]byte(v[4:8])))
	if bits&bitNumbered != 0 {
		id = binding.ByNumber(binary.BigEndian.Uint16(v[2:]))
	}
	a := &agreement{relayed: bits&bitRelayed != 0, agent: netip.AddrFrom4([4]byte(v[8:12]))}
	a.inform = bits&bitInform != 0
	a.peer = binary.BigEndian.Uint32(v[12:])
	a.heard = now.Mono.Add(time.UnixMilli(int64(binary.BigEndian.Uint64(v[16:]))).Sub(now.Wall))
	a.sent = binary.BigEndian.Uint32(v[24:])
	for _, b := range n.Bindings() {
		if b.ID == id {
			h.peers[place{n, id}] = a
		}
	}
	return nil
}

// cutLast cuts around the last slash: a node's name may have one.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
