package world

import (
	"fmt"
	"io"
	"strings"
	"time"

	"careof/internal/capture"
)

// A Recording writes every frame of a world into a pcapng file, with one
// interface for each segment. What machines tell becomes the comment of the
// next packet. The same run gives the same file.
type Recording struct {
	world   *World
	out     *capture.Writer
	comment []string
	err     error
}

// Record begins a recording of all segments that are there.
func (w *World) Record(out io.Writer) (*Recording, error) {
	r := &Recording{world: w, out: capture.NewWriter(out, "careof lab")}
	for _, s := range w.segments {
		index, err := r.out.AddInterface(capture.Interface{
			Name: s.Name, Comment: fmt.Sprintf("%v one way", s.Delay), LinkType: capture.Ethernet,
		})
		if err != nil {
			return nil, fmt.Errorf("world: recording: %w", err)
		}
		s.Tap(func(at time.Time, frame []byte) { r.packet(index, at, frame) })
	}
	w.Observe(r)
	return r, nil
}

// Observe collects what machines tell.
func (r *Recording) Observe(o Observation) {
	if n, ok := o.(Noted); ok {
		r.comment = append(r.comment, n.Daemon.Node.Name+": "+n.Note.String())
	}
}

func (r *Recording) packet(index int, at time.Time, frame []byte) {
	if r.err != nil {
		return
	}
	r.err = r.out.WritePacket(capture.Packet{Time: at, Interface: index, Data: frame, Comment: strings.Join(r.comment, "\n")})
	r.comment = nil
}

// Flush writes out what has been recorded, and tells the first error.
func (r *Recording) Flush() error {
	if r.err == nil {
		r.err = r.out.Flush()
	}
	if r.err != nil {
		return fmt.Errorf("world: recording: %w", r.err)
	}
	return nil
}
