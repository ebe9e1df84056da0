package nat

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	t0       = time.Unix(1_800_000_000, 0)
	host     = netip.MustParseAddrPort("192.168.1.10:434")
	second   = netip.MustParseAddrPort("192.168.1.11:434")
	agent    = netip.MustParseAddrPort("198.51.100.1:434")
	other    = netip.MustParseAddrPort("198.51.100.2:434")
	external = netip.MustParseAddr("203.0.113.9")
)

func newBox(t *testing.T, change func(*Config)) *Box {
	t.Helper()
	config := Config{External: external, Inside: netip.MustParsePrefix("192.168.1.0/24"), FirstPort: 40000}
	if change != nil {
		change(&config)
	}
	b, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sum is the Internet checksum computed afresh, the oracle for the incremental one.
func sum(parts ...[]byte) uint16 {
	var s uint32
	for i, b := range bytes.Join(parts, nil) {
		s += uint32(b) << (8 * (1 - i%2))
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

func ip(protocol uint8, src, dst netip.Addr, payload []byte) []byte {
	b := make([]byte, 20)
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], sum(b))
	return append(b, payload...)
}

func pseudo(src, dst netip.Addr, protocol uint8, length int) []byte {
	b := append(src.AsSlice(), dst.AsSlice()...)
	return append(b, 0, protocol, byte(length>>8), byte(length))
}

func udp(src, dst netip.AddrPort, data string) []byte {
	b := make([]byte, 8, 8+len(data))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(data)))
	b = append(b, data...)
	c := sum(pseudo(src.Addr(), dst.Addr(), 17, len(b)), b)
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], c)
	return ip(17, src.Addr(), dst.Addr(), b)
}

func tcp(src, dst netip.AddrPort, data string) []byte {
	b := make([]byte, 20, 20+len(data))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	b[12] = 0x50
	b = append(b, data...)
	binary.BigEndian.PutUint16(b[16:], sum(pseudo(src.Addr(), dst.Addr(), 6, len(b)), b))
	return ip(6, src.Addr(), dst.Addr(), b)
}

func icmp(kind, code uint8, src, dst netip.Addr, rest uint32, data []byte) []byte {
	b := make([]byte, 8, 8+len(data))
	b[0], b[1] = kind, code
	binary.BigEndian.PutUint32(b[4:], rest)
	b = append(b, data...)
	binary.BigEndian.PutUint16(b[2:], sum(b))
	return ip(1, src, dst, b)
}

func outward(t *testing.T, b *Box, now time.Time, pkt []byte) []byte {
	t.Helper()
	out, v := b.Outbound(now, pkt)
	if v != Translated {
		t.Fatal("outbound: ", v)
	}
	return out
}

// same compares with the packet that a careful sender would have built afresh, checksums included.
func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

//rfc:4787#4.1
func TestEveryProtocolIsTranslatedWithValidChecksums(t *testing.T) {
	mapped := netip.AddrPortFrom(external, 40000)
	for _, row := range []struct {
		name                     string
		out, outWant, in, inWant []byte
	}{
		{"UDP", udp(host, agent, "hello"), udp(mapped, agent, "hello"), udp(agent, mapped, "odd"), udp(agent, host, "odd")},
		{"TCP", tcp(host, agent, "hello"), tcp(mapped, agent, "hello"), tcp(agent, mapped, "there"), tcp(agent, host, "there")},
		{"echo",
			icmp(8, 0, host.Addr(), agent.Addr(), 0x1234_0001, []byte("ping")),
			icmp(8, 0, external, agent.Addr(), 40000<<16|1, []byte("ping")),
			icmp(0, 0, agent.Addr(), external, 40000<<16|1, []byte("ping")),
			icmp(0, 0, agent.Addr(), host.Addr(), 0x1234_0001, []byte("ping"))},
	} {
		b := newBox(t, nil)
		before := bytes.Clone(row.out)
		same(t, row.name+" out", outward(t, b, t0, row.out), row.outWant)
		if !bytes.Equal(before, row.out) {
			t.Error(row.name, ": the caller's packet was changed")
		}
		in, v := b.Inbound(t0, append(row.in, "padding"...))
		if v != Translated {
			t.Fatal(row.name, ": ", v)
		}
		same(t, row.name+" in", in, row.inWant)
	}
}

