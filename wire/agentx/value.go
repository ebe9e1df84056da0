package agentx

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A ValueType says how a value is encoded.
//
//rfc:2741#5.4
type ValueType uint16

// The types of values, and what stands in place of one.
const (
	Integer        ValueType = 2
	OctetString    ValueType = 4
	Null           ValueType = 5
	ObjectID       ValueType = 6
	IPAddress      ValueType = 64
	Counter32      ValueType = 65
	Gauge32        ValueType = 66
	TimeTicks      ValueType = 67 // hundredths of a second
	Opaque         ValueType = 68
	Counter64      ValueType = 70
	NoSuchObject   ValueType = 128
	NoSuchInstance ValueType = 129
	EndOfMIBView   ValueType = 130
)

var valueTypeNames = map[ValueType]string{
	Integer: "Integer", OctetString: "OctetString", Null: "Null", ObjectID: "ObjectID", IPAddress: "IpAddress", Counter32: "Counter32",
	Gauge32: "Gauge32", TimeTicks: "TimeTicks", Opaque: "Opaque", Counter64: "Counter64", NoSuchObject: "noSuchObject",
	NoSuchInstance: "noSuchInstance", EndOfMIBView: "endOfMibView",
}

func (t ValueType) String() string {
	if name := valueTypeNames[t]; name != "" {
		return name
	}
	return fmt.Sprintf("ValueType(%d)", uint16(t))
}

// A Value is a typed value. Which of the fields holds it follows from Type:
// Number for integers (an Integer in its low 32 bits), counters, gauges and
// ticks; Bytes for OctetString, IpAddress (4 octets) and Opaque; OID.
type Value struct {
	Type   ValueType
	Number uint64
	Bytes  []byte
	OID    OID
}

// Int is an Integer.
func Int(n int32) Value { return Value{Type: Integer, Number: uint64(uint32(n))} }

// Count is a Counter32, which starts again at 0 after 2^32-1.
func Count(n uint64) Value { return Value{Type: Counter32, Number: n & 0xffffffff} }

// Gauge is a Gauge32, which stays at its greatest value.
func Gauge(n uint64) Value { return Value{Type: Gauge32, Number: min(n, 0xffffffff)} }

// Ticks is a TimeTicks, in hundredths of a second.
func Ticks(n uint32) Value { return Value{Type: TimeTicks, Number: uint64(n)} }

// Octets is an OctetString, which is also how BITS are encoded.
func Octets(b []byte) Value { return Value{Type: OctetString, Bytes: b} }

// Identifier is an object identifier as a value.
func Identifier(o OID) Value { return Value{Type: ObjectID, OID: o} }

// Address is an IpAddress; an address that is not IPv4 becomes 0.0.0.0.
func Address(a netip.Addr) Value {
	octets := [4]byte{}
	if a = a.Unmap(); a.Is4() {
		octets = a.As4()
	}
	return Value{Type: IPAddress, Bytes: octets[:]}
}

// A VarBind is a name and its value.
//
//rfc:2741#5.4
type VarBind struct {
	Name  OID
	Value Value
}

func appendVariables(b []byte, list []VarBind) []byte {
	for _, v := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(v.Value.Type))
		b = append(b, 0, 0)
		b = appendOID(b, v.Name, false)
		switch v.Value.Type {
		case Integer, Counter32, Gauge32, TimeTicks:
			b = binary.BigEndian.AppendUint32(b, uint32(v.Value.Number))
		case Counter64:
			b = binary.BigEndian.AppendUint64(b, v.Value.Number)
		case OctetString, IPAddress, Opaque:
			b = appendOctets(b, v.Value.Bytes)
		case ObjectID:
			b = appendOID(b, v.Value.OID, false)
		}
	}
	return b
}

// appendOctets encodes a string: length, octets, padding to a multiple of 4.
//
//rfc:2741#5.3
func appendOctets(b, s []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	b = append(b, s...)
	return append(b, make([]byte, -len(s)&3)...)
}

// A reader takes fields off a payload; after one that is not there it has
// failed and gives zeros.
type reader struct {
	b      []byte
	order  binary.ByteOrder
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n < 0 || n > len(r.b) {
		r.failed = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return r.order.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return r.order.Uint32(b)
	}
	return 0
}

func (r *reader) octets() []byte {
	n := r.uint32()
	if n > MaxPayload {
		r.failed = true
		return nil
	}
	b := r.take(int(n))
	r.take(-int(n) & 3)
	return b
}

func (r *reader) oid() (OID, bool) {
	head := r.take(4)
	if head == nil {
		return nil, false
	}
	n, prefix := int(head[0]), head[1]
	if n > maxSubIDs {
		r.failed = true
		return nil, false
	}
	var out OID
	if prefix != 0 {
		out = internet.Append(uint32(prefix))
	}
	for range n {
		out = append(out, r.uint32())
	}
	return out, head[2] != 0
}

func (r *reader) ranges() (out []Range) {
	for len(r.b) > 0 && !r.failed {
		start, include := r.oid()
		end, _ := r.oid()
		out = append(out, Range{Start: start, End: end, Include: include})
	}
	return out
}

func (r *reader) variables() (out []VarBind) {
	for len(r.b) > 0 && !r.failed {
		v := VarBind{Value: Value{Type: ValueType(r.uint16())}}
		r.take(2)
		v.Name, _ = r.oid()
		switch v.Value.Type {
		case Integer, Counter32, Gauge32, TimeTicks:
			v.Value.Number = uint64(r.uint32())
		case Counter64:
			if b := r.take(8); b != nil {
				v.Value.Number = r.order.Uint64(b)
			}
		case OctetString, IPAddress, Opaque:
			v.Value.Bytes = r.octets()
		case ObjectID:
			v.Value.OID, _ = r.oid()
		case Null, NoSuchObject, NoSuchInstance, EndOfMIBView:
		default:
			r.failed = true
		}
		out = append(out, v)
	}
	return out
}
