package tun

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// While everything is copied in the clear, a packet that does not fit with its number,
// or not into the narrower of the two paths, goes one way only, and its sender is told
// how long those are that would go both; those then do. So a full segment is lost once
// at most when a path dies. What may be cut is nobody told of.
//
//rfc:2003#5.1
func TestWhoSendsWhatIsTooLongToBeCopiedIsTold(t *testing.T) {
	everything, err := forward.ParseClass("net 0.0.0.0/0")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ first, second, longest int }{
		"two paths as wide":       {0, 0, 1460},
		"the first is narrow":     {1300, 0, 1292},
		"the second is narrower":  {1400, 1200, 1192},
		"the second can be wider": {1200, 1400, 1192},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			one := forward.Tunnel{
				Local: netip.AddrPortFrom(careOf, mnPort), Peer: netip.AddrPortFrom(haAddr, encap.Port), Link: "wlan0", Encap: encap.UDP, Copies: true, MTU: c.first,
			}
			two := one
			two.Local, two.Link, two.Mode, two.MTU = netip.AddrPortFrom(otherCareOf, mnPort), "lte0", forward.Receive, c.second
			e := mobileEntry(one, two)
			e.Redundant, e.Numbered = []forward.Class{everything}, true
			b.put(e)
			const headers = 28
			sent := func(octets int, change ...func(*encap.IPv4)) (ways int, told uint16) {
				before := len(b.udp)
				b.fromKernel(udpPacket(homeAddr, cnAddr, octets-headers, change...))
				select {
				case p := <-b.raw.out:
					kind, code := icmpOf(p)
					if kind != 3 || code != 4 || word4(p[16:20]) != homeAddr {
						t.Fatalf("% x", p)
					}
					told = binary.BigEndian.Uint16(p[26:])
				default:
				}
				return len(b.udp) - before, told
			}
			if ways, told := sent(c.longest, setDF); ways != 2 || told != 0 {
				t.Errorf("%d octets go %d ways, and the sender was told %d", c.longest, ways, told)
			}
			if ways, told := sent(c.longest+1, setDF); ways != 1 || int(told) != c.longest {
				t.Errorf("%d octets go %d ways, and the sender was told %d", c.longest+1, ways, told)
			}
			if ways, told := sent(c.longest + 1); ways != 1 || told != 0 {
				t.Errorf("what may be cut goes %d ways, and the sender was told %d", ways, told)
			}
			if got := b.p.Totals(); got.Copied != 1 || got.CopiedBytes != uint64(c.longest) {
				t.Errorf("%d packets of %d octets went over another path besides", got.Copied, got.CopiedBytes)
			}
		})
	}
}
