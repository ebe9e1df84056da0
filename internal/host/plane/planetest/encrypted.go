package planetest

import (
	"bytes"
	"crypto/ecdh"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/plane/tun"
	"careof/wire/encap"
)

// The two ends' keys.
var agentSecret, mobileSecret = tun.Secret{0: 8, 1: 1, 31: 64}, tun.Secret{0: 8, 1: 2, 31: 64}

// encrypted is a tunnel that the owner of a secret is at the other end of.
func encrypted(other tun.Secret) forward.Tunnel {
	key, err := ecdh.X25519().NewPrivateKey(other[:])
	if err != nil {
		panic(err)
	}
	return forward.Tunnel{Encap: encap.UDP, Inside: encap.WireGuard, PeerKey: forward.KeyOf([32]byte(key.PublicKey().Bytes()))}
}

// An encrypted tunnel carries what others do, TCP and broadcasts and groups;
// nobody on the way can read it, and nothing is taken from it that did not come
// out of the cipher.
func testEncrypted(t *testing.T, open Open) {
	s := NewScene(t, open, 1440)
	far, near := AtAgent(encrypted(mobileSecret)), AtMobile(encrypted(agentSecret))
	Put(t, s.Mobile, listening(near))
	Put(t, s.Agent, asking(far))
	t.Run("TCP", func(t *testing.T) { s.transferBoth(t, 1<<20) })
	t.Run("on the way", func(t *testing.T) {
		wire, out := tap(t, s.R, "eth1"), tap(t, s.MN, Device)
		for i := range 5 {
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 300+i))
			if await(out, between(Correspondent, Home)) == nil {
				t.Fatal("nothing came out")
			}
		}
		home := Home.As4()
		seen := 0
		for p := wire(); p != nil; p = wire() {
			if bytes.Contains(p, home[:]) || bytes.Contains(p, make([]byte, 100)) {
				t.Fatalf("to be read on the way: % x", p)
			}
			seen++
		}
		if seen < 5 {
			t.Errorf("%d packets were on the way", seen)
		}
	})
	t.Run("in the clear", func(t *testing.T) {
		out := tap(t, s.CN, "eth0")
		inner := UDPPacket(Home, Correspondent, 100)
		strangers := s.Agent.Strangers()
		for _, shape := range Shapes {
			SendRaw(t, s.R, forge(t, header(shape.T, CareOf, Agent), inner))
		}
		until(t, "packets that are all counted as strangers'", func() bool { return s.Agent.Strangers()-strangers >= uint64(len(Shapes)) })
		if p := first(out, between(Home, Correspondent)); p != nil {
			t.Errorf("taken: % x", p)
		}
	})
	t.Run("list", func(t *testing.T) {
		for e := range s.Agent.List(t.Context()) {
			if len(e.Tunnels) != 1 || e.Tunnels[0].PeerKey != far.PeerKey {
				t.Error(fmt.Sprint("listed: ", e))
			}
		}
	})
	t.Run("for many", func(t *testing.T) {
		s.listen() // the correspondent is then on the home link, and reaches the node no more
		from, to := socket(t, s.CN, "eth0", neighbor.String()+":2200"), socket(t, s.MN, Device, "0.0.0.0:2100")
		member(t, to, s.MN, Device, unix.IP_ADD_MEMBERSHIP)
		until(t, "membership", func() bool { return slices.Contains(s.Agent.Groups(AgentKey), group) })
		for _, dst := range []netip.Addr{limited, directed, group} {
			say(t, from, dst, dst.String())
			if got, src := hear(to); got != dst.String() || src != neighbor {
				t.Errorf("%v: the node heard %q from %v", dst, got, src)
			}
		}
		back, there := socket(t, s.MN, Device, Home.String()+":2200"), socket(t, s.CN, "eth0", "0.0.0.0:2100")
		say(t, back, directed, "from the node")
		if got, src := hear(there); got != "from the node" || src != Home {
			t.Errorf("the home link heard %q from %v", got, src)
		}
	})
}
