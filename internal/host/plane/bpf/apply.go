package bpf

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
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
	single := false
	for len(changes) > 0 {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, p.flush(&b))
		}
		n := 1
		for op := changes[0].Op; !single && op != forward.Delete && n < len(changes) && changes[n].Op == op; {
			n++
		}
		run := changes[:n]
		if run[0].Op == forward.Delete {
			if err := p.flush(&b); err != nil {
				return err
			}
			if err := p.remove(run[0].Entry.Key); err != nil {
				return fmt.Errorf("bpf: entry %q: %w", run[0].Entry.Key, err)
			}
		}
		if err := p.slow.Apply(ctx, run); err != nil {
			if n > 1 {
				single = true // what is before the refused one is the programs' too
				continue
			}
			return errors.Join(err, p.flush(&b))
		}
		changes = changes[n:]
		switch run[0].Op {
		case forward.Put:
			for i := range run {
				if err := p.put(&run[i].Entry, &b); err != nil {
					return fmt.Errorf("bpf: entry %q: %w", run[i].Entry.Key, err)
				}
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
	tag := p.slow.Tag(key)
	s := p.slots.at(slotOfTag(tag))
	if s == nil {
		return
	}
	ns := nanos(until)
	for i := range maxTunnels {
		if sendsOfTag(tag)&(1<<i) != 0 {
			s.setUntil(i, ns)
		}
	}
}

// put stages the binding of an entry. A foreign agent's visitors, who may
// share an address, are user space's.
func (p *Plane) put(e *forward.Entry, w *writes) error {
	if e.Role == forward.ForeignAgent {
		if _, was := p.installed(e.Key); !was {
			return nil
		}
		if err := p.flush(w); err != nil {
			return err
		}
		return p.remove(e.Key)
	}
	at := placeOf(e)
	old, was := p.installed(e.Key)
	if was && old.at != at {
		if err := p.flush(w); err != nil {
			return err
		}
		if err := p.remove(e.Key); err != nil {
			return err
		}
		was = false
	}
	b, untils := p.translate(e)
	in := installed{at: at, slot: noSlot}
	if was {
		in.slot = old.slot
	}
	for i := range maxTunnels {
		if b.Tunnel[i].Flags&tunnelSends == 0 {
			continue
		}
		if in.sends == 0 {
			t := &b.Tunnel[i]
			in.path = uint32(maphash.Comparable(p.seed, path{t.Local, t.Peer, t.Link, t.Kind}))
		}
		in.sends |= 1 << i
	}
	if was && old.path != in.path {
		// What routers told was about another path.
		if s := p.slots.at(in.slot); s != nil {
			s.heedNothing()
		}
	}
	left, pinned := p.left.get(at)
	shared := p.slow.Shared(e.Role, e.Inner, e.Key)
	if shared {
		// Two entries for one address: which of them a packet is for depends
		// on more than the programs look at.
		b.Flags |= bindingSlow
	} else if pinned && !was {
		in.slot = left.slot
	}
	if in.slot == noSlot {
		if in.slot = p.slots.take(); in.slot == noSlot {
			b.Flags |= bindingSlow
		}
	}
	b.Slot = in.slot
	p.install(e.Key, &in, was)
	p.left.drop(at)
	if pinned && left == p.leftoverOf(&b) {
		// As it was before the restart: only its end may differ.
		p.setUntils(b.Slot, &untils)
		return nil
	}
	isNew := !was && !pinned && !shared
	return p.stage(w, at, &b, &untils, isNew)
}

func (p *Plane) setUntils(i uint32, untils *[maxTunnels]uint64) {
	if s := p.slots.at(i); s != nil {
		for j, ns := range untils {
			s.setUntil(j, ns)
		}
	}
}

// remove takes an entry from the programs. User space still has it.
func (p *Plane) remove(key forward.Key) error {
	in, ok := p.installed(key)
	if !ok {
		return nil
	}
	// Others for the same address stay slow until they are applied again, the
	// last of them too: this is rare, and user space does all it should.
	if !p.slow.Shared(in.at.role, in.at.prefix(), key) {
		if err := p.unset(in.at); err != nil {
			return err
		}
	}
	p.slots.give(in.slot)
	p.slow.SetTag(key, 0)
	delete(p.slotless, key)
	p.entries--
	delete(p.kept, key)
	return nil
}

// PortMoved tells that the UDP socket of an uplink has another port: the
// programs' tunnels from there follow.
func (p *Plane) PortMoved(link string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	var b writes
	for e := range p.slow.List(context.Background()) {
		if !slices.ContainsFunc(e.Tunnels, func(t forward.Tunnel) bool { return t.Encap == encap.UDP && t.Local.Port() == 0 && t.Link == link }) {
			continue
		}
		if err := p.put(&e, &b); err != nil {
			return fmt.Errorf("bpf: entry %q: %w", e.Key, err)
		}
	}
	return p.flush(&b)
}