func TestUDPWithoutChecksumStaysWithout(t *testing.T) {
	b := newBox(t, nil)
	pkt := udp(host, agent, "x")
	pkt[26], pkt[27] = 0, 0
	out := outward(t, b, t0, pkt)
	if out[26] != 0 || out[27] != 0 {
		t.Errorf("checksum %x", out[26:28])
	}
}

func TestDamagedPacketStaysDamaged(t *testing.T) {
	b := newBox(t, nil)
	pkt := udp(host, agent, "hello")
	pkt[len(pkt)-1] ^= 1
	want := udp(netip.AddrPortFrom(external, 40000), agent, "hello")
	want[len(want)-1] ^= 1
	same(t, "damaged", outward(t, b, t0, pkt), want)
}

func TestUDPChecksumNeverBecomesZero(t *testing.T) {
	// RFC 768: zero on the wire means "no checksum"; a sum of zero is sent as all ones. Look for it over many payloads.
	b := newBox(t, nil)
	ones := 0
	for i := range 1 << 16 {
		data := string([]byte{byte(i >> 8), byte(i)})
		out := outward(t, b, t0, udp(host, agent, data))
		c := binary.BigEndian.Uint16(out[26:])
		if c == 0 {
			t.Fatalf("payload %x: checksum 0", data)
		}
		if c == 0xffff {
			ones++
		}
	}
	if ones == 0 {
		t.Error("the case did not occur")
	}
}

func TestIncrementalChecksumAgreesWithAFreshOne(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		b := newBox(t, func(c *Config) { c.FirstPort = uint16(1 + r.IntN(65535)) })
		data := make([]byte, r.IntN(40))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}), uint16(r.Uint32()))
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 1, byte(r.Uint32())}), uint16(r.Uint32()))
		out := outward(t, b, t0, udp(from, to, string(data)))
		p, _ := parse(out, false)
		same(t, "UDP", out, udp(netip.AddrPortFrom(external, p.sport), to, string(data)))
		out = outward(t, b, t0, tcp(from, to, string(data)))
		p, _ = parse(out, false)
		same(t, "TCP", out, tcp(netip.AddrPortFrom(external, p.sport), to, string(data)))
	}
}

// answer sends from the host and tells what becomes of a packet from remote to the mapping.
func answer(b *Box, now time.Time, remote netip.AddrPort, mapped netip.AddrPort) Verdict {
	_, v := b.Inbound(now, udp(remote, mapped, "answer"))
	return v
}

//rfc:4787#5
func TestKindsDifferInMappingAndFiltering(t *testing.T) {
	for _, row := range []struct {
		kind       Kind
		samePort   bool    // towards another remote endpoint
		unasked    Verdict // from an endpoint never sent to
		otherPort  Verdict // from another port of an address sent to
		fromSecond Verdict // from the second endpoint sent to, to the first mapping
	}{
		{PortRestricted, true, Filtered, Filtered, Translated},
		{FullCone, true, Translated, Translated, Translated},
		{Symmetric, false, Filtered, Filtered, Filtered},
	} {
		b := newBox(t, func(c *Config) { c.Kind = row.kind })
		p, _ := parse(outward(t, b, t0, udp(host, agent, "")), false)
		mapped := netip.AddrPortFrom(p.src, p.sport)
		if v := answer(b, t0, other, mapped); v != row.unasked {
			t.Errorf("%s: unasked: %s, want %s", row.kind, v, row.unasked)
		}
		if v := answer(b, t0, netip.AddrPortFrom(agent.Addr(), 9), mapped); v != row.otherPort {
			t.Errorf("%s: other port: %s, want %s", row.kind, v, row.otherPort)
		}
		q, _ := parse(outward(t, b, t0, udp(host, other, "")), false)
		if (q.sport == p.sport) != row.samePort {
			t.Errorf("%s: ports %d and %d", row.kind, p.sport, q.sport)
		}
		if v := answer(b, t0, other, mapped); v != row.fromSecond {
			t.Errorf("%s: from the second remote: %s, want %s", row.kind, v, row.fromSecond)
		}
		if v := answer(b, t0, agent, mapped); v != Translated {
			t.Errorf("%s: from the first remote: %s", row.kind, v)
		}
	}
}

