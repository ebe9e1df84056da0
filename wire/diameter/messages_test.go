package diameter

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A sample is a message with all that its definition lists, and what tshark (4.0.17, an independent decoder) must say about it.
type sample struct {
	m     *Message
	lines []string
}

// samples has every command, as request and as answer.
func samples() []sample {
	addr := netip.MustParseAddr
	origin := []AVP{OriginHost.Text("fa.visited.example"), OriginRealm.Text("visited.example")}
	capable := append(slices.Clone(origin), HostIPAddress.Address(addr("192.0.2.1")), HostIPAddress.Address(addr("2001:db8::1")), VendorID.Uint32(0),
		ProductName.Text("careof"), OriginStateID.Uint32(17), SupportedVendorID.Uint32(10415), AuthApplicationID.Uint32(2), AcctApplicationID.Uint32(2),
		InbandSecurityID.Uint32(InbandTLS), FirmwareRevision.Uint32(3),
		VendorSpecificApplicationID.Group(VendorID.Uint32(9), AuthApplicationID.Uint32(4)))
	session := append([]AVP{SessionID.Text("fa.visited.example;1;2")}, origin...)
	route := []AVP{DestinationRealm.Text("home.example"), DestinationHost.Text("aaa.home.example"), RouteRecord.Text("fa.visited.example"),
		ProxyInfo.Group(ProxyHost.Text("p.example"), ProxyState.Octets([]byte{1, 2, 3}))}
	user := []AVP{UserName.Text("alice@home.example"), AcctMultiSessionID.Text("multi;1")}
	join := func(lists ...[]AVP) []AVP { return slices.Concat(lists...) }
	request := func(c Command, lists ...[]AVP) *Message {
		app := MobileIPv4
		if g := grammarOf(c); !g.proxiable {
			app = Base
		}
		m := NewRequest(c, app, join(lists...)...)
		m.HopByHop, m.EndToEnd = 0x11223344, 0x55667788
		return m
	}
	sha := MIPAlgorithmType.Uint32(AlgorithmHMACSHA1)
	replay := MIPReplayMode.Uint32(ReplayTimestamps)
	key, nonce := MIPSessionKey.Octets(bytes.Repeat([]byte{0xab}, 16)), MIPNonce.Octets(bytes.Repeat([]byte{0xcd}, 16))
	auth := AuthApplicationID.Uint32(2)
	mobile := []AVP{MIPMobileNodeAddress.Address(addr("10.0.0.7")), MIPHomeAgentAddress.Address(addr("198.51.100.1"))}
	rrq := MIPRegRequest.Octets([]byte{1, 0, 0, 100, 10, 0, 0, 7, 198, 51, 100, 1, 192, 0, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8})
	rrp := MIPRegReply.Octets([]byte{3, 0, 0, 100, 10, 0, 0, 7, 198, 51, 100, 1, 1, 2, 3, 4, 5, 6, 7, 8})
	lifetime := AuthorizationLifetime.Uint32(3600)
	state := AuthSessionState.Uint32(StateMaintained)
	record := []AVP{AccountingRecordType.Uint32(StopRecord), AccountingRecordNumber.Uint32(2), AcctApplicationID.Uint32(2), AcctSessionID.Octets([]byte("77")),
		AccountingSubSessionID.Uint64(1 << 40), AcctInterimInterval.Uint32(600), AccountingRealtimeRequired.Uint32(2),
		EventTimestamp.Time(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))}
	usage := []AVP{AccountingInputOctets.Uint64(5 << 32), AccountingOutputOctets.Uint64(17), AccountingInputPackets.Uint64(3), AccountingOutputPackets.Uint64(4),
		AcctSessionTime.Uint32(61)}

	cer := request(CapabilitiesExchange, capable)
	dwr := request(DeviceWatchdog, origin, []AVP{OriginStateID.Uint32(17)})
	dpr := request(DisconnectPeer, origin, []AVP{DisconnectCause.Uint32(Busy)})
	amr := request(AAMobileNode, session, []AVP{auth}, user, route, []AVP{rrq,
		MIPMNAAAAuth.Group(MIPMNAAASPI.Uint32(1000), MIPAuthInputDataLength.Uint32(60), MIPAuthenticatorLength.Uint32(20), MIPAuthenticatorOffset.Uint32(66)),
		MIPFeatureVector.Uint32(uint32(MNHAKeyRequest)), MIPOriginatingForeignAAA.Group(OriginRealm.Text("visited.example"), OriginHost.Text("aaaf.visited.example")),
		lifetime, state, MIPFAChallenge.Octets([]byte{9, 8, 7, 6}), MIPCandidateHomeAgentHost.Text("ha.visited.example"),
		MIPHomeAgentHost.Group(DestinationRealm.Text("home.example"), DestinationHost.Text("ha.home.example")), MIPHAToFASPI.Uint32(300)}, mobile)
	har := request(HomeAgentMIP, session, []AVP{auth, lifetime, state}, user[:1], route, []AVP{rrq, MIPFeatureVector.Uint32(uint32(FAHAKeyRequest)),
		MIPMNToHAMSA.Group(sha, replay, nonce), MIPMNToFAMSA.Group(MIPHAToFASPI.Uint32(300), sha, nonce), MIPHAToMNMSA.Group(sha, replay, key),
		MIPHAToFAMSA.Group(MIPHAToFASPI.Uint32(300), sha, key), MIPMSALifetime.Uint32(3600), MIPFilterRule.Text("permit in ip from any to any")}, mobile)
	acr := request(Accounting, session, route, record, user, usage, mobile, []AVP{ClassAVP.Octets([]byte("gold"))})
	asr := request(AbortSession, session, route, []AVP{auth, OriginStateID.Uint32(17)})
	str := request(SessionTermination, session, route, []AVP{auth, TerminationCause.Uint32(UserMoved)})
	rar := request(ReAuth, session, route, []AVP{auth, ReAuthRequestType.Uint32(AuthorizeAuthenticate)})
	refused := str.Refuse(&Error{Code: MissingAVP, AVP: UserName, What: "missing", Failed: List{UserName.Text("")}}, origin...)

	return []sample{
		{cer, []string{"Command Code: Capabilities-Exchange (257)", "Flags: 0x80, Request", "ApplicationId: Diameter Common Messages (0)", "Hop-by-Hop Identifier: 0x11223344",
			"Host-IP-Address Address: 192.0.2.1", "Host-IP-Address Address: 2001:db8::1", "Product-Name: careof", "Origin-State-Id: 17", "Supported-Vendor-Id: 10415",
			"Auth-Application-Id: Mobile IPv4 Application (2)", "Inband-Security-Id: TLS (1)", "Firmware-Revision: 3"}},
		{cer.Answer(Success, capable...), []string{"Flags: 0x00", "Result-Code: DIAMETER_SUCCESS (2001)", "VendorId: ciscoSystems (9)"}},
		{dwr, []string{"Command Code: Device-Watchdog (280)", "Origin-Host: fa.visited.example"}},
		{dwr.Answer(Success, origin...), []string{"Command Code: Device-Watchdog (280)", "Result-Code: DIAMETER_SUCCESS (2001)"}},
		{dpr, []string{"Command Code: Disconnect-Peer (282)", "Disconnect-Cause: BUSY (1)"}},
		{dpr.Answer(Success, origin...), []string{"Command Code: Disconnect-Peer (282)"}},
		{amr, []string{"Command Code: AA-Mobile-Node (260)", "Flags: 0xc0, Request, Proxyable", "User-Name: alice@home.example", "MIP-MN-AAA-SPI: 1000",
			"MIP-Auth-Input-Data-Length: 60", "MIP-Authenticator-Length: 20", "MIP-Authenticator-Offset: 66", "MIP-Feature-Vector: MN-HA-Key-Request (16)",
			"MIP-FA-Challenge: 09080706", "MIP-Candidate-Home-Agent-Host: ha.visited.example", "Destination-Host: ha.home.example", "Origin-Host: aaaf.visited.example",
			"MIP-HA-to-FA-SPI: 300", "MIP-Mobile-Node-Address Address: 10.0.0.7", "MIP-Home-Agent-Address Address: 198.51.100.1", "Auth-Session-State: STATE_MAINTAINED (0)",
			"Authorization-Lifetime: 3600", "MIP-Reg-Request: 010000640a000007c6336401c00002010102030405060708", "Route-Record: fa.visited.example", "Proxy-State: 010203", "Accounting-Multi-Session-Id: multi;1"}},
		{amr.Answer(MIPReplyFailure, join(origin, user, []AVP{auth, rrp, lifetime, state, MIPFAToMNMSA.Group(MIPFAToMNSPI.Uint32(1001), sha, key),
			MIPFAToHAMSA.Group(MIPFAToHASPI.Uint32(1002), sha, key), MIPMSALifetime.Uint32(3600)}, mobile)...), []string{"Result-Code: DIAMETER_ERROR_MIP_REPLY_FAILURE (4005)",
			"MIP-FA-to-MN-SPI: 1001", "MIP-FA-to-HA-SPI: 1002", "MIP-Algorithm-Type: HMAC-SHA-1 (2)", "MIP-Session-Key: abababababababababababababababab", "MIP-MSA-Lifetime: 3600",
			"MIP-Reg-Reply: 030000640a000007c63364010102030405060708"}},
		{har, []string{"Command Code: Home-Agent-MIP (262)", "MIP-Nonce: cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", "MIP-Replay-Mode: Timestamps (2)", "MIP-Filter-Rule: permit in ip from any to any"}},
		{har.Answer(Success, join(origin, user, []AVP{auth, rrp, MIPFAToHASPI.Uint32(1002), MIPFAToMNSPI.Uint32(1001)}, mobile)...), []string{"Command Code: Home-Agent-MIP (262)", "MIP-FA-to-HA-SPI: 1002"}},
		{acr, []string{"Command Code: Accounting (271)", "Accounting-Record-Type: Stop Record (4)", "Accounting-Record-Number: 2", "Acct-Session-Time: 61", "Accounting-Input-Octets: 21474836480",
			"Accounting-Output-Octets: 17", "Accounting-Input-Packets: 3", "Accounting-Output-Packets: 4", "Event-Timestamp: Nov 22, 2026 12:00:00.000000000 UTC",
			"Accounting-Sub-Session-Id: 1099511627776", "Acct-Interim-Interval: 600", "Class: 676f6c64", "Accounting-Realtime-Required: GRANT_AND_STORE (2)"}},
		{acr.Answer(OutOfSpace, join(origin, record)...), []string{"Result-Code: DIAMETER_OUT_OF_SPACE (4002)"}},
		{asr, []string{"Command Code: Abort-Session (274)"}},
		{asr.Answer(UnknownSessionID, origin...), []string{"Result-Code: DIAMETER_UNKNOWN_SESSION_ID (5002)"}},
		{str, []string{"Command Code: Session-Termination (275)", "Termination-Cause: DIAMETER_USER_MOVED (7)"}},
		{str.Answer(Success, origin...), []string{"Command Code: Session-Termination (275)"}},
		{rar, []string{"Command Code: Re-Auth (258)", "Re-Auth-Request-Type: AUTHORIZE_AUTHENTICATE (1)"}},
		{rar.Answer(UnableToComply, origin...), []string{"Result-Code: DIAMETER_UNABLE_TO_COMPLY (5012)"}},
		{refused, []string{"Flags: 0x60, Proxyable, Error", "Result-Code: DIAMETER_MISSING_AVP (5005)"}},
	}
}

