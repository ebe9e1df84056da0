package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/bpf"

	"careof/internal/core/engine"
)

// Familiar stations of a link: what they send comes up through a socket of
// their own, so that a flood from strangers, which may fill the other one
// before it is read, loses nothing of theirs.
const (
	// maxFamiliar is how many there may be on a link, the latest ones: a
	// kernel filter holds no more.
	maxFamiliar = 512
	// maxAlike of them may differ in their first two octets alone: a jump goes
	// no farther.
	maxAlike = 100
	// gather is for how long stations gather before the filters are made anew:
	// visitors of a whole train arrive together.
	gather = 100 * time.Millisecond
)

// A listener is what listens on one link: a socket for everybody and, where
// registration messages are heard, a lane for familiar stations.
type listener struct {
	*socket // for everybody
	lane    *socket
	port    uint16

	familiar  map[engine.HardwareAddr]uint64 // by station: which favour was its last
	favours   uint64
	gathering bool
}

// listen opens what listens on a link.
func listen(link string, port uint16) (*listener, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("discovery: %s: %w", link, err)
	}
	e := &listener{port: port, familiar: make(map[engine.HardwareAddr]uint64)}
	if e.socket, err = open(ifi, filter(port, []bpf.Instruction{accept})); err != nil {
		return nil, err
	}
	if port == 0 {
		return e, nil
	}
	if e.lane, err = open(ifi, filter(port, []bpf.Instruction{drop})); err != nil {
		return nil, errors.Join(err, e.socket.file.Close())
	}
	return e, nil
}

func (e *listener) close() {
	e.file.Close()
	if e.lane != nil {
		e.lane.file.Close()
	}
}

// read reads both sockets until they are closed.
func (e *listener) read(to Receiver) {
	if e.lane == nil {
		e.socket.read(to)
		return
	}
	var lane sync.WaitGroup
	lane.Go(func() { e.lane.read(to) })
	e.socket.read(to)
	lane.Wait()
}

// Favour makes a station of a link familiar: something was committed for it,
// which is done for nobody whose registration was not authentic.
func (s *Set) Favour(link string, hw engine.HardwareAddr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.listeners[link]
	if e == nil || e.lane == nil || hw == (engine.HardwareAddr{}) {
		return
	}
	_, known := e.familiar[hw]
	e.favours++
	e.familiar[hw] = e.favours
	if known || e.gathering {
		return
	}
	e.gathering = true
	time.AfterFunc(gather, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.gathering = false
		if s.listeners[link] == e {
			e.part()
		}
	})
}

// part makes the filters of the two sockets anew. The lane hears a station
// before the other socket ceases to: a request that is heard twice is relayed
// twice, one that is not heard is sent again a second later.
func (e *listener) part() {
	if over := len(e.familiar) - maxFamiliar; over > 0 {
		latest := slices.Sorted(maps.Values(e.familiar))
		maps.DeleteFunc(e.familiar, func(_ engine.HardwareAddr, at uint64) bool { return at < latest[over] })
	}
	stations := slices.Collect(maps.Keys(e.familiar))
	if err := e.lane.attach(filter(e.port, from(stations, accept, drop))); err != nil {
		return // the other socket still hears everybody
	}
	_ = e.attach(filter(e.port, from(stations, drop, accept)))
}

var (
	accept = bpf.RetConstant{Val: 1 << 16}
	drop   = bpf.RetConstant{Val: 0}
)

// from is a program that ends with match for frames of the stations, and with
// miss for all others: a search tree, so that a flood costs ten comparisons and
// not five hundred.
func from(stations []engine.HardwareAddr, match, miss bpf.RetConstant) []bpf.Instruction {
	byTail := make(map[uint32][]uint16)
	for _, hw := range stations {
		tail := binary.BigEndian.Uint32(hw[2:])
		if len(byTail[tail]) < maxAlike {
			byTail[tail] = append(byTail[tail], binary.BigEndian.Uint16(hw[:]))
		}
	}
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: linkSource + 2, Size: 4}}
	return append(program, search(slices.Sorted(maps.Keys(byTail)), byTail, match, miss)...)
}

// linkSource is where a filter finds the link-layer source: SKF_LL_OFF, and the
// destination's six octets.
const linkSource = 0xffe00000 + 6

// search finds the last four octets, which are in the accumulator, among tails;
// then it compares the first two.
func search(tails []uint32, heads map[uint32][]uint16, match, miss bpf.RetConstant) []bpf.Instruction {
	switch len(tails) {
	case 0:
		return []bpf.Instruction{miss}
	case 1:
		alike := heads[tails[0]]
		program := []bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: tails[0], SkipTrue: uint8(1 + 2*len(alike))},
			bpf.LoadAbsolute{Off: linkSource, Size: 2},
		}
		for _, head := range alike {
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(head), SkipTrue: 1}, match)
		}
		return append(program, miss)
	}
	half := len(tails) / 2
	below, above := search(tails[:half], heads, match, miss), search(tails[half:], heads, match, miss)
	program := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: tails[half], SkipFalse: 1},
		bpf.Jump{Skip: uint32(len(below))},
	}
	return append(append(program, below...), above...)
}
