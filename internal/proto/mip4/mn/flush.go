package mn

import (
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
)

// flush puts the actions of this step in order.
//
// A request that belongs to a change of the home link waits for that change,
// in the order of RFC 5944 section 4.6, and so does one that follows while the
// change is still under way. One that ends the registration at a home agent that
// packets have gone to until now waits until they go to another one. All others
// leave at once: a request promises nothing, and a handover must not wait for a
// disk.
//
// Who hears that the node is registered uses the home address at once, so
// that waits for address and routes, too.
//
//rfc:5944#4.6
func (n *Node) flush() []engine.Action {
	var out []engine.Action
	n.withhold()
	change, homeLink := n.change()
	homeLink = homeLink || len(change) > 0 && n.linkNow != n.homeLink()
	refused := !n.putAgain.IsZero()
	behind := n.homePuts > 0 && !refused // a change of the home link is under way
	waiting := len(n.withheld) > 0 && n.puts > 0 && !refused
	if home := entryOf(n.applied, n.Key()); len(change) == 0 && home != nil && (behind && len(n.arp)+len(n.sends) > 0 || waiting) {
		// Nothing has changed since: the same once more, so that what follows
		// it leaves only when it is true.
		change = []forward.Change{{Op: forward.Put, Entry: *home}}
	}
	var then []engine.Action
	switch {
	case len(change) > 0 && (homeLink || behind || n.makes() || n.parting):
		then = append(n.arp, n.sends...)
	case refused && n.linkNow != n.homeLink():
		// The data plane refused the change of the home link: what waits for
		// it is left to the retransmission.
	default:
		out = append(out, n.arp...)
		out = append(out, n.sends...)
	}
	switch {
	case len(change) > 0:
		out = append(out, n.install(change, homeLink, then))
	case !refused:
		for _, t := range n.withheld {
			out = append(out, t)
		}
		n.withheld = nil
	}
	if n.puts == 0 && n.putAgain.IsZero() {
		if n.carrying = n.active; n.broken() {
			n.carrying = nil
		}
	}
	if records := n.changedRecords(); len(records) > 0 {
		out = append(out, engine.Commit{Records: records})
	}
	out = append(out, n.rest...)
	n.arp, n.sends, n.rest, n.parting = nil, nil, nil, false
	return out
}

// makes says that another path is being made before the present one is broken.
func (n *Node) makes() bool {
	if n.broken() {
		return false
	}
	for _, r := range n.registrations() {
		if r.try != nil && r.try.purpose == Register && r.try.anew {
			return true
		}
	}
	return false
}

// withhold takes what waits for the data plane out of what this step tells.
func (n *Node) withhold() {
	n.rest = slices.DeleteFunc(n.rest, func(a engine.Action) bool {
		t, ok := a.(engine.Tell)
		if !ok || t.Note.Kind != note.Registered && t.Note.Kind != note.Home {
			return false
		}
		n.withheld = append(n.withheld, t)
		return true
	})
}

// install hands a change to the data plane; then, and what is withheld, follows it.
func (n *Node) install(change []forward.Change, homeLink bool, then []engine.Action) engine.Commit {
	told := n.withheld
	n.withheld = nil
	for _, t := range told {
		then = append(then, t)
	}
	n.puts++
	if homeLink {
		n.homePuts++
	}
	n.tickets++
	link := n.homeLink()
	n.committed[n.tickets] = func(err error) {
		n.puts--
		if homeLink {
			n.homePuts--
		}
		n.putDone(link, err)
		if err != nil {
			n.withheld = append(told, n.withheld...)
		}
	}
	return engine.Commit{Ticket: n.tickets, Changes: change, Then: then}
}

// putDone learns whether the data plane took the entry.
func (n *Node) putDone(link string, err error) {
	if err == nil {
		n.linkNow = link
		return
	}
	n.applied = nil
	n.putAgain = n.now.Mono.Add(time.Second)
	n.Tell(note.Note{Kind: note.Failed, Level: note.Error, Why: "data plane: " + err.Error()})
}
