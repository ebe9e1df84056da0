package bpf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"careof/internal/core/forward"
)

// adopt reads the pinned bindings.
func (p *Plane) adopt() error {
	used := make([]bool, len(p.slots.all))
	for n := range 4 {
		role := forward.HomeAgent
		if n&1 != 0 {
			role = forward.MobileNode
		}
		err := eachBinding(p.table(n), n >= 2, func(bits uint8, addr [4]byte, b *bindingValue) {
			p.left.put(place{role, bits, addr}, p.leftoverOf(b))
			p.counts[n]++
			if int64(b.Slot) < int64(len(used)) {
				used[b.Slot] = true
			}
		})
		if err != nil {
			return fmt.Errorf("bpf: read bindings: %w", err)
		}
	}
	p.slots.reserve(used)
	return nil
}

// readBatch is how many bindings one system call reads.
const readBatch = 4096

func eachBinding(m *ebpf.Map, prefixes bool, yield func(bits uint8, addr [4]byte, b *bindingValue)) error {
	if prefixes {
		var k netKey
		var b bindingValue
		it := m.Iterate()
		for it.Next(&k, &b) {
			yield(uint8(k.Bits), k.Addr, &b)
		}
		return it.Err()
	}
	var cursor ebpf.MapBatchCursor
	keys := make([][4]byte, min(readBatch, m.MaxEntries()))
	values := make([]bindingValue, len(keys))
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			yield(32, keys[i], &values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// List implements [forward.Plane]: the entries that were applied, and what an
// earlier process pinned and nobody has applied since. Of the latter only what
// programs need is known, and so neither Routes nor Intercept.
func (p *Plane) List(ctx context.Context) iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		left := p.leftEntries()
		for e := range p.slow.List(ctx) {
			for len(left) > 0 && left[0].Key < e.Key {
				if !yield(left[0]) {
					return
				}
				left = left[1:]
			}
			if !yield(e) {
				return
			}
		}
		for _, e := range left {
			if ctx.Err() != nil || !yield(e) {
				return
			}
		}
	}
}

// lookupBinding reads a pinned binding.
func (p *Plane) lookupBinding(at place, b *bindingValue) error {
	m := p.table(at.table())
	if at.bits == 32 {
		return m.Lookup(at.addr, b)
	}
	return m.Lookup(netKey{uint32(at.bits), at.addr}, b)
}

func (p *Plane) leftEntries() []forward.Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make(map[int]string)
	name := func(index int) string {
		if n, ok := names[index]; ok {
			return n
		}
		var n string
		p.space.Do(func() error {
			l, err := netlink.LinkByIndex(index)
			if err == nil {
				n = l.Attrs().Name
			}
			return err
		})
		names[index] = n
		return n
	}
	var out []forward.Entry
	for at := range p.left.all() {
		var b bindingValue
		if p.lookupBinding(at, &b) == nil {
			out = append(out, b.entry(at, p.slots.at(b.Slot), name))
		}
	}
	slices.SortFunc(out, func(a, b forward.Entry) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// Reconcile removes what an earlier process pinned and nobody has applied
// since, and pins again what somebody has removed; where that fails, which
// [Plane.Trouble] tells, packets flow all the same. Call it once the entries
// that outlived a restart have been applied.
func (p *Plane) Reconcile() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	var errs []error
	for at, b := range p.left.all() {
		if err := p.unset(at); err != nil {
			errs = append(errs, fmt.Errorf("bpf: %v: %w", at.prefix(), err))
			continue
		}
		p.slots.give(b.slot)
		p.left.drop(at)
	}
	if !p.swept {
		err := p.sweep()
		if p.swept = true; errors.Is(err, ErrUnknown) {
			p.stranger, err = true, nil
		}
		errs = append(errs, err)
	}
	p.trouble = p.repin()
	return errors.Join(errs...)
}

// sweep removes what an earlier process left elsewhere than in our pins.
func (p *Plane) sweep() error {
	info, err := p.o.Settings.Info()
	if err != nil {
		return fmt.Errorf("bpf: settings: %w", err)
	}
	id, _ := info.ID()
	program, err := p.o.Encapsulate.Info()
	if err != nil {
		return fmt.Errorf("bpf: program: %w", err)
	}
	known, _ := program.ID()
	return p.space.Do(func() error { return removeStrays(p.device, id, known) })
}
