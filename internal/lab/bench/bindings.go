package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// Bound is what a packet costs among so many bindings.
type Bound struct {
	Bindings  int     `json:"bindings"`
	Program   Spread  `json:"program_ns"` // one run of the program, by the kernel's own count
	CPU       Spread  `json:"cpu_us"`     // of one packet from its sender to the router, which drops it
	PerSecond float64 `json:"installed_per_second"`
}

// MostBindings fit into 10.128.0.0/9, and into the capacity.
const MostBindings = 1 << 20

// bindings installs ever more of them at the home agent, each with a care-of
// address of its own, and measures packets to home addresses at random.
func bindings(ctx context.Context, w *way, o Options) (out []Bound, err error) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("bench: run time of programs: %w", err)
	}
	defer stats.Close()
	n := w.network
	if err := n.ha.Do(func() error { return leadTo("10.128.0.0/9", device, 0) }); err != nil {
		return nil, err
	}
	if err := n.r.Do(func() error { return leadTo("100.0.0.0/8", "", unix.RTN_BLACKHOLE) }); err != nil {
		return nil, err
	}
	home := func(i int) netip.Addr {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|128<<16+uint32(i))
		return netip.AddrFrom4(a)
	}
	program := w.agent.Programs()[0]
	have := 0
	numbers := slices.Clone(o.Bindings)
	slices.Sort(numbers)
	for _, want := range slices.Compact(numbers) {
		fmt.Fprintf(o.Tell, "bindings: %d\n", want)
		b := Bound{Bindings: want}
		start, added := time.Now(), want-have
		for have < want {
			changes := make([]forward.Change, 0, 1000)
			for ; have < want && len(changes) < cap(changes); have++ {
				at := home(have).As4()
				at[0] = 100
				changes = append(changes, forward.Change{Op: forward.Put, Entry: forward.Entry{
					Key: forward.Key(home(have).String()), Role: forward.HomeAgent, Inner: netip.PrefixFrom(home(have), 32),
					Tunnels: []forward.Tunnel{{
						Encap: encap.IPIP, Local: netip.AddrPortFrom(agent, 0), Peer: netip.AddrPortFrom(netip.AddrFrom4(at), 0),
					}},
				}})
			}
			if err := errors.Join(w.agent.Apply(ctx, changes), ctx.Err()); err != nil {
				return nil, err
			}
		}
		b.PerSecond = float64(added) / time.Since(start).Seconds()
		x := uint32(1)
		random := func(int) netip.Addr {
			x = x*1664525 + 1013904223
			return home(int(uint64(x) * uint64(want) >> 32))
		}
		var ns, us []float64
		for range o.Rounds {
			before, err := program.Stats()
			if err != nil {
				return nil, err
			}
			spent := used()
			if err := flood(ctx, n.cn, random, o.Time); err != nil {
				return nil, err
			}
			after, err := program.Stats()
			if err != nil {
				return nil, err
			}
			runs := float64(after.RunCount - before.RunCount)
			ns = append(ns, float64((after.Runtime-before.Runtime).Nanoseconds())/runs)
			us = append(us, float64((used()-spent).Nanoseconds())/1e3/runs)
		}
		b.Program, b.CPU = spread(ns), spread(us)
		out = append(out, b)
	}
	return out, nil
}

// leadTo adds a route in the calling thread's namespace.
func leadTo(prefix, link string, kind int) error {
	dst, err := netlink.ParseIPNet(prefix)
	if err != nil {
		return err
	}
	r := &netlink.Route{Dst: dst, Type: kind}
	if link != "" {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		r.LinkIndex, r.Scope = l.Attrs().Index, netlink.SCOPE_LINK
	}
	return netlink.RouteReplace(r)
}
