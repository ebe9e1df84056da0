// Package twins notices two hosts that are one mobile node: with a copied disk, or
// a key that was given twice, they take the binding from each other for ever, and
// neither learns why. RFC 5944 has nothing against it, for each request is authentic
// and newer than the one before.
//
// A home agent sees the binding go to a place and back, and that again and again. So
// does a node with an uplink that comes and goes, which should be known, too.
package twins

import (
	"fmt"
	"maps"
	"net/netip"
	"time"

	"careof/internal/core/binding"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
)

// Name is the feature's name.
const Name = "twins"

// BackAndForth says that a node's binding does not stay where it is.
const BackAndForth note.Kind = "back-and-forth"

const (
	// A binding that returned to where it was before the last move so often
	// within that time goes back and forth. A node by itself goes back to an
	// uplink after it has answered for a while, and to one that fails ever later.
	many   = 8
	within = 2 * time.Minute
	// quiet is how long nothing more is told of a node.
	quiet = 10 * time.Minute
	// most bounds the nodes that are remembered: those that have moved lately.
	most       = 4096
	sweepEvery = 10 * time.Second
)

// New is the feature. It is a home agent's.
func New() feature.Feature {
	return feature.Feature{Name: Name, RFC: []int{5944}, Home: func(a *ha.Agent) error {
		h := &home{agent: a, nodes: make(map[*ha.Node]*moves)}
		a.OnBound(h.bound)
		return nil
	}}
}

type home struct {
	agent *ha.Agent
	nodes map[*ha.Node]*moves
	swept time.Time // when nodes were last dropped
}

// moves are those of a node.
type moves struct {
	at, before place // now, and before the last move
	last       time.Time
	returns    int // to before
	since      time.Time
	told       time.Time
}

// A place is a care-of address, which behind a NAT is not the one that is seen.
type place struct{ careOf, outer netip.Addr }

func (p place) String() string {
	if p.careOf == p.outer {
		return p.careOf.String()
	}
	return fmt.Sprintf("%v (seen as %v)", p.careOf, p.outer)
}

// bound takes a binding that is new, or has moved, or was refreshed.
func (h *home) bound(n *ha.Node, b binding.Binding) {
	if !b.Since.Equal(b.Renewed) {
		return // it is where it was
	}
	now := h.agent.Now().Mono
	at := place{b.CareOfAddress, b.Source.Addr()}
	m := h.nodes[n]
	if m == nil {
		if len(h.nodes) >= most && !h.forget(now) {
			return
		}
		h.nodes[n] = &moves{at: at, last: now}
		return
	}
	m.last = now
	switch {
	case at == m.at:
		return
	case at != m.before:
		m.returns = 0 // it travels
	default:
		if m.returns == 0 || now.Sub(m.since) > within {
			m.returns, m.since = 0, now
		}
		m.returns++
	}
	m.at, m.before = at, m.at
	if m.returns < many || !m.told.IsZero() && now.Sub(m.told) < quiet {
		return
	}
	m.told = now
	h.agent.Tell(note.Note{
		Kind: BackAndForth, Level: note.Warn, HomeAddress: n.Home(), NAI: string(n.Identity().NAI), CareOfAddress: b.CareOfAddress,
		Why: fmt.Sprintf("registered at %v and at %v in turn, %d times within %v: two hosts with one key, or an uplink that comes and goes",
			m.before, m.at, m.returns, now.Sub(m.since).Round(time.Second)),
	})
}

// forget drops the nodes that have not moved for a while, and says whether there is
// room. It looks now and then only: where very many register, each finds no room.
func (h *home) forget(now time.Time) bool {
	if now.Sub(h.swept) < sweepEvery {
		return false
	}
	h.swept = now
	maps.DeleteFunc(h.nodes, func(_ *ha.Node, m *moves) bool { return now.Sub(m.last) > within && now.Sub(m.told) > quiet })
	return len(h.nodes) < most
}
