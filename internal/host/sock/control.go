package sock

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// groups keeps buffers for datagrams that leave as one.
var groups = sync.Pool{New: func() any { b := make([]byte, 0, maxPayload); return &b }}

// appendControl appends the header of a control message with a body of n
// octets, and the space for it.
func appendControl(b []byte, level, kind, n int) (all, body []byte) {
	start := len(b)
	b = append(b, make([]byte, unix.CmsgSpace(n))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[start]))
	h.Level, h.Type = int32(level), int32(kind)
	h.SetLen(unix.CmsgLen(n))
	return b, b[start+unix.CmsgLen(0):][:n]
}

func appendInt(b []byte, level, kind int, value int32) []byte {
	b, body := appendControl(b, level, kind, 4)
	binary.NativeEndian.PutUint32(body, uint32(value))
	return b
}

func appendShort(b []byte, level, kind int, value uint16) []byte {
	b, body := appendControl(b, level, kind, 2)
	binary.NativeEndian.PutUint16(body, value)
	return b
}

// appendPacketInfo appends struct in_pktinfo: send on this interface, from
// this address when it is valid.
func appendPacketInfo(b []byte, index int, src netip.Addr) []byte {
	b, body := appendControl(b, unix.SOL_IP, unix.IP_PKTINFO, 12)
	binary.NativeEndian.PutUint32(body, uint32(index))
	if src.Is4() {
		a := src.As4()
		copy(body[4:8], a[:])
	}
	return b
}
