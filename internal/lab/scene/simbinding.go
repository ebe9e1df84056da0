package scene

import (
	"context"

	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/lab/world"
	"careof/wire/encap"
)

// Binding implements Lab.
func (s *Sim) Binding(mobile string) Binding {
	n := s.node(mobile)
	var b Binding
	var visits bool
	for e := range n.Plane().List(context.Background()) {
		if e.Role != forward.MobileNode || e.Network != "" {
			continue
		}
		b.HomeAddress = e.Inner.Addr()
		b.AtHome = e.HomeLink != ""
		b.Link = e.HomeLink
		visits = e.Deliver.Link != ""
		if visits {
			b.Link = e.Deliver.Link
		}
		b.Copies += copies(n.Plane(), e)
		for _, t := range e.Tunnels {
			if t.Mode != forward.Receive && n.Plane().Live(t) {
				b.CareOf, b.UDP, b.Link, b.HomeAgent = t.Local.Addr(), t.Encap == encap.UDP, t.Link, t.Peer.Addr()
				break
			}
		}
		break
	}
	notes := n.Daemon().Notes()
	for i := len(notes) - 1; i >= s.heard[mobile]; i-- {
		switch notes[i].Kind {
		case note.Registered:
			if visits && notes[i].Link == b.Link {
				b.CareOf, b.HomeAgent = notes[i].CareOfAddress, notes[i].HomeAgent
			}
			b.Registered, b.Took = b.CareOf.IsValid(), notes[i].Took
		case note.Home:
			b.Registered, b.Took = b.AtHome, notes[i].Took
		case note.Lost, note.Deregistered:
		default:
			continue
		}
		break
	}
	for _, d := range s.World.Daemons() {
		for e := range d.Node.Plane().List(context.Background()) {
			if e.Role != forward.HomeAgent || !e.Inner.Contains(b.HomeAddress) {
				continue
			}
			b.Copies += copies(d.Node.Plane(), e)
			for _, t := range e.Tunnels {
				if t.Mode != forward.Receive && d.Node.Plane().Live(t) {
					b.Tunnels++
				}
			}
		}
	}
	return b
}

// copies counts the tunnels of an entry that take copies of redundant packets
// alone.
func copies(p *world.Plane, e forward.Entry) (n int) {
	for _, t := range e.Tunnels {
		if t.Mode == forward.Receive && t.Copies && p.Live(t) {
			n++
		}
	}
	return n
}