func TestTwoHostsWithTheSamePortGetTwoPorts(t *testing.T) {
	b := newBox(t, nil)
	p, _ := parse(outward(t, b, t0, udp(host, agent, "")), false)
	q, _ := parse(outward(t, b, t0, udp(second, agent, "")), false)
	if p.sport == q.sport {
		t.Error("both got ", p.sport)
	}
	in, _ := b.Inbound(t0, udp(agent, netip.AddrPortFrom(external, q.sport), "x"))
	same(t, "to the second", in, udp(agent, second, "x"))
}

//rfc:4787#4.3
func TestMappingTimesOutUnlessRefreshedFromInside(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MappingTimeout = 30 * time.Second })
	mapped := netip.AddrPortFrom(external, 40000)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	outward(t, b, at(0), udp(host, agent, ""))
	outward(t, b, at(25), udp(host, agent, "")) // keepalive
	if v := answer(b, at(54), agent, mapped); v != Translated {
		t.Error("29 s after the keepalive: ", v)
	}
	if v := answer(b, at(55), agent, mapped); v != NoMapping {
		t.Error("30 s after the keepalive, inbound traffic at 29 s: ", v)
	}
	if m := b.Mapping(at(55), 17, host); m.IsValid() {
		t.Error("the mapping is still shown: ", m)
	}
	outward(t, b, at(60), udp(host, agent, ""))
	if m := b.Mapping(at(60), 17, host); m != netip.AddrPortFrom(external, 40001) {
		t.Error("the new mapping is ", m)
	}
	if s := b.Stats(); s.Created != 2 || s.Expired != 1 || s.Mappings != 1 {
		t.Errorf("%+v", s)
	}
}

func TestPermissionOfARemoteTimesOutByItself(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MappingTimeout = 30 * time.Second })
	mapped := netip.AddrPortFrom(external, 40000)
	outward(t, b, t0, udp(host, other, ""))
	outward(t, b, t0.Add(20*time.Second), udp(host, agent, ""))
	if v := answer(b, t0.Add(31*time.Second), other, mapped); v != Filtered {
		t.Error(v)
	}
	if v := answer(b, t0.Add(31*time.Second), agent, mapped); v != Translated {
		t.Error(v)
	}
}

func TestRebindGivesOtherPortsAndForgetsTheOldOnes(t *testing.T) {
	for _, random := range []*rand.Rand{nil, rand.New(rand.NewPCG(4, 2))} {
		b := newBox(t, func(c *Config) { c.Rand, c.FirstPort = random, 65533 }) // three ports
		before, _ := parse(outward(t, b, t0, udp(host, agent, "")), false)
		b.Rebind()
		if v := answer(b, t0, agent, netip.AddrPortFrom(external, before.sport)); v != NoMapping {
			t.Error("the old port: ", v)
		}
		for _, h := range []netip.AddrPort{host, second} {
			p, _ := parse(outward(t, b, t0, udp(h, agent, "")), false)
			if p.sport == before.sport {
				t.Errorf("port %d again", p.sport)
			}
		}
	}
}

func TestPortsRunOut(t *testing.T) {
	b := newBox(t, func(c *Config) { c.FirstPort, c.MappingTimeout = 65535, time.Minute })
	outward(t, b, t0, udp(host, agent, ""))
	if _, v := b.Outbound(t0, udp(second, agent, "")); v != Exhausted {
		t.Error(v)
	}
	outward(t, b, t0, tcp(second, agent, "")) // ports of other protocols are their own
	outward(t, b, t0.Add(time.Minute), udp(second, agent, ""))
}

func TestOneMappingRemembersABoundedNumberOfRemotes(t *testing.T) {
	b := newBox(t, nil)
	var full int
	for i := range maxRemotes + 10 {
		if _, v := b.Outbound(t0, udp(host, netip.AddrPortFrom(agent.Addr(), uint16(i+1)), "")); v == Exhausted {
			full++
		}
	}
	if full != 10 {
		t.Error(full, " refused, want 10")
	}
}