// Every sample is right by its own definition, and comes back as it was written.
func TestSamplesAreRight(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range samples() {
		seen[s.m.Name()] = true
		octets, err := s.m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(octets)
		if err != nil {
			t.Fatalf("%s: %v", s.m.Name(), err)
		}
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", s.m.Name(), err)
		}
		for _, f := range flat(Describe(octets)) {
			if f.Error != "" || strings.HasPrefix(f.Name, "AVP(") {
				t.Errorf("%s: described as %+v", s.m.Name(), f)
			}
			if strings.Contains(f.Value, "abababab") {
				t.Errorf("%s: %s shows a key", s.m.Name(), f.Name)
			}
		}
	}
	for _, g := range grammars {
		for _, name := range []string{g.short + "R", g.short + "A"} {
			if !seen[name] {
				t.Errorf("no sample of %s", name)
			}
		}
	}
}

func flat(fields []Field) []Field {
	var all []Field
	for _, f := range fields {
		all = append(append(all, f), flat(f.Nested)...)
	}
	return all
}

// Each AVP of RFC 4004 is in a sample.
func TestSamplesHaveEveryAVPOfRFC4004(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range samples() {
		octets, _ := s.m.Append(nil)
		for _, f := range flat(Describe(octets)) {
			seen[f.Name] = true
		}
	}
	for _, r := range mobileIPv4 {
		if !seen[r.Name] {
			t.Errorf("%s is in no sample", r.Name)
		}
	}
}

