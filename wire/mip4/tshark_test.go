package mip4

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What tshark (4.0.17, an independent decoder) must say about the golden extension with this hexadecimal form.
var tsharkExtensions = map[string][]string{
	"26 00 0007 00000009 1234 aa":                        {"Extension Type: Critical Vendor/Organization Specific Extension (38)", "Extension Length: 7", "CVSE Vendor/org ID: ciscoSystems (9)", "Vendor CVSE Type: 0x1234", "Vendor CVSE Value: aa"},
	"2c 06 00 00 0000 006e":                              {"Extension Type: UDP Tunnel Reply Extension (44)", "UDP TunRep Code: Will do Tunneling (0)", "UDP TunRep Ext Flags: 0x0000", "Keepalive Interval: 110"},
	"2c 06 00 40 8000 0000":                              {"UDP TunRep Code: Tunneling Declined, Reason Unspecified (64)", "UDP TunRep Ext Flags: 0x8000, Rep Forced", "Keepalive Interval: 0"},
	"2d 02 00 42":                                        {"Extension Type: FA Error Extension (45)", "Extension: 0042"},
	"2e 06 0000 c0000201":                                {"Extension Type: GFA IP Address Extension (46)", "Extension: 0000c0000201"},
	"2f 01 0001 01":                                      {"Sub-type: Per-Node Authentication Method (1)", "Per-Node Authentication Method: FA-HA Authentication (1)"},
	"81 0a 0000 c0000201 c6336401":                       {"Extension Type: SKIP Firewall Traversal Extension (129)", "Extension: 0000c0000201c6336401"},
	"82 00":                                              {"Extension Type: Encapsulating Delivery Style Extension (130)", "Extension Length: 0"},
	"83 0e 6d6e406578616d706c652e636f6d":                 {"Extension Type: Mobile Node NAI Extension (131)", "NAI: mn@example.com"},
	"84 04 a1b2c3d4":                                     {"Extension Type: MN-FA Challenge Extension (132)", "Extension: a1b2c3d4"},
	"86 0c 0000 00000009 000e 00000000":                  {"Extension Type: Normal Vendor/Organization Specific Extension (134)", "Vendor ID: ciscoSystems (9)", "Vendor Type: 14", "Vendor Value: 00000000"},
	"88 05 01 68614078":                                  {"Extension Type: NAI Carrying Extension (136)", "Extension: 0168614078"},
	"88 05 02 61614078":                                  {"Extension: 0261614078"},
	"88 05 03 66614078":                                  {"Extension: 0366614078"},
	"89 06 8000 eacd6b0f":                                {"Extension Type: Revocation Support Extension (137)", "Rev Ext Flags: 0x8000, 'I' bit Support", "Timestamp: 3939330831"},
	"8a 12 01 3331303135303132333435363738393a31":        {"Extension Type: Generalized Link Layer Address Registration Extension (138)", "Extension Length: 18"},
	"8a 03 02 1300":                                      {"Extension: 021300"},
	"8a 07 03 020000000001":                              {"Extension: 03020000000001"},
	"8a 09 04 020000fffe000001":                          {"Extension: 04020000fffe000001"},
	"8a 05 05 c0000201":                                  {"Extension: 05c0000201"},
	"8a 05 06 00000007":                                  {"Extension: 0600000007"},
	"8a 05 07 c0000201":                                  {"Extension: 07c0000201"},
	"8c 06 0000 c0000201":                                {"Extension Type: Hierarchical Foreign Agent Extension (140)", "Extension: 0000c0000201"},
	"8d 0a 0001 0102030405060708":                        {"Extension Type: Replay Protection Style (141)", "Extension: 00010102030405060708"},
	"8e 06 0000 00000258":                                {"Extension Type: Regional Registration Lifetime Extension (142)", "Extension: 000000000258"},
	"90 06 00 00 80 2f 0000":                             {"Extension Type: UDP Tunnel Request Extension (144)", "UDP TunReq Ext Flags: 0x80, Req Forced", "UDP Encap Type: GRE Header (47)"},
	"90 06 00 00 40 00 0000":                             {"UDP TunReq Ext Flags: 0x40, FA Registration Required"},
	"91 06 01 71756f7461":                                {"MsgStr Ext SubType: HA Extension (1)", "MsgStr Text: quota"},
	"91 05 02 66756c6c":                                  {"MsgStr Ext SubType: FA Extension (2)", "MsgStr Text: full"},
	"93 04 01 696630":                                    {"Extension Type: Proxy Mobile IPv4 Skippable Extension (147)", "Extension Length: 4"},
	"93 08 02 01 020000000001":                           {"Extension Type: Proxy Mobile IPv4 Skippable Extension (147)", "Extension Length: 8"},
	"93 06 03 01 33313031":                               {"Extension Type: Proxy Mobile IPv4 Skippable Extension (147)", "Extension Length: 6"},
	"93 02 04 05":                                        {"Extension Type: Proxy Mobile IPv4 Skippable Extension (147)", "Extension Length: 2"},
	"94 06 00 18 0a140700":                               {"Extension Type: Mobile Network Extension (148)", "Prefix Length: 24", "Prefix: 10.20.7.0"},
	"94 08 01 02 18 00 0a140700":                         {"Code: Mobile Router is not authorized for prefix (MOBNET_UNAUTHORIZED) (2)", "Prefix Length: 24", "Prefix: 10.20.7.0"},
	"94 08 02 00 18 00 0a140700":                         {"Code: Success (0)", "Prefix Length: 24", "Prefix: 10.20.7.0"},
	"95 02 00 00":                                        {"Extension Type: Trusted Networks Configured (TNC) Extension (149)", "Extension Length: 2"},
	"97 03 696d73":                                       {"Extension Type: Service Selection Extension (151)", "Extension: 696d73"},
	"98 12 01 40 20010db8000100000000000000000000":       {"Extension Type: Dual Stack (DSMIPv4) Extension (152)", "Extension: 014020010db8000100000000000000000000"},
	"98 14 02 08 40 00 20010db8000100000000000000000000": {"Extension: 0208400020010db8000100000000000000000000"},
	"98 02 03 00":                                        {"Extension: 0300"},
	"99 02 01 c0":                                        {"Extension Type: Unknown (153)", "Extension: 01c0"},
	"99 06 01 30 0a000001":                               {"Extension Type: Unknown (153)", "Extension: 01300a000001"},
	"31 02 01 b0":                                        {"Extension Type: Unknown (49)", "Extension: 01b0"},
	"31 16 02 00 0007 0009 30313233343536373839616263646566": {"Extension Type: Unknown (49)", "Extension Length: 22"},
	"31 0a 03 00 c0000201 c0000202":                          {"Extension Type: Unknown (49)", "Extension: 0300c0000201c0000202"},
	"ff 02 09 01":                                            {"Extension Type: Skippable Extension for Experimental use (255)", "Extension: 0901"},
}

