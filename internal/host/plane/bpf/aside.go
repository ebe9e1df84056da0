package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"careof/internal/core/forward"
)

// SetAside makes the programs pass on what comes out of a tunnel for these
// destinations and no longer for earlier ones: a home agent forwards broadcasts
// and groups in user space. In the programs' tables such a destination is one
// of a mobile node whose packets are user space's.
func (p *Plane) SetAside(destinations []netip.Prefix) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	want := make(map[place]bool)
	var errs []error
	for _, d := range destinations {
		at := place{forward.MobileNode, uint8(d.Bits()), d.Masked().Addr().As4()}
		if want[at] = true; p.asides[at] {
			continue
		}
		errs = append(errs, p.putAside(at))
	}
	for at := range p.asides {
		if !want[at] {
			n := at.table()
			errs = append(errs, p.recount(n, p.counts[n], p.aside[n]-1), p.unset(at))
			delete(p.asides, at)
		}
	}
	return errors.Join(errs...)
}

func (p *Plane) putAside(at place) error {
	if p.slow.Shared(at.role, at.prefix(), "") {
		return nil
	}
	b := bindingValue{Slot: noSlot, Flags: bindingSlow}
	if old, pinned := p.left.get(at); pinned {
		p.left.drop(at)
		p.slots.give(old.slot)
	} else if err := p.grow(at.table(), 1); err != nil {
		return fmt.Errorf("bpf: %v: %w", at.prefix(), err)
	}
	var err error
	if n := at.table(); at.bits == 32 {
		err = p.table(n).Put(at.addr, &b)
	} else {
		err = p.table(n).Put(netKey{uint32(at.bits), at.addr}, &b)
	}
	if err != nil {
		return fmt.Errorf("bpf: %v: %w", at.prefix(), err)
	}
	p.asides[at] = true
	n := at.table()
	return p.recount(n, p.counts[n], p.aside[n]+1)
}
