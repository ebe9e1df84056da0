package encap_test

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"

	"careof/wire/encap"
)

// pcap wraps IPv4 packets in a capture file.
func pcap(packets ...[]byte) []byte {
	var b []byte
	le := binary.LittleEndian
	b = le.AppendUint32(b, 0xa1b2c3d4)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 65535)
	b = le.AppendUint32(b, 101) // LINKTYPE_RAW
	for i, p := range packets {
		for _, v := range []int{i, 0, len(p), len(p)} {
			b = le.AppendUint32(b, uint32(v))
		}
		b = append(b, p...)
	}
	return b
}

// tshark is the independent decoder: every form that we emit reads as what it
// is, with good checksums, and the inner packet is found.
//
// Known gaps of tshark 4.0: it has no dissector for minimal encapsulation
// (protocol 55 is data), and takes the content of every Tunnel Data message for
// IP, whatever its Next Header says. The golden vectors stand in for both.
func TestTsharkDecodesWhatWeEmit(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	in := unhex(t, inner)
	var packets [][]byte
	for _, v := range vectors {
		b, err := encap.Append(nil, &v.h, in)
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, b)
	}
	h := encap.Header{Kind: encap.UDP, Src: local, Dst: peer, SrcPort: 40000, DstPort: 434, Checksum: true}
	echo, err := encap.AppendEcho(nil, &encap.Echo{Type: encap.EchoRequest, Src: addr("192.0.2.10"), Dst: addr("203.0.113.1"), ID: 0x4242, Seq: 3}, 1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := encap.Append(nil, &h, echo)
	if err != nil {
		t.Fatal(err)
	}
	packets = append(packets, b)
	packets = append(packets, encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: 1380}, local, in))

	fields := []string{"frame.protocols", "ip.proto", "ip.dst", "ip.checksum.status", "udp.dstport", "udp.checksum.status", "gre.key", "gre.proto", "mip.nattt.nexthdr", "icmp.type", "icmp.seq", "icmp.mtu", "icmp.checksum.status", "_ws.malformed"}
	args := []string{"-r", "-", "--disable-protocol", "tapa", // which takes port 5000 for its own
		"-T", "fields", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-E", "separator=|"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(tshark, args...)
	cmd.Stdin = bytes.NewReader(pcap(packets...))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{}
	for _, l := range strings.Split(strings.TrimSpace(wantTshark), "\n") {
		want = append(want, strings.TrimSpace(l))
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d lines for %d packets:\n%s", len(got), len(want), out)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("packet %d\n got %s\nwant %s", i, got[i], want[i])
		}
	}
}

// A checksum status of 1 is good, 3 is absent.
const wantTshark = `
raw:ip:ip:udp:data|4,17|198.51.100.9,203.0.113.5|1,1|5000|3||||||||
raw:ip:gre:ip:udp:data|47,17|198.51.100.9,203.0.113.5|1,1|5000|3||0x0800||||||
raw:ip:gre:ip:udp:data|47,17|198.51.100.9,203.0.113.5|1,1|5000|3|0x01020304|0x0800||||||
raw:ip:gre:ip:udp:data|47,17|198.51.100.9,203.0.113.5|1,1|5000|3|0x01020304|0x0800||||||
raw:ip:data|55|198.51.100.9|1||||||||||
raw:ip:data|55|198.51.100.9|1||||||||||
raw:ip:udp:mip:ip:udp:data|17,17|198.51.100.9,203.0.113.5|1,1|40000,5000|1,3|||4|||||
raw:ip:udp:mip:ip|17|198.51.100.9|1|40000|3|||47|||||
raw:ip:udp:mip:ip|17|198.51.100.9|1|40000|3|||55|||||
raw:ip:udp:mip:ip:icmp|17,1|198.51.100.9,203.0.113.1|1,1|434|1|||4|8|3||1|
raw:ip:icmp:ip:udp:data|1,17|192.0.2.10,203.0.113.5|1,1|5000|3||||3||1380|1|
`
