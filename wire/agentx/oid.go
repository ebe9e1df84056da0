package agentx

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// An OID is an object identifier, without the leading dot of its text.
//
//rfc:2741#5.1
type OID []uint32

// maxSubIDs is how long an object identifier may be (RFC 2578 section 3.5).
const maxSubIDs = 128

// internet is 1.3.6.1, which the prefix field of an encoded OID stands for.
var internet = OID{1, 3, 6, 1}

// String gives the dotted form.
func (o OID) String() string {
	parts := make([]string, len(o))
	for i, n := range o {
		parts[i] = strconv.FormatUint(uint64(n), 10)
	}
	return strings.Join(parts, ".")
}

// Append gives a new OID with more at the end; o stays as it is.
func (o OID) Append(sub ...uint32) OID { return append(slices.Clip(slices.Clone(o)), sub...) }

// Compare orders lexicographically, as a walk does.
func (o OID) Compare(other OID) int { return slices.CompareFunc(o, other, cmp.Compare[uint32]) }

// HasPrefix tells whether o lies in the subtree of prefix.
func (o OID) HasPrefix(prefix OID) bool {
	return len(o) >= len(prefix) && slices.Equal(o[:len(prefix)], prefix)
}

// appendOID encodes an OID: n_subid, prefix, include, reserved, sub-identifiers.
func appendOID(b []byte, o OID, include bool) []byte {
	prefix := byte(0)
	// "prefix: an unsigned value used to reduce the length of object
	// identifier encodings": 1.3.6.1.x, x at most 255.
	if len(o) > len(internet) && o.HasPrefix(internet) && o[len(internet)] > 0 && o[len(internet)] <= 255 {
		prefix = byte(o[len(internet)])
		o = o[len(internet)+1:]
	}
	b = append(b, byte(len(o)), prefix, flag(include), 0)
	for _, n := range o {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}
