package bpf

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"

	"careof/wire/encap"
)

// tcRedirect is TC_ACT_REDIRECT.
const tcRedirect = 7

// Supported tells whether this process may load the programs here and they
// do what they should: they are run once on packets made for it. The answer is
// kept. Errors: ErrUnsupported.
var Supported = sync.OnceValue(func() error {
	o, err := load(8, "")
	if err != nil {
		return err
	}
	defer o.close()
	if err := try(o); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil
})

// SupportedAgain is [Supported] for a daemon that may have been here before. Where
// an earlier process with the same programs found that they work, it left word
// beside its pins, which do not outlive the kernel that they are about; verifying
// the programs a second time is most of what a small daemon's start costs.
func SupportedAgain(base, device string) error {
	if base == "" {
		return Supported()
	}
	dir, err := pinDirectory(base, device)
	if err != nil {
		return Supported() // Open has to say what is wrong
	}
	sum := sha256.Sum256(object)
	word := filepath.Join(dir, fmt.Sprintf("proven_%x", sum[:8]))
	if _, err := os.Stat(word); err == nil {
		return nil
	}
	if err := Supported(); err != nil {
		os.Remove(dir) // made for nothing; what is not empty stays
		return err
	}
	// Without it the next start tries again.
	_ = os.Mkdir(word, 0o700)
	return nil
}

func try(o *objects) error {
	s, err := openSlots(o.Slots)
	if err != nil {
		return err
	}
	defer s.close()
	// The source address is chosen for encapsulate: a test gives programs
	// packets with an Ethernet header, and this one expects none. With 8.0 in
	// the place of the type an IPv4 header passes for an Ethernet header.
	near, far := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	home, other := netip.MustParseAddr("8.0.0.2"), netip.MustParseAddr("192.0.2.9")
	b := bindingValue{Slot: s.take(), Flags: bindingMobile, Tunnels: 1}
	b.Tunnel[0] = tunnelValue{
		Local: near.As4(), Peer: far.As4(), Link: 1, MTU: 1400,
		Kind: uint8(encap.IPIP), Overhead: 20, Flags: tunnelSends | tunnelReceives,
	}
	s.at(b.Slot).setUntil(0, ^uint64(0))
	if err := o.Mobiles.Put(home.As4(), &b); err != nil {
		return err
	}
	if err := o.Settings.Put(uint32(0), &settingsValue{Device: 1, Mobiles: hasNodes | 1}); err != nil {
		return err
	}
	packet := func(src, dst netip.Addr) []byte {
		p, err := encap.AppendUDP(nil, encap.IPv4{TTL: 64}, netip.AddrPortFrom(src, 1), netip.AddrPortFrom(dst, 2), make([]byte, 100))
		if err != nil {
			panic("bpf: probe: " + err.Error())
		}
		return p
	}
	out := packet(home, other)
	if err := expect(o.Encapsulate, "encapsulate", out, len(out)+14+20); err != nil {
		return err
	}
	h := encap.Header{Kind: encap.IPIP, Src: far, Dst: near}
	in, err := encap.Append(make([]byte, 12), &h, packet(other, home))
	if err != nil {
		return err
	}
	in = append(append(make([]byte, 12), 8, 0), in[12:]...)
	return expect(o.DecapsulateEther, "decapsulate", in, len(in)-20)
}

// expect runs a program on a packet, which it must redirect with another
// length.
func expect(p *ebpf.Program, name string, in []byte, want int) error {
	action, out, err := p.Test(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if action != tcRedirect || len(out) != want {
		return fmt.Errorf("%s: action %d and %d octets, want %d and %d", name, int32(action), len(out), tcRedirect, want)
	}
	return nil
}
