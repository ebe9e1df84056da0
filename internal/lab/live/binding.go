package live

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// errNoDaemon says that a node runs none.
var errNoDaemon = errors.New("live: no daemon runs there")

// Standing is how a mobile node stands: what its own daemon and its home
// agent's say.
func (l *Lab) Standing(mobile string) (b scene.Binding, err error) {
	d := l.daemons[mobile]
	if d == nil || !d.Running() {
		return b, fmt.Errorf("%w: %s", errNoDaemon, mobile)
	}
	var registrations []control.Registration
	if err := d.Show("registrations", "", &registrations); err != nil {
		return b, err
	}
	for _, r := range registrations {
		if r.Active {
			b.Link, b.CareOf, b.HomeAgent = r.Uplink, r.CareOfAddress, r.HomeAgent
			b.UDP = strings.HasPrefix(r.Encapsulation, "udp")
		}
	}
	if err := l.athome(d, &b); err != nil {
		return b, err
	}
	since := l.LastMove(mobile)
	events := l.Events(mobile)
	for i := len(events) - 1; i >= 0 && !events[i].Time.Before(since); i-- {
		e := events[i]
		if b.HomeAddress == (netip.Addr{}) && e.HomeAddress.IsValid() {
			b.HomeAddress = e.HomeAddress
		}
		if decided(&b, e) {
			break
		}
	}
	if a := l.HomeAddress(mobile); a.IsValid() {
		b.HomeAddress = a
	}
	if b.Registered && !b.AtHome {
		if b.Registered, err = forwards(d, &b); err != nil {
			return b, err
		}
	}
	own, err := d.entries(b.HomeAddress)
	if err != nil {
		return b, err
	}
	for _, e := range own {
		b.Copies += count(e, copies)
	}
	return b, l.tunnels(&b)
}

// forwards tells whether a mobile node's data plane uses the tunnel of its
// registration already: the daemon says so a moment before.
func forwards(d *Daemon, b *scene.Binding) (bool, error) {
	entries, err := d.entries(b.HomeAddress)
	for _, e := range entries {
		if e.Deliver != nil && e.Deliver.Interface == b.Link {
			return true, nil // plain, to a foreign agent
		}
		for _, t := range e.Tunnels {
			if sending(t) && t.Local.Addr() == b.CareOf {
				return true, nil
			}
		}
	}
	return false, err
}

// entries lists what a daemon's data plane does for a home address.
func (d *Daemon) entries(home netip.Addr) ([]control.Entry, error) {
	var all, own []control.Entry
	err := d.Show("plane", "", &all)
	for _, e := range all {
		if home.IsValid() && e.Inner.Contains(home) {
			own = append(own, e)
		}
	}
	return own, err
}

// sending tells whether packets go into a tunnel.
func sending(t control.Tunnel) bool { return t.Mode == "both" || t.Mode == "send" }

// copies tells whether copies of redundant packets go into a tunnel, and nothing
// else.
func copies(t control.Tunnel) bool { return t.Mode == "copies" }

func count(e control.Entry, is func(control.Tunnel) bool) (n int) {
	for _, t := range e.Tunnels {
		if is(t) {
			n++
		}
	}
	return n
}

// decided takes the outcome of the last registration out of an event.
func decided(b *scene.Binding, e control.Event) bool {
	switch e.Kind {
	case note.Registered:
		b.Registered, b.Took = b.CareOf.IsValid(), e.Took
	case note.Home:
		b.Registered, b.Took = b.AtHome, e.Took
	case note.Lost, note.Deregistered:
		// A node that has gone to another home agent tells the one it has left.
		return !b.CareOf.IsValid() || e.Link == b.Link && e.CareOfAddress == b.CareOf && e.HomeAgent == b.HomeAgent
	default:
		return false
	}
	return true
}

func (l *Lab) athome(d *Daemon, b *scene.Binding) error {
	var uplinks []control.Uplink
	if err := d.Show("uplinks", "", &uplinks); err != nil {
		return err
	}
	for _, u := range uplinks {
		if u.Home {
			b.AtHome, b.Link, b.CareOf = true, u.Interface, netip.Addr{}
		}
	}
	return nil
}

// tunnels counts the tunnels that home agents send a node's packets into.
func (l *Lab) tunnels(b *scene.Binding) error {
	for _, d := range l.order {
		n := l.Topology.Node(d.Node)
		if n.Kind != topology.HomeAgent || !d.Running() {
			continue
		}
		entries, err := d.entries(b.HomeAddress)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Deliver != nil {
				continue // a visitor of the foreign agent in the same box
			}
			b.Tunnels += count(e, sending)
			b.Copies += count(e, copies)
		}
	}
	return nil
}

// Replies counts the replies with a code that a home agent's daemons have
// told of; 0 counts accepted registrations.
func (l *Lab) Replies(homeAgent string, code uint8) int {
	count := 0
	for _, e := range l.Events(homeAgent) {
		switch e.Kind {
		case note.Bound, note.Moved, note.Refreshed, note.Unbound:
			if code == 0 {
				count++
			}
		case note.Denied:
			if code != 0 && e.Code == code {
				count++
			}
		}
	}
	return count
}

// Since is the laboratory's time: that since it was built.
func (l *Lab) Since() time.Duration { return time.Since(l.began) }
