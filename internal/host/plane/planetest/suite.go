package planetest

import (
	"testing"

	"careof/internal/core/forward"
	"careof/internal/host/offload"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// A duty is one thing that a plane must do.
type duty struct {
	name string
	run  func(t *testing.T, open Open)
}

// duties is the table of the design (data plane, RFC duties), and ours.
var duties = []duty{
	{"TCP through every encapsulation", testTCP},
	{"TCP cut to wire size", testSegments},
	{"TCP merged by drivers", testMerged},
	{"device MTU", testDeviceMTU},
	{"tunnel MTU", testTunnelMTU},
	{"path MTU", testPathMTU},
	{"probes", testProbes},
	{"unreachable inside the tunnel", testUnreachable},
	{"forged fragmentation needed", testForgedTooBig},
	{"outer header", testOuterHeader},
	{"TTL", testTTL},
	{"ECN", testECN},
	{"outer fragments", testOuterFragments},
	{"inner fragments", testInnerFragments},
	{"every part must match", testEveryPart},
	{"outer checksum", testOuterChecksum},
	{"simultaneous bindings", testSimultaneous},
	{"mobile network", testMobileNetwork},
	{"longest prefix", testLongestPrefix},
	{"end and extension", testUntil},
	{"a replaced tunnel drains", testDrain},
	{"an end that is not validated", testBudget},
	{"redundant packets", testCopies},
	{"half bound", testHalfBound},
	{"rebinding", testRebinding},
	{"keepalives", testKeepalives},
	{"loops", testLoops},
	{"unbound addresses", testUnbound},
	{"counters", testCounters},
	{"list", testList},
	{"two entries for one address", testShared},
	{"broadcasts", testBroadcasts},
	{"multicast", testMulticast},
	{"multicast from the node", testCastsFromNode},
	{"encrypted", testEncrypted},
	{"strangers", testStrangers},
	{"strangers where nobody is bound", testNobodyBound},
}

// Run runs the suite. Duties mostly wait for silence, and each has a network of its own.
func Run(t *testing.T, open Open) {
	for _, d := range duties {
		t.Run(d.name, func(t *testing.T) { t.Parallel(); d.run(t, open) })
	}
}

// A kernel's own TCP runs through every encapsulation, both ways.
//
//rfc:2003#3.1
//rfc:2004#3
//rfc:2784#2
//rfc:3519#3.3
func testTCP(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			s.transferBoth(t, 4<<20)
		})
	}
}

// transferBoth moves octets both ways and looks at the counters.
func (s *Scene) transferBoth(t *testing.T, n int64) {
	t.Helper()
	before, strangers := s.Agent.Counters(AgentKey), s.Agent.Strangers()
	Transfer(t, s.CN, Correspondent, s.MN, Home, n)
	Transfer(t, s.MN, Home, s.CN, Correspondent, n)
	after := s.Agent.Counters(AgentKey)
	if sent := after.SentBytes - before.SentBytes; sent < uint64(n) {
		t.Errorf("%d octets went into the tunnel, of at least %d", sent, n)
	}
	if got := after.ReceivedBytes - before.ReceivedBytes; got < uint64(n) {
		t.Errorf("%d octets came out of the tunnel, of at least %d", got, n)
	}
	// The last words of connections in the tunnel before this one may be late.
	if n := s.Agent.Strangers() - strangers; n > 10 {
		t.Errorf("%d packets of the tunnel were taken for strangers'", n)
	}
}

// eachLink does something at every end of the network, in its namespace.
func (s *Scene) eachLink(do func(link string)) {
	for _, end := range []struct {
		n    *nstest.Node
		link string
	}{{s.HA, "wan0"}, {s.HA, "lan0"}, {s.MN, "eth0"}, {s.CN, "eth0"}, {s.R, "eth0"}, {s.R, "eth1"}} {
		end.n.In(func() { do(end.link) })
	}
}

// The same with packets as they are on a wire: every device on the way cuts
// trains into packets.
func testSegments(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	s.eachLink(func(link string) { must(t, offload.Segment(link)) })
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			wan := tap(t, s.R, "eth1")
			s.transferBoth(t, 1<<20)
			longest := 0
			for p := wan(); p != nil; p = wan() {
				longest = max(longest, len(p))
			}
			if longest > 1500 || longest < 1000 {
				t.Errorf("the longest packet on the wire has %d octets", longest)
			}
		})
	}
}

// The same with drivers that merge again what they receive (GRO), as those of
// network cards do.
func testMerged(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	s.eachLink(func(link string) {
		must(t, offload.Segment(link))
		must(t, offload.Merge(link))
	})
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			s.transferBoth(t, 1<<20)
		})
	}
}