func TestTunnelProtocolsNeedTheKnob(t *testing.T) {
	for _, protocol := range []uint8{4, 47, 55} {
		pkt := ip(protocol, host.Addr(), agent.Addr(), []byte("tunnelled"))
		back := ip(protocol, agent.Addr(), external, []byte("tunnelled"))
		closed := newBox(t, nil)
		if _, v := closed.Outbound(t0, pkt); v != Unsupported {
			t.Error(protocol, v)
		}
		if _, v := closed.Inbound(t0, back); v != Unsupported {
			t.Error(protocol, v)
		}
		b := newBox(t, func(c *Config) { c.Pass, c.MappingTimeout = []uint8{4, 47, 55}, time.Minute })
		if _, v := b.Inbound(t0, back); v != NoMapping {
			t.Error(protocol, " unasked: ", v)
		}
		same(t, "out", outward(t, b, t0, pkt), ip(protocol, external, agent.Addr(), []byte("tunnelled")))
		in, _ := b.Inbound(t0, back)
		same(t, "in", in, ip(protocol, agent.Addr(), host.Addr(), []byte("tunnelled")))
		if _, v := b.Outbound(t0, ip(protocol, second.Addr(), agent.Addr(), nil)); v != Exhausted {
			t.Error("a second host to the same agent: ", v)
		}
		if _, v := b.Inbound(t0.Add(time.Minute), back); v != NoMapping {
			t.Error("after the time-out: ", v)
		}
	}
}

//rfc:5508#4
func TestErrorsAreTranslatedWithWhatTheyQuote(t *testing.T) {
	router := netip.MustParseAddr("198.51.100.254")
	mapped := netip.AddrPortFrom(external, 40000)
	echoOut := icmp(8, 0, host.Addr(), agent.Addr(), 0x77_0001, []byte("ping"))
	echoMapped := icmp(8, 0, external, agent.Addr(), 40000<<16|1, []byte("ping"))
	for _, row := range []struct {
		name                       string
		sent, quoted, quotedInside []byte
	}{
		{"UDP", udp(host, agent, "data"), udp(mapped, agent, "data"), udp(host, agent, "data")},
		{"TCP", tcp(host, agent, "data"), tcp(mapped, agent, "data"), tcp(host, agent, "data")},
		{"TCP cut to eight octets", tcp(host, agent, "data"), tcp(mapped, agent, "data")[:28], tcp(host, agent, "data")[:28]},
		{"UDP cut to an odd length", udp(host, agent, "data"), udp(mapped, agent, "data")[:29], udp(host, agent, "data")[:29]},
		{"echo", echoOut, echoMapped, echoOut},
		{"IP in IP", ip(4, host.Addr(), agent.Addr(), make([]byte, 20)), ip(4, external, agent.Addr(), make([]byte, 20)), ip(4, host.Addr(), agent.Addr(), make([]byte, 20))},
	} {
		b := newBox(t, func(c *Config) { c.Pass = []uint8{4} })
		outward(t, b, t0, row.sent)
		in, v := b.Inbound(t0, icmp(12, 0, router, external, 9<<24|1400, row.quoted))
		if v != Translated {
			t.Errorf("%s: %s", row.name, v)
			continue
		}
		same(t, row.name, in, icmp(12, 0, router, host.Addr(), 9<<24|1400, row.quotedInside))
	}
}

func TestErrorsFromInsideShowTheExternalEndpoint(t *testing.T) {
	mapped := netip.AddrPortFrom(external, 40000)
	b := newBox(t, nil)
	outward(t, b, t0, udp(host, agent, "request"))
	got := udp(agent, host, "answer")
	inner := netip.MustParseAddr("192.168.1.1")
	for _, src := range []netip.Addr{host.Addr(), inner} {
		out := outward(t, b, t0, icmp(3, 3, src, agent.Addr(), 0, got))
		same(t, "port unreachable", out, icmp(3, 3, external, agent.Addr(), 0, udp(agent, mapped, "answer")))
	}
	if _, v := b.Outbound(t0, icmp(3, 3, host.Addr(), other.Addr(), 0, udp(other, host, "never came"))); v != Filtered {
		t.Error("about a packet that never came: ", v)
	}
}

