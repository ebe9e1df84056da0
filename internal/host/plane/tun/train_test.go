package tun

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// tcpPacket is a TCP segment with options as they are in practice.
func tcpPacket(src, dst netip.Addr, port uint16, seq uint32, id uint16, flags byte, payload []byte) []byte {
	const options = 12
	p, err := encap.AppendIPv4(nil, &encap.IPv4{TTL: 61, Protocol: protoTCP, ID: id, DF: true, TOS: 2, Src: src, Dst: dst}, 20+options+len(payload))
	if err != nil {
		panic(err)
	}
	t := make([]byte, 20+options, 20+options+len(payload))
	binary.BigEndian.PutUint16(t, port)
	binary.BigEndian.PutUint16(t[2:], 443)
	binary.BigEndian.PutUint32(t[tcpSeq:], seq)
	binary.BigEndian.PutUint32(t[8:], 77)
	t[tcpOffset], t[tcpFlags] = (20+options)/4<<4, flags
	binary.BigEndian.PutUint16(t[14:], 500)
	copy(t[20:], []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2})
	t = append(t, payload...)
	binary.BigEndian.PutUint16(t[tcpChecksum:], pseudoSum(p, protoTCP, len(t)))
	binary.BigEndian.PutUint16(t[tcpChecksum:], encap.Checksum(t))
	return append(p, t...)
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// written is what the kernel makes of what the outbox gives it, and in how many
// pieces it got it.
func written(t *testing.T, packets [][]byte) (out [][]byte, pieces int) {
	t.Helper()
	d := &fakeDevice{out: make(chan []byte, 1024)}
	var o outbox
	for _, p := range packets {
		o.add(bytes.Clone(p))
	}
	pieces = len(o.trains)
	if err := d.write(o.trains); err != nil {
		t.Fatal(err)
	}
	close(d.out)
	for p := range d.out {
		out = append(out, p)
	}
	return out, pieces
}

// sorted puts packets of one flow next to each other, in their order.
func sorted(packets [][]byte) [][]byte {
	packets = slices.Clone(packets)
	slices.SortStableFunc(packets, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(a[9], b[9]), bytes.Compare(a[12:22], b[12:22]))
	})
	return packets
}

// What was merged comes apart as it was, octet for octet, and every flow keeps
// its order.
func TestTrainsComeApartAsTheyWere(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var packets [][]byte
		var seq [3]uint32
		var id [3]uint16
		for range 60 {
			flow := rng.IntN(3)
			size, flags := 700, byte(tcpACK)
			switch rng.IntN(12) {
			case 0:
				size = 1 + rng.IntN(900)
			case 1:
				size = 0
			case 2:
				flags |= tcpPSH
			case 3:
				flags |= []byte{tcpFIN, tcpSYN, tcpRST, tcpURG, tcpCWR}[rng.IntN(5)]
			case 4:
				seq[flow] += 9 // a hole
			}
			if rng.IntN(5) == 0 {
				packets = append(packets, udpPacket(cnAddr, homeAddr, 200+rng.IntN(2), func(h *encap.IPv4) { h.ID, h.DF = id[flow], true }))
				id[flow]++
				continue
			}
			p := tcpPacket(cnAddr, homeAddr, uint16(1000+flow), seq[flow], id[flow], flags, noise(rng, size))
			switch rng.IntN(20) {
			case 0:
				p[len(p)-1]++ // not what was sent
			case 1:
				binary.BigEndian.PutUint16(p[6:], 0x2000) // a fragment
				p[10], p[11] = 0, 0
				binary.BigEndian.PutUint16(p[10:], encap.Checksum(p[:20]))
			}
			packets = append(packets, p)
			seq[flow] += uint32(size)
			id[flow]++
		}
		out, _ := written(t, packets)
		got, want := sorted(out), sorted(packets)
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d packets of %d", seed, len(got), len(want))
		}
		for i := range want {
			// Numbers of packets that are never fragmented mean nothing.
			if want[i][6]&0x40 != 0 && want[i][6]&0x3f == 0 {
				for _, p := range [][]byte{got[i], want[i]} {
					clear(p[4:6])
					clear(p[10:12])
				}
			}
			// The last packet of a train carries the push of all.
			if want[i][9] == protoTCP && !bytes.Equal(got[i], want[i]) {
				t.Fatalf("seed %d, packet %d:\ngot  % x\nwant % x", seed, i, got[i][:60], want[i][:60])
			}
			if want[i][9] == protoUDP && !bytes.Equal(got[i], want[i]) {
				t.Fatalf("seed %d, datagram %d:\ngot  % x\nwant % x", seed, i, got[i][:28], want[i][:28])
			}
		}
	}
}