// Neither end takes packets whose outer header differs from its tunnel's in
// one thing.
//
//rfc:3024#4.3.2
//rfc:5944#4.2.3
func testEveryPart(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	out := tap(t, s.CN, "eth0")
	inner := UDPPacket(Home, Correspondent, 100)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			good := header(shape.T, CareOf, Agent)
			SendRaw(t, s.R, forge(t, good, inner))
			if await(out, between(Home, Correspondent)) == nil {
				t.Fatal("a good packet was not taken")
			}
			wrong := map[string]func(h *encap.Header, inner *[]byte){
				"outer source":      func(h *encap.Header, _ *[]byte) { h.Src = CareOf.Next() },
				"outer destination": func(h *encap.Header, _ *[]byte) { h.Dst = addr4([]byte{10, 9, 0, 1}) },
				"inner source":      func(_ *encap.Header, in *[]byte) { *in = UDPPacket(Home.Next(), Correspondent, 100) },
			}
			if shape.T.Encap != encap.Minimal && shape.T.Inside != encap.Minimal {
				wrong["inner TTL 0"] = func(_ *encap.Header, in *[]byte) { (*in)[8] = 0; fixSum(*in) }
				wrong["inner version"] = func(_ *encap.Header, in *[]byte) { (*in)[0] = 0x65; fixSum(*in) }
				wrong["inner checksum"] = func(_ *encap.Header, in *[]byte) { (*in)[10]++ }
			}
			switch {
			case shape.T.Encap == encap.UDP:
				wrong["source port"] = func(h *encap.Header, _ *[]byte) { h.SrcPort++ }
				wrong["destination port"] = func(h *encap.Header, _ *[]byte) { h.DstPort++ }
				wrong["what is inside"] = func(h *encap.Header, _ *[]byte) {
					h.Inner = encap.GRE
					if shape.T.Inside == encap.GRE {
						h.Inner = encap.IPIP
					}
				}
			default:
				wrong["protocol"] = func(h *encap.Header, _ *[]byte) {
					h.Kind = encap.IPIP
					if shape.T.Encap == encap.IPIP {
						h.Kind = encap.GRE
					}
				}
			}
			if shape.T.Encap == encap.GRE || shape.T.Inside == encap.GRE {
				if shape.T.HasKey {
					wrong["key"] = func(h *encap.Header, _ *[]byte) { h.Key++ }
					wrong["no key"] = func(h *encap.Header, _ *[]byte) { h.HasKey = false }
				} else {
					wrong["a key"] = func(h *encap.Header, _ *[]byte) { h.HasKey = true }
				}
			}
			for name, change := range wrong {
				h, in := good, append([]byte(nil), inner...)
				change(&h, &in)
				packet, err := encap.Append(nil, &h, in)
				if err != nil {
					// The encoder refuses what the test wants to forge: take
					// a good packet and put the bad one in its place.
					packet = forge(t, h, inner)
					copy(packet[len(packet)-len(in):], in)
				}
				taken := func(p []byte) bool { return addr4(p[16:]) == Correspondent && p[9] == 17 }
				if p := s.outwards(t, forward.Tunnel{Encap: h.Kind}, out, taken, packet); p != nil {
					t.Errorf("%s: taken: % x", name, p[:20])
				}
			}
		})
	}
}

// A UDP tunnel's datagram with a right checksum passes, and so does one without;
// with a bad one it goes nowhere.
//
//rfc:1122#4.1.3.4
func testOuterChecksum(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	shape := forward.Tunnel{Encap: encap.UDP}
	s.Bind(t, shape)
	out := tap(t, s.CN, "eth0")
	h := header(shape, CareOf, Agent)
	for i, test := range []struct {
		name   string
		change func(p []byte)
		passes bool
	}{
		{"right", func([]byte) {}, true},
		{"none", func(p []byte) { p[26], p[27] = 0, 0 }, true},
		{"another octet inside", func(p []byte) { p[len(p)-1] ^= 1 }, false},
		{"another checksum", func(p []byte) { p[26] ^= 1 }, false},
		{"right again", func([]byte) {}, true},
	} {
		size := 100 + i
		p := forge(t, h, UDPPacket(Home, Correspondent, size))
		test.change(p)
		SendRaw(t, s.R, p)
		if test.passes {
			got := await(out, func(p []byte) bool { return between(Home, Correspondent)(p) && len(p) == 28+size })
			if got == nil {
				t.Errorf("%s: not forwarded", test.name)
			}
			continue
		}
		// What comes behind it has passed it: nothing of it is to be seen then.
		last := forge(t, h, UDPPacket(Home, Correspondent, 50))
		SendRaw(t, s.R, last)
		var bad bool
		if await(out, func(p []byte) bool {
			ours := between(Home, Correspondent)(p)
			bad = bad || ours && len(p) == 28+size
			return ours && len(p) == 28+50
		}) == nil {
			t.Errorf("%s: the one behind it is not forwarded", test.name)
		}
		if bad {
			t.Errorf("%s: forwarded", test.name)
		}
	}
}

// fixSum makes an IPv4 header's checksum right.
func fixSum(p []byte) {
	p[10], p[11] = 0, 0
	sum := encap.Checksum(p[:20])
	p[10], p[11] = byte(sum>>8), byte(sum)
}

// Counters count inner packets and octets of an entry, whichever way they
// took, and outlive a change of its tunnels.
func testCounters(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			before := s.Agent.Counters(AgentKey)
			s.Bind(t, shape.T)
			had := s.Mobile.Counters(MobileKey)
			var packets [][]byte
			for range 10 {
				packets = append(packets, UDPPacket(Correspondent, Home, 72))
			}
			SendRaw(t, s.CN, packets...)
			until(t, "arrival", func() bool { return s.Mobile.Counters(MobileKey).ReceivedPackets >= had.ReceivedPackets+10 })
			after := s.Agent.Counters(AgentKey)
			if p, b := after.SentPackets-before.SentPackets, after.SentBytes-before.SentBytes; p != 10 || b != 1000 {
				t.Errorf("sent %d packets and %d octets, want 10 and 1000", p, b)
			}
			got := s.Mobile.Counters(MobileKey)
			if p, b := got.ReceivedPackets-had.ReceivedPackets, got.ReceivedBytes-had.ReceivedBytes; p != 10 || b != 1000 {
				t.Errorf("received %d packets and %d octets, want 10 and 1000", p, b)
			}
			if s.Agent.Use(AgentKey).Sent.IsZero() || s.Mobile.Use(MobileKey).Received.IsZero() {
				t.Error("not used?")
			}
		})
	}
	if c := s.Agent.Counters("nobody"); c != (forward.Counters{}) {
		t.Errorf("counters of no entry: %+v", c)
	}
}
