package bpf

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const slotSize = 128

// slots is the map of that name in this process's memory: refreshes and
// counters cost no system call.
type slots struct {
	memory []byte
	all    []slot
	free   []uint32 // handed out from the front: a program may still count in one that was just given back
	next   uint32   // none from here on was ever used
}

func openSlots(m *ebpf.Map) (*slots, error) {
	n := int(m.MaxEntries())
	memory, err := unix.Mmap(m.FD(), 0, n*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("bpf: map slots: %w", err)
	}
	return &slots{memory: memory, all: unsafe.Slice((*slot)(unsafe.Pointer(&memory[0])), n)}, nil
}

func (s *slots) close() error {
	if s == nil || s.memory == nil {
		return nil
	}
	m := s.memory
	s.memory, s.all = nil, nil
	return unix.Munmap(m)
}

// reserve marks the slots that pinned bindings use.
func (s *slots) reserve(used []bool) {
	s.free, s.next = nil, 0
	for i := range used {
		if used[i] {
			s.next = uint32(i) + 1
		}
	}
	for i := range s.next {
		if !used[i] {
			s.free = append(s.free, i)
		}
	}
}

// take returns a clean slot, noSlot when all are used.
func (s *slots) take() uint32 {
	i := s.next
	switch {
	case int(i) < len(s.all):
		s.next++
	case len(s.free) > 0:
		i, s.free = s.free[0], s.free[1:]
	default:
		return noSlot
	}
	s.all[i].clear()
	return i
}

func (s *slots) give(i uint32) {
	if i != noSlot {
		s.free = append(s.free, i)
	}
}

func (s *slots) at(i uint32) *slot {
	if int64(i) >= int64(len(s.all)) {
		return nil
	}
	return &s.all[i]
}

func (s *slot) clear() {
	for i := range s.until {
		atomic.StoreUint64(&s.until[i], 0)
	}
	for _, p := range []*uint64{&s.sentPackets, &s.sentBytes, &s.receivedPackets, &s.receivedBytes, &s.dropped, &s.sent, &s.received, &s.slowUntil, &s.softUntil} {
		atomic.StoreUint64(p, 0)
	}
	atomic.StoreUint32(&s.softMTU, 0)
}

func (s *slot) untilOf(i int) uint64 { return atomic.LoadUint64(&s.until[i]) }

func (s *slot) setUntil(i int, ns uint64) { atomic.StoreUint64(&s.until[i], ns) }