// The octets are written down from the RFCs' drawings, field by field.
//
//rfc:6733#3
//rfc:6733#4.1
func TestGolden(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	dwr := NewRequest(DeviceWatchdog, Base, OriginHost.Text("a.b"), OriginRealm.Text("b"), OriginStateID.Uint32(5))
	dwr.HopByHop, dwr.EndToEnd = 1, 2
	amr := NewRequest(AAMobileNode, MobileIPv4, SessionID.Text("s"), MIPHomeAgentAddress.Address(netip.MustParseAddr("192.0.2.1")),
		MIPMNAAAAuth.Group(MIPMNAAASPI.Uint32(1000)), ErrorMessage.Text("no"), AVP{Code: 7, Flags: AVPVendor, Vendor: 9, Data: []byte{1}},
		AccountingInputOctets.Uint64(1), EventTimestamp.Time(time.Date(2036, 2, 7, 6, 28, 17, 0, time.UTC)))
	for _, g := range []struct {
		m   *Message
		hex string
	}{
		{dwr, `01 000038 80 000118 00000000 00000001 00000002
			00000108 40 00000b 612e62 00
			00000128 40 000009 62 000000
			00000116 40 00000c 00000005`},
		{amr, `01 00007c c0 000104 00000002 00000000 00000000
			00000107 40 000009 73 000000
			0000014e 40 00000e 0001 c0000201 0000
			00000142 40 000014 00000155 40 00000c 000003e8
			00000119 00 00000a 6e6f 0000
			00000007 80 00000d 00000009 01 000000
			0000016b 40 000010 0000000000000001
			00000037 40 00000c 00000001`},
	} {
		got, err := g.m.Append(nil)
		if want := unhex(g.hex); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n%x, want\n%x", g.m.Name(), err, got, want)
		}
	}
}