func TestForgedErrorsAreNotForwarded(t *testing.T) {
	router := netip.MustParseAddr("198.51.100.254")
	mapped := netip.AddrPortFrom(external, 40000)
	b := newBox(t, nil)
	outward(t, b, t0, udp(host, agent, "data"))
	later := udp(mapped, agent, "data")
	later[7] = 1
	for _, row := range []struct {
		name  string
		quote []byte
		want  Verdict
	}{
		{"no such port", udp(netip.AddrPortFrom(external, 41000), agent, "data"), NoMapping},
		{"never sent there", udp(mapped, other, "data"), Filtered},
		{"another source", udp(host, agent, "data"), NoMapping},
		{"too short", udp(mapped, agent, "data")[:27], Malformed},
		{"later fragment", later, Malformed},
		{"an error in an error", icmp(3, 3, external, agent.Addr(), 0, make([]byte, 28)), Malformed},
		{"nothing", nil, Malformed},
	} {
		if _, v := b.Inbound(t0, icmp(3, 1, router, external, 0, row.quote)); v != row.want {
			t.Errorf("%s: %s, want %s", row.name, v, row.want)
		}
	}
	for _, kind := range []uint8{5, 9, 13, 17} {
		if _, v := b.Inbound(t0, icmp(kind, 0, router, external, 0, make([]byte, 28))); v != Unsupported {
			t.Error("ICMP type ", kind, ": ", v)
		}
	}
	if _, v := b.Inbound(t0, icmp(8, 0, router, external, 1, nil)); v != NoMapping {
		t.Error("echo request from outside: ", v)
	}
}

// fragmentsOf cuts a packet in two after at octets of payload.
func fragmentsOf(pkt []byte, id uint16, at int) (first, later []byte) {
	cut := func(payload []byte, field uint16) []byte {
		b := append(bytes.Clone(pkt[:20]), payload...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], id)
		binary.BigEndian.PutUint16(b[6:], field)
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], sum(b[:20]))
		return b
	}
	return cut(pkt[20:20+at], 0x2000), cut(pkt[20+at:], uint16(at/8))
}

//rfc:4787#11
func TestFragmentsFollowTheFirst(t *testing.T) {
	mapped := netip.AddrPortFrom(external, 40000)
	first, later := fragmentsOf(udp(host, agent, "0123456789abcdef"), 7, 16)
	wantFirst, wantLater := fragmentsOf(udp(mapped, agent, "0123456789abcdef"), 7, 16)
	b := newBox(t, nil)
	if _, v := b.Outbound(t0, later); v != LoneFragment {
		t.Error("before the first: ", v)
	}
	same(t, "first", outward(t, b, t0, first), wantFirst)
	same(t, "later", outward(t, b, t0, later), wantLater)
	if _, v := b.Outbound(t0.Add(fragmentTimeout), later); v != LoneFragment {
		t.Error("after the time-out: ", v)
	}
	inFirst, inLater := fragmentsOf(udp(agent, mapped, "0123456789abcdef"), 8, 16)
	wantFirst, wantLater = fragmentsOf(udp(agent, host, "0123456789abcdef"), 8, 16)
	if _, v := b.Inbound(t0, inLater); v != LoneFragment {
		t.Error("inbound before the first: ", v)
	}
	got, _ := b.Inbound(t0, inFirst)
	same(t, "inbound first", got, wantFirst)
	got, _ = b.Inbound(t0, inLater)
	same(t, "inbound later", got, wantLater)
}

func TestFragmentTableIsBounded(t *testing.T) {
	b := newBox(t, nil)
	whole := udp(host, agent, "0123456789abcdef")
	for id := range maxFragmented {
		first, _ := fragmentsOf(whole, uint16(id), 16)
		outward(t, b, t0, first)
	}
	first, _ := fragmentsOf(whole, maxFragmented, 16)
	if _, v := b.Outbound(t0, first); v != Exhausted {
		t.Error(v)
	}
	outward(t, b, t0.Add(fragmentTimeout), first)
}

