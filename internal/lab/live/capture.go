package live

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"careof/internal/capture"
	"careof/internal/control"
	"careof/internal/decode"
	"careof/internal/lab/netns"
)

// CaptureConfig says what is captured.
type CaptureConfig struct {
	// Segments by name; none means all.
	Segments []string
	// Snap is how many octets are kept of a packet that is no registration
	// message; zero keeps all.
	Snap int
}

// A Capture writes the packets of segments to a pcapng file, with comments:
// what a registration message says and what the daemons thought about it, what
// became of a packet that did not arrive, and remarks.
type Capture struct {
	writer   *capture.Writer
	snap     int
	stops    []func()
	finished chan struct{}

	mu      sync.Mutex
	queue   []captured
	words   map[uint64][]string // by Identification: what the daemons said
	old     []uint64            // its keys, oldest first
	remarks []string            // for the next packet
	closed  bool
	wake    chan struct{}
	err     error
}

// captured is a packet that waits.
type captured struct {
	frame   netns.Frame
	at      int // interface
	remarks []string
}

const (
	// hindsight is how long a packet waits for what the daemons say about
	// it: longer than a round trip in any laboratory one watches.
	hindsight = 300 * time.Millisecond
	// remembered is how many registrations' comments are kept.
	remembered = 4096
)

// StartCapture begins to write. The caller closes the capture before the file,
// and the laboratory after it.
func (l *Lab) StartCapture(w io.Writer, c CaptureConfig) (*Capture, error) {
	if len(c.Segments) == 0 {
		for _, s := range l.Topology.Segments {
			c.Segments = append(c.Segments, s.Name)
		}
	}
	k := &Capture{
		writer: capture.NewWriter(w, "careof lab"), snap: c.Snap,
		finished: make(chan struct{}), words: make(map[uint64][]string), wake: make(chan struct{}, 1),
	}
	for _, name := range c.Segments {
		s := l.segments[name]
		if s == nil {
			return nil, fmt.Errorf("live: there is no segment %q", name)
		}
		about := fmt.Sprintf("segment %s of topology %s", name, l.Topology.Name)
		at, err := k.writer.AddInterface(capture.Interface{Name: name, Comment: about, LinkType: capture.Ethernet})
		if err != nil {
			return nil, err
		}
		k.stops = append(k.stops, s.Tap(func(f netns.Frame) { k.see(at, f) }))
	}
	l.mu.Lock()
	l.captures = append(l.captures, k)
	l.mu.Unlock()
	k.stops = append(k.stops, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.captures = slices.DeleteFunc(l.captures, func(x *Capture) bool { return x == k })
	})
	go k.run()
	return k, nil
}

func (k *Capture) see(at int, f netns.Frame) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.queue = append(k.queue, captured{f, at, k.remarks})
	k.remarks = nil
}

// Remark comments on the next packet.
func (k *Capture) Remark(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.remarks = append(k.remarks, text)
}

// heard remembers what a daemon says about a registration.
func (k *Capture) heard(node string, e control.Event) {
	text := Say(node, e)
	if e.Identification == 0 || text == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.words[e.Identification] == nil {
		k.old = append(k.old, e.Identification)
	}
	k.words[e.Identification] = append(k.words[e.Identification], text)
	if len(k.old) > remembered {
		delete(k.words, k.old[0])
		k.old = k.old[1:]
	}
}

// run writes what has waited long enough.
func (k *Capture) run() {
	defer close(k.finished)
	tick := time.NewTicker(hindsight / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-k.wake:
		}
		k.mu.Lock()
		last := k.closed
		ready := len(k.queue)
		if !last {
			before := time.Now().Add(-hindsight)
			for ready = 0; ready < len(k.queue) && k.queue[ready].frame.Time.Before(before); ready++ {
			}
		}
		batch := slices.Clone(k.queue[:ready])
		k.queue = slices.Clone(k.queue[ready:])
		k.mu.Unlock()
		for _, c := range batch {
			k.write(c)
		}
		k.fail(k.writer.Flush())
		if last {
			return
		}
	}
}

func (k *Capture) write(c captured) {
	p := capture.Packet{Time: c.frame.Time, Interface: c.at, Data: c.frame.Data, Length: len(c.frame.Data)}
	comments := c.remarks
	if c.frame.Fate != netns.Carried {
		comments = append(comments, "this packet did not arrive: "+c.frame.Fate.String())
	}
	if id, _, ok := signalling(p.Data); ok {
		comments = append(comments, decode.As(decode.EthernetFrame, p.Data).Summary)
		k.mu.Lock()
		comments = append(comments, k.words[id]...)
		k.mu.Unlock()
	} else if k.snap > 0 && len(p.Data) > k.snap {
		p.Data = p.Data[:k.snap]
	}
	p.Comment = strings.Join(comments, "\n")
	k.fail(k.writer.WritePacket(p))
}

func (k *Capture) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.err = err // what follows a failure says nothing more
	}
}

// Close writes what waits and returns the first failure of the capture.
func (k *Capture) Close() error {
	for _, stop := range k.stops {
		stop()
	}
	k.mu.Lock()
	if !k.closed {
		k.closed = true
		k.wake <- struct{}{}
	}
	k.mu.Unlock()
	<-k.finished
	return k.err
}
