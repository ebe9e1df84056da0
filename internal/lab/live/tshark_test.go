package live

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/capture"
	"careof/wire/encap"
)

// What tshark 4.0.17 complains about without a reason. All else that it calls
// malformed, wrong by the rules of a protocol, or badly summed up is a failure.
var tsharkGaps = []struct {
	message, protocols string // how both begin or, for protocols, what they contain
	nextHeader         bool   // only in Tunnel Data with a Next Header that is not 4
	scene              string // only there; empty means everywhere
	why                string
}{
	{message: "Bogus IP", protocols: "udp:mip:ip", nextHeader: true, why: "reads Tunnel Data as an IP packet, whatever Next Header says"},
	{message: "Malformed Packet", protocols: "udp:mip:ip", nextHeader: true, why: "the same"},
	{message: "Bad checksum", protocols: "icmp:ip", why: "sums up the packet that ICMP quotes, of which the end is missing"},
	{protocols: "udp:mip:ip", nextHeader: true, scene: "redundant-encrypted", why: "reads WireGuard's messages as Tunnel Data with a Next Header of 0, and a receiver index that begins so as an IP packet"},
	{protocols: "udp:mip:ip", nextHeader: true, scene: "silent-hole-fast-encrypted", why: "the same"},
	{message: "Malformed Packet", protocols: "udp:mip", scene: "ha-drain", why: "reads RFC 4433's extension in the short layout, and knows no message 255"},
	{message: "Malformed Packet", protocols: "udp:mip", scene: "ha-dies", why: "the same"},
	{message: "Malformed Packet", protocols: "udp:mip", scene: "ha-drain-visited", why: "the same"},
	{message: "Malformed Packet", protocols: "udp:mip", scene: "ha-stays", why: "the same"},
	{message: "Malformed Packet", protocols: "udp:mip", scene: "bit-flips", why: "nothing to blame it for: that scene flips the bits of lengths, too"},
}

// tsharkReads has an independent program read the capture of a scene: every
// packet of every link is well formed, and all checksums are right.
func tsharkReads(t *testing.T, scene, file string) {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Log("tshark is not installed: nobody else has read the packets")
		return
	}
	requests, faults, err := tsharkFaults(program, scene, file)
	if err != nil {
		t.Fatal(err)
	}
	if requests == 0 {
		t.Error("tshark finds no Registration Request in the capture")
	}
	for _, f := range faults[:min(len(faults), 10)] {
		t.Error(f)
	}
	if len(faults) > 10 {
		t.Errorf("tshark finds fault %d times", len(faults))
	}
}

// tsharkError is the severity of what breaks a protocol's rules (PI_ERROR).
const tsharkError = "8388608"

// tsharkNext stands between several values of a field: no text of ours has it.
const tsharkNext = "\x1f"

// tsharkFaults lists what tshark complains about, but for its gaps, and counts
// the Registration Requests that it found.
func tsharkFaults(program, scene, file string) (requests int, faults []string, err error) {
	cmd := exec.Command(program, "-n", "-r", file,
		// The streams carry noise, in which it would discover all sorts of protocols.
		"-d", "tcp.port==20000-29999,data", "-d", "udp.port==20000-29999,data",
		"-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "tcp.analyze_sequence_numbers:FALSE",
		"-Y", "mip.type == 1 || _ws.expert.severity == "+tsharkError,
		"-T", "fields", "-E", "aggregator="+tsharkNext, "-e", "frame.number", "-e", "frame.interface_name", "-e", "frame.protocols",
		"-e", "mip.type", "-e", "mip.nattt.nexthdr", "-e", "_ws.expert.severity", "-e", "_ws.expert.message", "-e", "frame.comment")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return 0, nil, fmt.Errorf("tshark: %w\n%s", err, complaints.Bytes())
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 8 {
			return 0, nil, fmt.Errorf("tshark said %q", line)
		}
		if f[3] == "1" {
			requests++
		}
		severities, messages := strings.Split(f[5], tsharkNext), strings.Split(f[6], tsharkNext)
		// They are in step, but that a comment of the capture has a message, too,
		// which tshark cuts at 240 octets.
		messages = slices.DeleteFunc(messages, func(m string) bool {
			return m != "" && slices.ContainsFunc(strings.Split(f[7], tsharkNext), func(c string) bool { return strings.HasPrefix(c, m) })
		})
		if !slices.Contains(severities, tsharkError) {
			continue // a request
		}
		for i, m := range messages {
			if len(severities) == len(messages) && severities[i] != tsharkError || tsharkGap(scene, f[2], f[4], m) {
				continue
			}
			faults = append(faults, fmt.Sprintf("tshark, packet %s on %s, %s: %s", f[0], f[1], f[2], m))
		}
	}
	return requests, faults, nil
}

func tsharkGap(scene, protocols, next, message string) bool {
	for _, g := range tsharkGaps {
		if strings.HasPrefix(message, g.message) && strings.Contains(protocols, g.protocols) &&
			(!g.nextHeader || next != "" && next != "4") && (g.scene == "" || g.scene == scene) {
			return true
		}
	}
	return false
}

// The oracle is worth something: it finds a checksum that is wrong and an
// extension that is cut short.
func TestTsharkFindsFaults(t *testing.T) {
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	file := filepath.Join(t.TempDir(), "faults.pcapng")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := capture.NewWriter(f, "")
	if _, err := w.AddInterface(capture.Interface{Name: "link", LinkType: capture.Ethernet}); err != nil {
		t.Fatal(err)
	}
	request := make([]byte, 24)
	request[0] = 1
	from, to := netip.MustParseAddrPort("192.0.2.1:434"), netip.MustParseAddrPort("192.0.2.2:434")
	for i, payload := range [][]byte{request, request, append(request, 32, 20, 0, 0, 1)} {
		p, err := encap.AppendUDP(nil, encap.IPv4{}, from, to, payload)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			p[26] ^= 1 // the checksum of UDP
		}
		frame := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, p...)
		// A comment is nobody's fault, whatever stands in it.
		comment := "the home agent agreed; packets go in IP-in-IP\n; " + strings.Repeat("on and on; ", 40)
		if err := w.WritePacket(capture.Packet{Time: time.Unix(0, 0), Data: frame, Length: len(frame), Comment: comment}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	requests, faults, err := tsharkFaults(program, "", file)
	if err != nil || requests != 3 || len(faults) != 2 || !strings.Contains(faults[0], "packet 2 ") || !strings.Contains(faults[1], "packet 3 ") {
		t.Errorf("%d requests, %q, %v", requests, faults, err)
	}
}