// The types that tshark 4.0.17 cannot frame; the golden vectors are their only check.
var tsharkGaps = map[ExtType]string{
	ExtPadding:                  "expects a length behind the padding",
	ExtNewIPv4Address:           "reads the length of 21 in octets",
	ExtMobileForeignKeyRequest:  "reads the long layout as simple",
	ExtMobileForeignKeyReply:    "reads the long layout as simple",
	ExtMobileHomeKeyRequest:     "reads the long layout as simple",
	ExtMobileHomeKeyReply:       "reads the long layout as simple",
	ExtGREKey:                   "reads the long layout as simple",
	ExtRouteOptimizationData:    "reads the long layout as simple",
	ExtExperimentalNonSkippable: "reads the long layout as simple",
	ExtDynamicHA:                "knows the short layout only; see the whole messages below",
	ExtMultipath:                "reads the long layout as simple",
}

// The messages that tshark decodes; of 16 to 27 and 255 it knows no fields.
var tsharkMessages = map[MessageType][]string{
	TypeRegistrationRequest: {"Message Type: Registration Request (1)", "Flags: 0x22, Co-located Care-of Address, Reverse Tunneling", "Lifetime: 100", "Home Address: 10.1.1.10", "Home Agent: 10.1.1.20", "Care of Address: 10.1.2.9", "Identification: Oct 31, 2024 02:33:51.707763672 UTC"},
	TypeRegistrationReply:   {"Message Type: Registration Reply (3)", "Reply Code: Reg Deny (HA)- Registration ID Mismatch (133)", "Lifetime: 65535", "Home Address: 10.1.1.10", "Home Agent: 10.1.1.20", "Identification: Oct 31, 2024 02:33:51.707763672 UTC"},
	TypeTunnelData:          {"Message Type: NAT Traversal Tunnel Data (4)", "NATTT NextHeader: GRE Header (47)"},
	TypeRevocation:          {"Message Type: Registration Revocation (7)", "Flags: 0xc000, Home Agent, Inform", "Home Address: 10.0.0.5", "Home Domain Address: 198.51.100.1", "Foreign Domain Address: 203.0.113.1", "Revocation Identifier: 3939330831"},
	TypeRevocationAck:       {"Message Type: Registration Revocation Acknowledgement (15)", "Flags: 0x8000, Inform", "Home Address: 10.0.0.5", "Revocation Identifier: 3939330831"},
}

