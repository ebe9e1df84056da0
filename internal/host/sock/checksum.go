package sock

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// ChecksumMissing reads from the auxiliary data of a packet (PACKET_AUXDATA)
// whether the kernel has left its checksum to a network card: it was sent by a
// neighbour on the same host, and never passed one.
func ChecksumMissing(oob []byte) bool {
	for len(oob) >= unix.SizeofCmsghdr {
		header, body, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return false
		}
		oob = rest
		if header.Level == unix.SOL_PACKET && header.Type == unix.PACKET_AUXDATA && len(body) >= 4 {
			return binary.NativeEndian.Uint32(body)&unix.TP_STATUS_CSUMNOTREADY != 0
		}
	}
	return false
}