// Segments that follow each other are one train, those of two connections in
// between too; one whose checksum is wrong is in none, for the kernel believes
// the checksums of a train.
func TestWhatIsMerged(t *testing.T) {
	segment := func(port uint16, i int) []byte {
		return tcpPacket(cnAddr, homeAddr, port, uint32(i*1000), uint16(i), tcpACK, bytes.Repeat([]byte{byte(i)}, 1000))
	}
	var packets [][]byte
	for i := range 20 {
		packets = append(packets, segment(1, i), segment(2, i))
	}
	if _, pieces := written(t, packets); pieces != 2 {
		t.Errorf("two connections: %d pieces", pieces)
	}
	bad := segment(1, 1)
	bad[len(bad)-1]++
	if out, pieces := written(t, [][]byte{segment(1, 0), bad, segment(1, 2)}); pieces != 3 || !bytes.Equal(out[1], bad) {
		t.Errorf("a wrong checksum: %d pieces", pieces)
	}
	first := segment(1, 0)
	first[len(first)-1]++
	if _, pieces := written(t, [][]byte{first, segment(1, 1)}); pieces != 2 {
		t.Errorf("a wrong checksum in the first: %d pieces", pieces)
	}
	var long [][]byte
	for i := range 100 {
		long = append(long, segment(1, i))
	}
	if out, pieces := written(t, long); pieces != 2 || len(out) != 100 {
		t.Errorf("100 segments: %d pieces, %d packets", pieces, len(out))
	}
}

// What the device hands over as one train leaves as the packets that its
// connection would have sent one by one, whichever way the tunnel goes, and
// trains that follow each other fill calls.
func TestATrainFromTheDevice(t *testing.T) {
	const size, packets = 1200, 50
	payload := noise(rand.New(rand.NewPCG(7, 7)), size*packets-100)
	train := tcpPacket(cnAddr, homeAddr, 9, 1<<32-2000, 65530, tcpACK|tcpPSH|tcpCWR, payload)
	var want [][]byte
	for i := range packets {
		part := payload[i*size : min(len(payload), (i+1)*size)]
		flags := byte(tcpACK)
		if i == 0 {
			flags |= tcpCWR
		}
		if i == packets-1 {
			flags |= tcpPSH
		}
		want = append(want, tcpPacket(cnAddr, homeAddr, 9, uint32(1<<32-2000+i*size), uint16(65530+i), flags, part))
	}
	virtual := make([]byte, virtualHeader)
	setVirtual(virtual, protoTCP, 0xffff /* the kernel's word for it */, size, 20)
	virtual[1] |= virtualECN
	for _, shape := range []forward.Tunnel{{Encap: encap.UDP}, {Encap: encap.UDP, Inside: encap.GRE, HasKey: true, Key: 3}, {Encap: encap.UDP, Inside: encap.Minimal}, {Encap: encap.IPIP}} {
		b := newBench(t)
		b.put(agentEntry(toCareOf(shape)))
		b.p.Close()
		s := &sender{p: b.p, in: newIntake(), now: 1}
		for range 2 {
			s.in.took(frame(s.in.next(), virtual, train))
		}
		for i := range s.in.arrivals {
			s.arrival(&s.in.arrivals[i])
		}
		s.flush()
		var got [][]byte
		calls := 0
		for len(b.udp) > 0 {
			calls++
			d := <-b.udp
			for _, m := range d.messages {
				h := encap.Header{Src: haAddr, Dst: careOf, TTL: 64}
				buf := append(make([]byte, headroom), m...)
				inner, err := encap.PullUDP(&h, buf, headroom)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, inner)
			}
			if d.tos != 2 {
				t.Errorf("%+v: TOS %d", shape, d.tos)
			}
		}
		for len(b.raw.out) > 0 {
			_, inner, err := encap.Pull(<-b.raw.out)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, inner)
		}
		if len(got) != 2*packets {
			t.Fatalf("%+v: %d packets of %d", shape, len(got), 2*packets)
		}
		for i, p := range got {
			w := bytes.Clone(want[i%packets])
			if shape.Inside == encap.Minimal {
				// It does not carry identification, TTL and TOS of the packet.
				w, p = w[20:], p[20:]
			}
			if !bytes.Equal(p, w) {
				t.Fatalf("%+v: packet %d\ngot  % x\nwant % x", shape, i, p[:60], w[:60])
			}
		}
		if shape.Encap == encap.UDP && calls > 4 {
			t.Errorf("%+v: %d calls", shape, calls)
		}
		if c := b.p.Counters("mn"); c.SentPackets != 2*packets || c.SentBytes != uint64(2*(len(payload)+packets*52)) {
			t.Errorf("%+v: counters %+v", shape, c)
		}
	}
}