// oracle is one packet and what tshark must say about it.
type oracle struct {
	name       string
	packet     []byte
	extensions int
	lines      []string
}

// wholeMessages are messages as a suite sends them, all extensions in their places.
func wholeMessages(t *testing.T) []oracle {
	seal := func(d *Draft) []byte {
		b, err := d.Seal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	mac := func(d *Draft, et ExtType) string {
		m := mustParse(t, seal(d))
		e, _ := m.Find(et)
		a, err := m.Authentication(e)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("Authenticator: %x", a.Authenticator)
	}
	q := NewRequest(RegistrationRequest{Flags: FlagS | FlagB | FlagD | FlagM | FlagG | FlagT, Lifetime: LifetimeInfinite, HomeAddress: ip("10.0.0.5")}).
		Add(ZoneHome, &NAI{Value: "van7@fleet.example"}).Add(ZoneHome, &UDPTunnelRequest{}).
		Authenticate(ExtMobileHome, home).Add(ZoneAuthorizing, &Challenge{Value: []byte{1, 2, 3, 4}}).Authenticate(ExtGeneralizedAuth, aaa).
		Add(ZoneForeign, &EncapsulatingDelivery{}).Authenticate(ExtMobileForeign, foreign)
	p := NewReply(RegistrationReply{Code: CodeUDPEncapUnavailable, HomeAddress: ip("10.0.0.5"), HomeAgent: ip("198.51.100.1")}).
		Add(ZoneHome, &NAI{Value: "a@b"}).Add(ZoneHome, &UDPTunnelReply{Keepalive: 110}).Add(ZoneHome, &MessageString{From: MessageFromHomeAgent, Text: "no"}).
		Authenticate(ExtMobileHome, home).Add(ZoneForeign, &RevocationSupport{Timestamp: 9}).Authenticate(ExtForeignHome, agents)
	r := NewMessage(&Revocation{HomeAddress: ip("10.0.0.5"), Identifier: 9}).Authenticate(ExtForeignHome, agents)
	d := NewRequest(RegistrationRequest{HomeAgent: ip("255.255.255.255")}).Add(ZoneHome, &DynamicHA{Kind: RequestedHA, Address: ip("198.51.100.1"), Short: true}).
		Authenticate(ExtMobileHome, home)
	return []oracle{
		{"whole request", seal(q), 7, []string{
			"Flags: 0xfa, Simultaneous Bindings, Broadcast Datagrams, Co-located Care-of Address, Minimal Encapsulation, GRE, Reverse Tunneling", "Lifetime: 65535",
			"NAI: van7@fleet.example", "Extension: Mobile-Home Authentication Extension", "SPI: 0x00000100", mac(q, ExtMobileHome), "Extension: 01020304",
			"Gen Auth Ext SubType: MN-AAA Authentication (1)", "SPI: 0x000001f4", mac(q, ExtGeneralizedAuth),
			"Extension: Mobile-Foreign Authentication Extension", "SPI: 0x0000012c", mac(q, ExtMobileForeign)}},
		{"whole reply", seal(p), 6, []string{"Reply Code: Reg Deny (HA)- UDP Encapsulation Unavailable (142)", "MsgStr Text: no", "Keepalive Interval: 110",
			"Extension: Foreign-Home Authentication Extension", "SPI: 0x00000190", mac(p, ExtForeignHome)}},
		{"whole revocation", seal(r), 1, []string{"Flags: 0x0000", "Revocation Identifier: 9", "Extension: Foreign-Home Authentication Extension", mac(r, ExtForeignHome)}},
		{"dynamic home agent, short layout", seal(d), 2, []string{"Extension: Dynamic HA Extension", "DynHA Home Agent: 198.51.100.1", mac(d, ExtMobileHome)}},
	}
}

// tshark reads every message and extension that it knows as this package wrote it: the same names, the same values, the same number
// of extensions.
func TestTsharkAgrees(t *testing.T) {
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	packets := wholeMessages(t)
	for _, g := range goldenFixed {
		if lines, known := tsharkMessages[g.f.MessageType()]; known {
			b, err := NewMessage(g.f).Seal()
			if err != nil {
				t.Fatal(err)
			}
			packets = append(packets, oracle{g.f.MessageType().String(), b, 0, lines})
		}
	}
	for _, g := range goldenExts {
		number, sub := g.p.ExtNumber()
		lines, known := tsharkExtensions[g.hex]
		if _, gap := tsharkGaps[number]; gap == known {
			t.Fatalf("%v: either lines that tshark must print or a known gap", number)
		}
		if known {
			b, err := AppendExt(carrier(t, g.p), g.p)
			if err != nil {
				t.Fatal(err)
			}
			packets = append(packets, oracle{fmt.Sprintf("%d/%d %s", number, sub, g.hex), b, 1, lines})
		}
	}
	frames := dissect(t, program, packets)
	for i, p := range packets {
		t.Run(p.name, func(t *testing.T) {
			if slices.ContainsFunc(frames[i], func(l string) bool { return strings.Contains(l, "Malformed Packet: Mobile IP") }) {
				t.Error("malformed, says tshark")
			}
			for _, want := range p.lines {
				if !slices.Contains(frames[i], want) {
					t.Errorf("tshark does not say %q", want)
				}
			}
			n := 0
			for _, l := range frames[i] {
				if strings.HasPrefix(l, "Extension Type: ") {
					n++
				}
			}
			if n != p.extensions {
				t.Errorf("tshark sees %d extensions, want %d", n, p.extensions)
			}
			if t.Failed() {
				t.Logf("%x\n%s", p.packet, strings.Join(frames[i], "\n"))
			}
		})
	}
}

// dissect has tshark print the Mobile IP part of each packet, as trimmed lines.
func dissect(t *testing.T, program string, packets []oracle) [][]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "messages.pcap")
	if err := os.WriteFile(file, pcap(packets), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "-n", "-r", file, "-O", "mip").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	var frames [][]string
	for _, line := range strings.Split(string(out), "\n") {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "Frame "):
			frames = append(frames, nil)
		case len(frames) > 0:
			frames[len(frames)-1] = append(frames[len(frames)-1], line)
		}
	}
	if len(frames) != len(packets) {
		t.Fatalf("tshark printed %d frames of %d", len(frames), len(packets))
	}
	return frames
}

// pcap is a capture file with each message in a UDP datagram on port 434, without link layer (LINKTYPE_RAW, 101).
func pcap(packets []oracle) []byte {
	le, be := binary.LittleEndian, binary.BigEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(le.AppendUint16(b, 2), 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(le.AppendUint32(b, 65535), 101)
	for _, p := range packets {
		total := 28 + len(p.packet)
		b = append(b, make([]byte, 8)...)
		b = le.AppendUint32(le.AppendUint32(b, uint32(total)), uint32(total))
		b = append(b, 0x45, 0)
		b = be.AppendUint16(b, uint16(total))
		b = append(b, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
		b = be.AppendUint16(be.AppendUint16(b, 434), 434)
		b = be.AppendUint16(be.AppendUint16(b, uint16(total-20)), 0)
		b = append(b, p.packet...)
	}
	return b
}
