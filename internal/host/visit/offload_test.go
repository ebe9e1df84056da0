package visit

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// unfinished is a UDP or TCP packet as the kernel hands it up: one piece, with
// the sum of the pseudo header in the place of the checksum.
func unfinished(proto uint8, header, payload int) []byte {
	p := make([]byte, 20+header, 20+header+payload)
	p[0], p[8], p[9] = 0x45, 64, proto
	copy(p[12:], []byte{10, 10, 0, 5, 192, 0, 2, 9})
	for i := range payload {
		p = append(p, byte(i))
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[4:], 0xffff)
	binary.BigEndian.PutUint16(p[10:], encap.Checksum(p[:20]))
	at := 16
	if proto == unix.IPPROTO_UDP {
		at = 6
		binary.BigEndian.PutUint16(p[24:], uint16(header+payload))
	} else {
		p[32] = byte(header / 4 << 4)
		p[33] = tcpCWR | tcpPSH | tcpFIN | 0x10
		binary.BigEndian.PutUint32(p[24:], 1<<32-100)
	}
	binary.BigEndian.PutUint16(p[20+at:], pseudoSum(p, len(p)-20))
	return p
}

// sound says whether both checksums and the length of a packet are right.
func sound(p []byte) bool {
	l4 := slices.Clone(p[20:])
	pseudo := make([]byte, 2)
	binary.BigEndian.PutUint16(pseudo, pseudoSum(p, len(l4)))
	return encap.Checksum(p[:20]) == 0 && int(binary.BigEndian.Uint16(p[2:])) == len(p) && encap.Checksum(append(pseudo, l4...)) == 0
}

// What the kernel merged, or never finished, is as it would be on a wire.
func TestPacketsAreWhole(t *testing.T) {
	for name, c := range map[string]struct {
		o       offload
		packet  []byte
		header  int
		lengths []int
	}{
		"a datagram without its checksum": {offload{checksum: true, start: 20, offset: 6}, unfinished(17, 8, 33), 8, []int{33}},
		"a segment without its checksum":  {offload{checksum: true, start: 20, offset: 16}, unfinished(6, 32, 100), 32, []int{100}},
		"merged segments":                 {offload{checksum: true, kind: unix.VIRTIO_NET_HDR_GSO_TCPV4, segment: 100, start: 20, offset: 16}, unfinished(6, 32, 250), 32, []int{100, 100, 50}},
		"merged datagrams":                {offload{checksum: true, kind: unix.VIRTIO_NET_HDR_GSO_UDP_L4, segment: 101, start: 20, offset: 6}, unfinished(17, 8, 202), 8, []int{101, 101}},
	} {
		var payload []byte
		var lengths []int
		whole := slices.Clone(c.packet[20+c.header:])
		for p := range wirePackets(c.o, c.packet) {
			if !sound(p) {
				t.Errorf("%s: packet %x is not sound", name, p)
			}
			n := len(lengths)
			last := n == len(c.lengths)-1
			if c.packet[9] == 6 {
				if seq := binary.BigEndian.Uint32(p[24:]); seq != uint32(1<<32-100+len(payload)) {
					t.Errorf("%s: sequence number %d of segment %d", name, seq, n)
				}
				if f := p[33]; f&tcpCWR != 0 != (n == 0) || f&tcpFIN != 0 != last || f&tcpPSH != 0 != last {
					t.Errorf("%s: flags %#x of segment %d", name, f, n)
				}
			}
			if id := binary.BigEndian.Uint16(p[4:]); id != 0xffff+uint16(n) {
				t.Errorf("%s: identification %d of packet %d", name, id, n)
			}
			lengths = append(lengths, len(p)-20-c.header)
			payload = append(payload, p[20+c.header:]...)
		}
		if !slices.Equal(lengths, c.lengths) || !bytes.Equal(payload, whole) {
			t.Errorf("%s: pieces of %v, want %v", name, lengths, c.lengths)
		}
	}
}

// Nothing that a frame says makes a panic.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 10, 0, 34, 0, 16, 0}, unfinished(6, 20, 100))
	f.Add([]byte{1, 5, 0, 0, 1, 0, 34, 0, 6, 0}, unfinished(17, 8, 9))
	f.Fuzz(func(t *testing.T, header, packet []byte) {
		if len(header) < offloadHeader || len(header) > 100 || len(packet) > 1500 {
			t.Skip()
		}
		homes := map[node]bool{}
		a := &ear{link: "lan0", nodes: homes}
		frame := append(append(header[:offloadHeader:offloadHeader], make([]byte, frameHeader)...), packet...)
		if len(packet) < 20 {
			return // the reader drops it
		}
		homes[node{place{"lan0", netip.AddrFrom4([4]byte(packet[12:16]))}, [6]byte{}}] = true
		a.frame(&ears{heard: func(_ string, _ forward.HardwareAddr, _ netip.Addr, p []byte) {
			if len(p) > len(packet) {
				t.Error("longer than what came")
			}
		}}, frame)
	})
}
