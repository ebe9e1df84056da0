package load

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// variety is how many different forged messages there are, and packets.
const variety = 4096

// forgeries are whole IP packets that a home agent must not be moved by.
type forgeries struct {
	messages [][]byte // to its signalling port
	packets  [][]byte // out of tunnels that nobody has
}

// forge makes forgeries. What they are answered with goes to the forger's
// socket, whatever address they come from.
func (s *soak) forge() (*forgeries, error) {
	luck := rand.New(rand.NewPCG(1, 66))
	port := s.forger.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	out := new(forgeries)
	for i := range variety {
		b, err := s.forgeMessage(luck, i)
		if err != nil {
			return nil, fmt.Errorf("load: %w", err)
		}
		p, err := encap.AppendUDP(nil, encap.IPv4{}, netip.AddrPortFrom(s.stranger(luck), port), s.bench.generator.to, b)
		if err != nil {
			return nil, fmt.Errorf("load: %w", err)
		}
		out.messages = append(out.messages, p)
		if p, err = s.forgePacket(luck, i); err != nil {
			return nil, fmt.Errorf("load: %w", err)
		}
		out.packets = append(out.packets, p)
	}
	return out, nil
}

// stranger is an address at which nobody is bound.
func (s *soak) stranger(luck *rand.Rand) netip.Addr { return careOfOf(s.Nodes + luck.IntN(1<<16)) }

// forgeMessage makes one message of each kind in turn.
func (s *soak) forgeMessage(luck *rand.Rand, i int) ([]byte, error) {
	node := luck.IntN(s.Nodes)
	request := mip4.RegistrationRequest{
		Flags: mip4.FlagD | mip4.FlagT, Lifetime: lifetime, HomeAddress: homeOf(node), HomeAgent: homeAgent,
		CareOfAddress: s.stranger(luck), Identification: assoc.Timestamp(time.Now()),
	}
	octets := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(luck.Uint32())
		}
		return b
	}
	// old is authentic: the node has sent it an hour ago.
	old, err := s.bench.fleet.request(nil, node, time.Now().Add(-time.Hour))
	if err != nil {
		return nil, err
	}
	made := append(binary.BigEndian.AppendUint32([]byte{byte(mip4.ExtMobileHome), 4 + 32}, spi), octets(32)...)
	switch i % 8 {
	case 0: // a known node, with an authenticator that is made up
		return mip4.NewRequest(request).AddRaw(mip4.ZoneForeign, made).Seal()
	case 1: // a node that nobody knows
		request.HomeAddress = homeOf(s.Nodes + node)
		return mip4.NewRequest(request).AddRaw(mip4.ZoneForeign, made).Seal()
	case 2: // a replay
		return old, nil
	case 3: // one that is cut off
		return old[:luck.IntN(len(old))], nil
	case 4: // one with a bit that has turned
		at := 1 + luck.IntN(len(old)-1)
		old[at] ^= 1 << luck.IntN(8)
		return old, nil
	case 5: // anything
		return octets(1 + luck.IntN(300)), nil
	case 6: // replies, revocations and whatever else begins with a known type
		b := octets(20 + luck.IntN(100))
		b[0] = byte(mip4.TypeRegistrationReply) + byte(luck.IntN(16))
		return b, nil
	}
	// extensions whose lengths are not true
	return append(old[:24:24], octets(1+luck.IntN(200))...), nil
}

// forgePacket makes one tunnel packet of each kind in turn. Each carries a
// packet to the correspondent node from a talker, as far as it says.
func (s *soak) forgePacket(luck *rand.Rand, i int) ([]byte, error) {
	talker, other := luck.IntN(talkers), talkers+luck.IntN(s.Nodes-talkers)
	to := netip.AddrPortFrom(correspondent, s.peerPort())
	from := homeOf(talker)
	outer := encap.Header{Kind: encap.IPIP, Src: s.stranger(luck), Dst: homeAgent, SrcPort: encap.Port, DstPort: encap.Port}
	kinds := encap.Kinds()
	switch i % 8 {
	case 0, 1, 2, 3: // by a stranger, in each encapsulation
		outer.Kind = kinds[i%8%len(kinds)]
	case 4: // by a node, in another's name
		outer.Src = careOfOf(other)
	case 5: // by the node, in an encapsulation that it does not have
		outer.Src, outer.Kind = careOfOf(talker), []encap.Kind{encap.GRE, encap.Minimal, encap.UDP}[luck.IntN(3)]
	case 6: // by the node, to another address of the host
		outer.Src, outer.Dst = careOfOf(talker), correspondent
	case 7: // by the node, from an address that it does not have
		outer.Src, from = careOfOf(talker), homeOf(other)
	}
	inner, err := encap.AppendUDP(nil, encap.IPv4{}, netip.AddrPortFrom(from, 9), to, []byte(forgedPayload))
	if err != nil {
		return nil, err
	}
	p, err := encap.Append(nil, &outer, inner)
	if err == nil && i%64 == 63 { // and some are cut off
		p = p[:20+luck.IntN(len(p)-20)]
	}
	return p, err
}

func (s *soak) peerPort() uint16 { return s.peer.LocalAddr().(*net.UDPAddr).AddrPort().Port() }