// tshark reads every command and every AVP of RFC 4004 as this package wrote it.
func TestTsharkAgrees(t *testing.T) {
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	all := samples()
	file := filepath.Join(t.TempDir(), "messages.pcap")
	if err := os.WriteFile(file, pcap(t, all), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-n", "-r", file, "-O", "diameter", "-o", "tcp.desegment_tcp_streams:TRUE")
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := cmd.Output()
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
	if len(frames) != len(all) {
		t.Fatalf("tshark printed %d frames of %d", len(frames), len(all))
	}
	for i, s := range all {
		for _, l := range frames[i] {
			// The codeless SPIs of RFC 4004 are the only thing it might miss, and it does not.
			if strings.Contains(l, "Malformed") || strings.Contains(l, "Unknown") {
				t.Errorf("%s: tshark says %q", s.m.Name(), l)
			}
		}
		for _, want := range s.lines {
			if !slices.Contains(frames[i], want) {
				t.Errorf("%s: tshark does not say %q", s.m.Name(), want)
			}
		}
		if t.Failed() {
			lines := slices.DeleteFunc(frames[i], func(l string) bool {
				return strings.Contains(l, "... = ") || strings.Contains(l, ".... ") || strings.HasPrefix(l, "AVP")
			})
			t.Logf("%s\n%s", s.m.Name(), strings.Join(lines, "\n"))
		}
	}
}

// pcap is a capture file with each message in a TCP segment to port 3868, without link layer (LINKTYPE_RAW, 101).
func pcap(t *testing.T, all []sample) []byte {
	le, be := binary.LittleEndian, binary.BigEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(le.AppendUint16(b, 2), 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(le.AppendUint32(b, 65535), 101)
	sequence := uint32(1)
	for i, s := range all {
		octets, err := s.m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		total := 40 + len(octets)
		b = le.AppendUint32(le.AppendUint32(b, uint32(i)), 0)
		b = le.AppendUint32(le.AppendUint32(b, uint32(total)), uint32(total))
		b = append(b, 0x45, 0)
		b = be.AppendUint16(b, uint16(total))
		b = append(b, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
		b = be.AppendUint16(be.AppendUint16(b, 40000), Port)
		b = be.AppendUint32(be.AppendUint32(b, sequence), 1)
		b = append(b, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0)
		b = append(b, octets...)
		sequence += uint32(len(octets))
	}
	return b
}
