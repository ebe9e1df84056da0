package bpf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"careof/internal/core/forward"
)

// Apply implements [forward.Plane]. User space has an entry before the
// programs have it, and loses it after them.
func (p *Plane) Apply(ctx context.Context, changes []forward.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	var b writes
	for len(changes) > 0 {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, p.flush(&b))
		}
		n := 1
		for changes[0].Op == forward.Extend && n < len(changes) && changes[n].Op == forward.Extend {
			n++
		}
		run := changes[:n]
		changes = changes[n:]
		if run[0].Op == forward.Delete {
			if err := p.flush(&b); err != nil {
				return err
			}
			if err := p.remove(run[0].Entry.Key); err != nil {
				return fmt.Errorf("bpf: entry %q: %w", run[0].Entry.Key, err)
			}
		}
		if err := p.slow.Apply(ctx, run); err != nil {
			return errors.Join(err, p.flush(&b))
		}
		switch run[0].Op {
		case forward.Put:
			if err := p.put(&run[0].Entry, &b); err != nil {
				return fmt.Errorf("bpf: entry %q: %w", run[0].Entry.Key, err)
			}
		case forward.Extend:
			// The slots of a batch's own entries are set when it is written.
			if err := p.flush(&b); err != nil {
				return err
			}
			for i := range run {
				p.extend(run[i].Entry.Key, run[i].Until)
			}
		}
	}
	return p.flush(&b)
}

func (p *Plane) extend(key forward.Key, until time.Time) {
	in := p.entries[key]
	if in == nil {
		return
	}
	s := p.slots.at(in.slot)
	if s == nil {
		return
	}
	ns := nanos(until)
	for i := range maxTunnels {
		if in.sends&(1<<i) != 0 {
			s.setUntil(i, ns)
		}
	}
}

// put stages the binding of an entry. A foreign agent's visitors, who may
// share an address, are user space's.
func (p *Plane) put(e *forward.Entry, w *writes) error {
	if e.Role == forward.ForeignAgent {
		if p.entries[e.Key] == nil {
			return nil
		}
		if err := p.flush(w); err != nil {
			return err
		}
		return p.remove(e.Key)
	}
	at := placeOf(e)
	old := p.entries[e.Key]
	if old != nil && old.at != at {
		if err := p.flush(w); err != nil {
			return err
		}
		if err := p.remove(e.Key); err != nil {
			return err
		}
		old = nil
	}
	b, untils := p.translate(e)
	in := &installed{at: at, slot: noSlot}
	if old != nil {
		in.slot = old.slot
	}
	for i := range maxTunnels {
		if b.Tunnel[i].Flags&tunnelSends == 0 {
			continue
		}
		if in.sends == 0 {
			t := &b.Tunnel[i]
			in.path = path{t.Local, t.Peer, t.Link, t.Kind}
		}
		in.sends |= 1 << i
	}
	if old != nil && old.path != in.path {
		// What routers told was about another path.
		if s := p.slots.at(in.slot); s != nil {
			s.heedNothing()
		}
	}
	left := p.left[at]
	if owner, taken := p.owners[at]; taken && owner != e.Key || p.shared[at] != nil {
		// Two entries for one address: which of them a packet is for depends
		// on more than the programs look at.
		if p.shared[at] == nil {
			p.shared[at] = map[forward.Key]bool{owner: true}
		}
		p.shared[at][e.Key] = true
		b.Flags |= bindingSlow
	} else {
		p.owners[at] = e.Key
		if left != nil && old == nil {
			in.slot = left.Slot
		}
	}
	if in.slot == noSlot {
		if in.slot = p.slots.take(); in.slot == noSlot {
			b.Flags |= bindingSlow
		}
	}
	b.Slot = in.slot
	p.entries[e.Key] = in
	delete(p.left, at)
	if left != nil && *left == b {
		// As it was before the restart: only its end may differ.
		p.setUntils(b.Slot, &untils)
		return nil
	}
	isNew := old == nil && left == nil && len(p.shared[at]) == 0
	return p.stage(w, at, &b, &untils, isNew)
}

func (p *Plane) setUntils(i uint32, untils *[maxTunnels]uint64) {
	if s := p.slots.at(i); s != nil {
		for j, ns := range untils {
			s.setUntil(j, ns)
		}
	}
}

// remove takes an entry from the programs.
func (p *Plane) remove(key forward.Key) error {
	in := p.entries[key]
	if in == nil {
		return nil
	}
	if group := p.shared[in.at]; group != nil {
		// The others stay slow until they are applied again, the last of them
		// too: this is rare, and user space does all it should.
		delete(group, key)
		if len(group) > 0 {
			if p.owners[in.at] == key {
				keys := make([]forward.Key, 0, len(group))
				for k := range group {
					keys = append(keys, k)
				}
				p.owners[in.at] = slices.Min(keys)
			}
			p.forget(key, in)
			return nil
		}
		delete(p.shared, in.at)
	}
	if err := p.unset(in.at); err != nil {
		return err
	}
	delete(p.owners, in.at)
	p.forget(key, in)
	return nil
}

func (p *Plane) forget(key forward.Key, in *installed) {
	p.slots.give(in.slot)
	delete(p.entries, key)
}
