package world

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// sortedKeys lists a map's keys in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// eventText describes an event on one line.
func eventText(ev engine.Event) string {
	switch ev := ev.(type) {
	case engine.Packet:
		return fmt.Sprintf("packet %s %v > %v ttl %d %s", ev.Link, ev.Src, ev.Dst, ev.TTL, digest(ev.Data))
	case engine.Discovery:
		return fmt.Sprintf("discovery %s %v > %v ttl %d %s", ev.Link, ev.Src, ev.Dst, ev.TTL, digest(ev.Data))
	case engine.Wake:
		return "wake"
	case engine.LinkChanged:
		l := ev.Link
		state := "down"
		if l.Up {
			state = "up"
		}
		return fmt.Sprintf("link %s %s %v via %v", l.Name, state, l.Addresses, l.Gateways)
	case engine.Answer:
		if ev.Err != nil {
			return fmt.Sprintf("answer %d: %v", ev.Ticket, ev.Err)
		}
		return fmt.Sprintf("answer %d", ev.Ticket)
	case engine.Command:
		return fmt.Sprintf("command %T", ev.Value)
	case engine.Plane:
		return fmt.Sprintf("plane %T %+v", ev.Event, ev.Event)
	}
	return fmt.Sprintf("%T", ev)
}

// actionText describes an action on one line.
func actionText(a engine.Action) string {
	switch a := a.(type) {
	case engine.Send:
		return fmt.Sprintf("send %s %v > %v ttl %d %s", a.Link, a.Src, a.Dst, a.TTL, digest(a.Data))
	case engine.Originate:
		return "originate " + digest(a.Packet)
	case engine.SendDiscovery:
		return fmt.Sprintf("discovery %s %v > %v %s", a.Link, a.Src, a.Dst, digest(a.Data))
	case engine.Commit:
		var parts []string
		for _, r := range a.Records {
			parts = append(parts, fmt.Sprintf("record %x=%s", r.Key, digest(r.Value)))
		}
		for _, c := range a.Changes {
			parts = append(parts, changeText(c))
		}
		for _, t := range a.Then {
			parts = append(parts, "then "+actionText(t))
		}
		return fmt.Sprintf("commit %d [%s]", a.Ticket, strings.Join(parts, "; "))
	case engine.Ask:
		return fmt.Sprintf("ask %d %T %v", a.Ticket, a.Question, a.Question)
	case engine.Tell:
		return "note " + a.Note.String()
	case engine.Result:
		return fmt.Sprintf("result %T %v", a.Value, a.Err)
	case engine.Announce:
		return fmt.Sprintf("announce %s %v %v", a.Link, a.Address, a.HW)
	}
	return fmt.Sprintf("%T", a)
}

var opNames = map[forward.Op]string{forward.Put: "put", forward.Delete: "delete", forward.Extend: "extend"}

// changeText describes a change of the plane.
func changeText(c forward.Change) string {
	switch c.Op {
	case forward.Put:
		return "put " + EntryText(c.Entry)
	case forward.Extend:
		return fmt.Sprintf("extend %s to %s", c.Entry.Key, clockText(c.Until))
	}
	return fmt.Sprintf("%s %q", opNames[c.Op], c.Entry.Key)
}

var modeNames = map[forward.Mode]string{forward.Both: "both", forward.Receive: "receive", forward.Send: "send"}

// EntryText describes an entry on one line.
func EntryText(e forward.Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %v", e.Key, e.Inner)
	if e.Intercept != "" {
		fmt.Fprintf(&b, " intercept %s", e.Intercept)
	}
	if e.Deliver.Link != "" {
		fmt.Fprintf(&b, " deliver %s %v", e.Deliver.Link, e.Deliver.HW)
	}
	if e.HomeLink != "" {
		fmt.Fprintf(&b, " home %s", e.HomeLink)
	}
	for _, t := range e.Tunnels {
		fmt.Fprintf(&b, " {%v-%v %v", t.Local, t.Peer, t.Encap)
		if t.Link != "" {
			fmt.Fprintf(&b, " on %s", t.Link)
		}
		if t.AnyPort {
			b.WriteString(" any-port")
		}
		if t.Budget > 0 {
			fmt.Fprintf(&b, " budget %d", t.Budget)
		}
		if t.Copies {
			b.WriteString(" copies")
		}
		if t.Spare {
			b.WriteString(" spare")
		}
		fmt.Fprintf(&b, " %s until %s}", modeNames[t.Mode], clockText(t.Until))
	}
	return b.String()
}

// clockText shows an instant of a monotonic clock.
func clockText(t time.Time) string {
	if t.IsZero() {
		return "ever"
	}
	return fmt.Sprintf("%.3f", float64(t.UnixMicro())/1e6)
}

// SameEntry tells whether two entries ask for the same. Instants may differ by
// a millisecond: what is stored in wall time comes back rounded.
func SameEntry(a, b forward.Entry) bool {
	if a.Key != b.Key || a.Role != b.Role || a.Inner != b.Inner || a.Intercept != b.Intercept || a.HomeLink != b.HomeLink ||
		a.Deliver != b.Deliver || a.Broadcast != b.Broadcast || !slices.Equal(a.Routes, b.Routes) || len(a.Tunnels) != len(b.Tunnels) {
		return false
	}
	for i, s := range a.Tunnels {
		t := b.Tunnels[i]
		if !SameInstant(s.Until, t.Until) {
			return false
		}
		s.Until, t.Until = time.Time{}, time.Time{}
		if s != t {
			return false
		}
	}
	return true
}

// SameInstant tells whether two instants are less than two milliseconds apart,
// or both never.
func SameInstant(a, b time.Time) bool {
	if a.IsZero() || b.IsZero() {
		return a.IsZero() && b.IsZero()
	}
	return a.Sub(b).Abs() < 2*time.Millisecond
}
