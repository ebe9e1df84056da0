package live

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"careof/internal/lab/scene"
)

// A flow is a stream of numbered datagrams in one direction.
type flow struct {
	lab    *Lab
	cancel context.CancelFunc
	done   sync.WaitGroup
	stop   sync.Once
	from   *net.UDPConn
	to     *net.UDPConn

	mu      sync.Mutex
	sent    []time.Duration // when each was sent, in the laboratory's time
	arrived []time.Duration // when it came first; never is -1
	twice   int
}

const (
	never    = time.Duration(-1)
	flowSize = 160 // octets, a voice packet
)

// Flow implements [scene.Lab].
func (s *Stage) Flow(from, to string, every time.Duration) scene.Flow {
	port := s.port()
	target := netip.AddrPortFrom(s.address(to), port)
	ctx, cancel := context.WithCancel(context.Background())
	f := &flow{lab: s.Lab, cancel: cancel}
	var err error
	f.to, err = s.node(to).ListenUDP(target)
	s.sure(err)
	f.from, err = s.node(from).ListenUDP(netip.AddrPortFrom(s.address(from), port))
	if err != nil {
		f.to.Close()
		s.sure(err)
	}
	f.done.Go(func() { f.send(ctx, target, every) })
	f.done.Go(f.receive)
	s.atEnd(func() {
		f.Stop()
		f.to.Close()
		f.done.Wait()
	})
	return f
}

func (f *flow) send(ctx context.Context, target netip.AddrPort, every time.Duration) {
	defer f.from.Close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	payload := make([]byte, flowSize)
	for {
		f.mu.Lock()
		binary.BigEndian.PutUint64(payload, uint64(len(f.sent)))
		f.sent, f.arrived = append(f.sent, f.lab.Since()), append(f.arrived, never)
		f.mu.Unlock()
		// What the kernel does not take is lost, as on the way.
		_, _ = f.from.WriteToUDPAddrPort(payload, target)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (f *flow) receive() {
	b := make([]byte, 2*flowSize)
	for {
		n, err := f.to.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != flowSize {
			continue
		}
		at := binary.BigEndian.Uint64(b)
		f.mu.Lock()
		switch {
		case at >= uint64(len(f.sent)):
		case f.arrived[at] != never:
			f.twice++
		default:
			f.arrived[at] = f.lab.Since()
		}
		f.mu.Unlock()
	}
}

// Stop implements [scene.Flow]. Datagrams under way still count.
func (f *flow) Stop() { f.stop.Do(f.cancel) }

// Report implements [scene.Flow].
func (f *flow) Report(begin, end time.Duration) scene.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := scene.Report{Duplicates: f.twice}
	for i, at := range f.sent {
		switch {
		case at < begin || at >= end:
		case f.arrived[i] == never:
			r.Sent, r.Lost = r.Sent+1, r.Lost+1
		default:
			r.Sent, r.Received = r.Sent+1, r.Received+1
		}
	}
	latest := begin
	gap := func(until time.Duration) {
		if until-latest > r.Gap {
			r.Gap, r.GapBegan = until-latest, latest
		}
		latest = max(latest, until)
	}
	// Arrivals are nearly in order; the latest so far bounds the gap.
	for _, at := range f.arrived {
		if at != never && at >= begin && at < end {
			gap(at)
		}
	}
	gap(end)
	return r
}