func TestMisdirectedPacketsAreDropped(t *testing.T) {
	b := newBox(t, nil)
	for name, pkt := range map[string][]byte{
		"foreign source":   udp(other, agent, ""),
		"inside to inside": udp(host, second, ""),
		"hairpin":          udp(host, netip.AddrPortFrom(external, 40000), ""),
	} {
		if _, v := b.Outbound(t0, pkt); v != Misdirected {
			t.Error(name, ": ", v)
		}
	}
	if _, v := b.Inbound(t0, udp(agent, host, "")); v != Misdirected {
		t.Error("inbound to the inside address: ", v)
	}
	if s := b.Stats(); s.Outbound[Misdirected] != 3 || s.Outbound.Dropped() != 3 || s.Inbound.Dropped() != 1 || s.Mappings != 0 {
		t.Errorf("%+v", s)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	good := Config{External: external, Inside: netip.MustParsePrefix("192.168.1.0/24")}
	for name, change := range map[string]func(*Config){
		"no external":      func(c *Config) { c.External = netip.Addr{} },
		"IPv6 external":    func(c *Config) { c.External = netip.MustParseAddr("2001:db8::1") },
		"no inside":        func(c *Config) { c.Inside = netip.Prefix{} },
		"external inside":  func(c *Config) { c.External = host.Addr() },
		"unknown kind":     func(c *Config) { c.Kind = 9 },
		"negative timeout": func(c *Config) { c.MappingTimeout = -1 },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Error(name, " was accepted")
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

func TestSameSeedGivesTheSamePorts(t *testing.T) {
	ports := func(seed uint64) (all []uint16) {
		b := newBox(t, func(c *Config) { c.Rand = rand.New(rand.NewPCG(seed, 0)) })
		for i := range 50 {
			p, _ := parse(outward(t, b, t0, udp(netip.AddrPortFrom(host.Addr(), uint16(i+1)), agent, "")), false)
			all = append(all, p.sport)
		}
		return all
	}
	if d := cmp.Diff(ports(1), ports(1)); d != "" {
		t.Error(d)
	}
	if cmp.Equal(ports(1), ports(2)) {
		t.Error("another seed made no difference")
	}
}

// FuzzBox sends anything through a box in both directions: no panic, and what comes out is an IPv4 packet of the same length
// with the right address.
func FuzzBox(f *testing.F) {
	mapped := netip.AddrPortFrom(external, 40000)
	first, later := fragmentsOf(udp(host, agent, "0123456789abcdef"), 7, 16)
	for _, pkt := range [][]byte{
		udp(host, agent, "x"), udp(agent, mapped, "x"), tcp(host, agent, "x"), first, later,
		icmp(3, 4, agent.Addr(), external, 1400, udp(mapped, agent, "x")),
		icmp(3, 3, host.Addr(), agent.Addr(), 0, udp(agent, host, "x")),
		icmp(8, 0, host.Addr(), agent.Addr(), 1<<16, nil), ip(4, host.Addr(), agent.Addr(), nil),
	} {
		f.Add(pkt)
	}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		b, err := New(Config{External: external, Inside: netip.MustParsePrefix("192.168.1.0/24"), FirstPort: 40000, Pass: []uint8{4}})
		if err != nil {
			t.Fatal(err)
		}
		b.Outbound(t0, udp(host, agent, ""))
		if out, v := b.Outbound(t0, pkt); v == Translated {
			p, ok := parse(out, false)
			if !ok || p.src != external || len(out) > len(pkt) {
				t.Errorf("out %x", out)
			}
		} else if out != nil {
			t.Error("a dropped packet came out")
		}
		if in, v := b.Inbound(t0, pkt); v == Translated {
			p, ok := parse(in, false)
			if !ok || !b.Inside().Contains(p.dst) || len(in) > len(pkt) {
				t.Errorf("in %x", in)
			}
		} else if in != nil {
			t.Error("a dropped packet came in")
		}
	})
}
