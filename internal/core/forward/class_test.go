package forward

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"careof/wire/encap"
)

func TestClasses(t *testing.T) {
	packet := func(tos byte, to string) []byte {
		from := netip.MustParseAddrPort("10.10.0.5:5060")
		p, err := encap.AppendUDP(nil, encap.IPv4{TOS: tos}, from, netip.MustParseAddrPort(to), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		words string
		holds bool
	}{
		{"dscp ef", true}, {"dscp 46", true}, {"dscp cs1", false}, {"udp 5060", true}, {"udp 7", true}, {"udp 8", false}, {"tcp 7", false},
		{"net 203.0.113.0/24", true}, {"net 203.0.112.0/24", false},
	} {
		class, err := ParseClass(c.words)
		if err != nil {
			t.Fatal(err)
		}
		if class.Holds(packet(46<<2|1, "203.0.113.9:7")) != c.holds {
			t.Errorf("%s holds it: %v", c.words, !c.holds)
		}
		back, err := ParseClasses(class.Append(nil), 1)
		if err != nil || len(back) != 1 || back[0] != class {
			t.Errorf("%s came back as %v %v", c.words, back, err)
		}
	}
	for _, words := range []string{"", "ef", "dscp 64", "dscp", "udp 0", "udp 65536", "net 203.0.113.1/24", "net 2001:db8::/32"} {
		if class, err := ParseClass(words); err == nil {
			t.Errorf("%q is %v", words, class)
		}
	}
}

// Of two copies one is fresh, in whatever order they come, as long as they are
// no further apart than the window; also where the numbers begin anew.
func TestOneOfTwoCopiesIsFresh(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s Sequence
	first := uint32(1<<32 - 3000) // passes zero
	var line []uint32
	for n := range uint32(6000) {
		line = append(line, first+n)
		if n >= 200 {
			line = append(line, first+n-200)
		}
	}
	for i := range line[:len(line)-300] {
		j := i + rng.IntN(300)
		line[i], line[j] = line[j], line[i]
	}
	fresh := map[uint32]int{}
	for i, n := range line {
		if s.Fresh(n, int64(i)) {
			fresh[n]++
		}
	}
	for n := range uint32(5000) {
		if fresh[first+n] != 1 {
			t.Fatalf("number %d is fresh %d times", first+n, fresh[first+n])
		}
	}
	if s.Fresh(7, int64(len(line))) || !s.Fresh(7, int64(len(line))+sequenceAnew+1e9) || s.Fresh(7, 1e12) || !s.Fresh(8, 1e12) {
		t.Error("after a restart of the other end")
	}
}
