package bpf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
)

// writes are bindings on their way into the kernel: those of home addresses
// go in batches.
type writes struct{ hosts [2]hostWrites }

type hostWrites struct {
	keys   [][4]byte
	values []bindingValue
	untils [][maxTunnels]uint64
	added  int
}

// maxBatch bounds what one system call writes.
const maxBatch = 1024

// stage queues a binding, or writes it when it is a prefix's.
func (p *Plane) stage(w *writes, at place, b *bindingValue, untils *[maxTunnels]uint64, isNew bool) error {
	p.narrow(b.Slot, untils)
	n := at.table()
	if n >= 2 {
		if isNew {
			if err := p.grow(n, 1); err != nil {
				return err
			}
		}
		kept := *b // only these are for the heap
		err := p.table(n).Put(netKey{uint32(at.bits), at.addr}, &kept)
		return p.written(err, []uint32{b.Slot}, [][maxTunnels]uint64{*untils})
	}
	h := &w.hosts[n]
	h.keys = append(h.keys, at.addr)
	h.values = append(h.values, *b)
	h.untils = append(h.untils, *untils)
	if isNew {
		h.added++
	}
	if len(h.keys) >= maxBatch {
		return p.flush(w)
	}
	return nil
}

// narrow makes each tunnel of a slot end at the earlier of its present and its
// new end, while the binding and its slot are changed one after the other:
// what is in between goes through user space.
func (p *Plane) narrow(i uint32, untils *[maxTunnels]uint64) {
	s := p.slots.at(i)
	if s == nil {
		return
	}
	for j, ns := range untils {
		if ns < s.untilOf(j) {
			s.setUntil(j, ns)
		}
	}
}

// flush writes what is queued.
func (p *Plane) flush(w *writes) error {
	var errs []error
	for n := range w.hosts {
		h := &w.hosts[n]
		if len(h.keys) == 0 {
			continue
		}
		if h.added > 0 {
			errs = append(errs, p.grow(n, h.added))
		}
		slots := make([]uint32, len(h.values))
		for i := range h.values {
			slots[i] = h.values[i].Slot
		}
		errs = append(errs, p.written(p.putAll(p.table(n), h), slots, h.untils))
		*h = hostWrites{keys: h.keys[:0], values: h.values[:0], untils: h.untils[:0]}
	}
	return errors.Join(errs...)
}

func (p *Plane) putAll(m *ebpf.Map, h *hostWrites) error {
	if len(h.keys) > 1 {
		_, err := m.BatchUpdate(h.keys, h.values, nil)
		if err == nil {
			return nil
		}
		// Linux before 5.6 has no batches, and a full table ends one in the
		// middle: one by one everything finds its place or its error.
	}
	var full error
	for i := range h.keys {
		err := m.Put(h.keys[i], &h.values[i])
		if errors.Is(err, unix.E2BIG) {
			full = err
			continue
		}
		if err != nil {
			return err
		}
	}
	return full
}

// written ends a write: the tunnels live as long as they should. A full table
// is no error: user space has the entry.
func (p *Plane) written(err error, at []uint32, untils [][maxTunnels]uint64) error {
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
		// A shorter prefix must not take the packets of an address that
		// found no room.
		p.overflow = true
		err = p.writeSettings()
	}
	if err != nil {
		return err
	}
	for i, s := range at {
		p.setUntils(s, &untils[i])
	}
	return nil
}

// unset takes a binding from its table.
func (p *Plane) unset(at place) error {
	n := at.table()
	var err error
	if n >= 2 {
		err = p.table(n).Delete(netKey{uint32(at.bits), at.addr})
	} else {
		err = p.table(n).Delete(at.addr)
	}
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil // it had found no room
	}
	if err != nil {
		return err
	}
	return p.grow(n, -1)
}

// grow counts the bindings of a table. Programs look into those that are not
// empty.
func (p *Plane) grow(n, by int) error {
	return p.recount(n, p.counts[n]+by, p.aside[n])
}

// recount tells programs when a table is empty now, or no longer, or holds
// nothing but what is set aside.
func (p *Plane) recount(n, count, aside int) error {
	was := numberOf(p.counts[n], p.aside[n])
	p.counts[n], p.aside[n] = count, aside
	now := numberOf(count, aside)
	if (was == 0) == (now == 0) && was&hasNodes == now&hasNodes {
		return nil
	}
	return p.writeSettings()
}

// numberOf is how settings tells of a mobile node's table.
func numberOf(count, aside int) uint32 {
	n := uint32(count)
	if count > aside {
		n |= hasNodes
	}
	return n
}

func (p *Plane) writeSettings() error {
	s := p.settings
	s.Agents, s.Mobiles = uint32(p.counts[0]), numberOf(p.counts[1], p.aside[1])
	if !p.overflow {
		s.AgentNets, s.MobileNet = uint32(p.counts[2]), numberOf(p.counts[3], p.aside[3])
	}
	return p.o.Settings.Put(uint32(0), &s)
}

func (s *slot) counters() forward.Counters {
	return forward.Counters{
		SentPackets: atomic.LoadUint64(&s.sentPackets), SentBytes: atomic.LoadUint64(&s.sentBytes),
		ReceivedPackets: atomic.LoadUint64(&s.receivedPackets), ReceivedBytes: atomic.LoadUint64(&s.receivedBytes),
		DroppedPackets: atomic.LoadUint64(&s.dropped),
	}
}

func (s *slot) use() forward.Use {
	return forward.Use{Sent: timeOf(atomic.LoadUint64(&s.sent)), Received: timeOf(atomic.LoadUint64(&s.received))}
}

// heed makes packets that routers object to go through user space until then:
// all of them when mtu is 0, else those that are longer.
func (s *slot) heed(mtu int, until time.Time) {
	ns := nanos(until)
	if mtu == 0 {
		atomic.StoreUint64(&s.slowUntil, ns)
		return
	}
	atomic.StoreUint32(&s.softMTU, uint32(mtu))
	atomic.StoreUint64(&s.softUntil, ns)
}

// heedNothing forgets what routers told.
func (s *slot) heedNothing() {
	atomic.StoreUint64(&s.slowUntil, 0)
	atomic.StoreUint64(&s.softUntil, 0)
}

// adoptLinks takes over the pinned programs on underlays, so that those of
// interfaces which are gone do not stay for ever. New programs replace the
// old ones in one step.
func (p *Plane) adoptLinks() {
	if p.pins == "" {
		return
	}
	files, err := os.ReadDir(p.pins)
	if err != nil {
		return
	}
	for _, f := range files {
		name, ok := strings.CutPrefix(f.Name(), "ingress_")
		if !ok {
			continue
		}
		pin := filepath.Join(p.pins, f.Name())
		l, err := link.LoadPinnedLink(pin, nil)
		if err != nil {
			continue
		}
		a := &attachment{name: name, link: l, pin: pin}
		dev, err := netlink.LinkByName(name)
		if err == nil {
			a.index = dev.Attrs().Index
		}
		ethernet, known := false, false
		if err == nil {
			ethernet, known = underlay(dev)
		}
		prog := p.o.DecapsulatePlain
		if ethernet {
			prog = p.o.DecapsulateEther
		}
		if err != nil || !known || !a.holds(l) || l.Update(prog) != nil {
			l.Close()
			os.Remove(pin)
			continue
		}
		p.ingress[name] = a
	}
}
