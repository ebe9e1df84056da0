package flood

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"careof/internal/lab/netns"
)

// variety is how many different forged requests there are.
const variety = 1 << 14

// An attack is a generator: a host of its own on a segment, with one goroutine
// that sends frames of ever other stations.
type attack struct {
	frames  [][]byte
	fd      int
	to      unix.SockaddrLinklayer
	carried atomic.Int64 // frames that the segment took to the victim

	untap func()
	quit  chan struct{}
	done  sync.WaitGroup
	once  sync.Once
	err   error
}

// attack prepares a flood of a node's interface by so many stations.
func (r *run) attack(segment, victim, iface string, stations int, forge func(*rand.Rand) ([]byte, error)) (*attack, error) {
	luck := rand.New(rand.NewPCG(r.Seed, 66))
	target := r.lab.Port(victim, iface).MAC()
	a := &attack{quit: make(chan struct{})}
	for i := range variety {
		p, err := forge(luck)
		if err != nil {
			return nil, fmt.Errorf("flood: %w", err)
		}
		n := i % stations
		station := netns.MAC{2, 0x66, 0, 0, byte(n >> 8), byte(n)}
		frame := append(append(append(make([]byte, 0, 14+len(p)), target[:]...), station[:]...), 8, 0)
		a.frames = append(a.frames, append(frame, p...))
	}
	r.attacks++
	node, err := r.lab.Network.NewNode(fmt.Sprintf("attacker%d", r.attacks), netns.NodeConfig{})
	if err != nil {
		return nil, err
	}
	network := r.lab.Topology.Segment(segment).Network
	octets := network.Addr().As4()
	octets[3] += byte(65 + r.attacks)
	s := r.lab.Segment(segment)
	if _, err := node.Attach(s, "eth0", netns.PortConfig{Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(octets), network.Bits())}}); err != nil {
		return nil, err
	}
	err = node.Do(func() (err error) {
		index, err := interfaceIndex("eth0")
		if err != nil {
			return err
		}
		a.to = unix.SockaddrLinklayer{Ifindex: index, Halen: 6}
		// Protocol 0: it sends, and hears nothing.
		a.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("flood: packet socket: %w", err)
	}
	a.untap = s.Tap(func(f netns.Frame) {
		if len(f.Data) > 14 && f.Data[6] == 2 && f.Data[7] == 0x66 && f.Fate == netns.Carried {
			a.carried.Add(1)
		}
	})
	return a, nil
}

func interfaceIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	q, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, q)
	return int(q.Uint32()), err
}

func (a *attack) start() {
	a.done.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-a.quit:
				return
			default:
			}
			// A full queue loses what a full link would lose.
			err := unix.Sendto(a.fd, a.frames[i%len(a.frames)], 0, &a.to)
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) {
				a.err = fmt.Errorf("flood: send: %w", err)
				return
			}
		}
	})
}

// stop ends the flood and tells what went wrong with it.
func (a *attack) stop() error {
	a.once.Do(func() {
		close(a.quit)
		a.done.Wait()
		a.untap()
		unix.Close(a.fd)
	})
	return a.err
}
