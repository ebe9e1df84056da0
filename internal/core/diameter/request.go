package diameter

import (
	"errors"
	"fmt"
	"slices"

	"careof/internal/core/note"
	wire "careof/wire/diameter"
)

// A request is one of the application's on its way.
type request struct {
	ticket  uint64
	message *wire.Message
	route   []*peer
	proxied bool  // another node's
	secure  bool  // not without TLS
	peer    *peer // who has it; nil while nobody can be given it
	tried   []*peer
	sent    []uint32 // Hop-by-Hop Identifiers
}

// An undeliverable error says why a request has no answer, and wraps what a proxy answers then.
type undeliverable struct{ error }

// Unwrap returns the reason, and the result for whoever asked.
func (u undeliverable) Unwrap() []error {
	return []error{u.error, &wire.Error{Code: wire.UnableToDeliver, What: u.error.Error()}}
}

func undelivered(err error) error { return undeliverable{err} }

// submit sends a request of the application's.
//
//rfc:6733#6.1.1
//rfc:6733#6.1.2
//rfc:6733#6.1.9
func (n *Node) submit(e Submit) {
	refuse := func(err error) { n.out = append(n.out, Answered{Ticket: e.Ticket, Err: undelivered(err)}) }
	if n.stopped {
		refuse(ErrStopped)
		return
	}
	if len(n.waiting) >= n.cfg.MaxPending || n.waiting[e.Ticket] != nil {
		refuse(ErrLimited)
		return
	}
	m := &wire.Message{Header: e.Request.Header, List: slices.Clone(e.Request.List)}
	r := &request{ticket: e.Ticket, message: m, proxied: e.Proxied, secure: e.Secure}
	if e.Proxied {
		// "A relay or proxy agent MUST append a Route-Record AVP to all requests forwarded. The AVP contains the identity of the peer
		// from which the request was received." The End-to-End Identifier "MUST NOT be modified by Diameter agents of any kind".
		if s := n.known[keyOf(m)]; s != nil {
			m.List = append(m.List, wire.RouteRecord.Text(s.from.Host))
		}
	} else {
		m.EndToEnd = n.nextEnd()
		m.Flags &^= wire.FlagRetransmitted
		n.sign(m)
	}
	if r.route = n.route(m); len(r.route) == 0 {
		refuse(ErrNoRoute)
		return
	}
	to := n.candidates(r)
	if len(to) == 0 {
		for _, p := range r.route {
			if p.unwanted {
				p.unwanted = false
				n.again(p)
			}
		}
		if r.secure = false; e.Secure && len(n.candidates(r)) > 0 {
			refuse(ErrInsecure)
			return
		}
		refuse(ErrNoPeer)
		return
	}
	n.waiting[r.ticket] = r
	n.due.Set(r.ticket, n.now.Mono.Add(n.cfg.Timeout))
	n.give(r, to[0])
}

// sign adds what says where a message comes from, behind the Session-Id that comes first.
func (n *Node) sign(m *wire.Message) {
	at := 0
	if len(m.List) > 0 && m.List[0].Code == wire.SessionID {
		at = 1
	}
	if !m.Has(wire.OriginRealm) {
		m.List = slices.Insert(m.List, at, wire.OriginRealm.Text(n.cfg.Realm))
	}
	if !m.Has(wire.OriginHost) {
		m.List = slices.Insert(m.List, at, wire.OriginHost.Text(n.cfg.Host))
	}
}

// give sends a request to a peer. The T flag is the caller's.
func (n *Node) give(r *request, p *peer) {
	r.message.HopByHop = n.nextHop()
	if !n.send(p.open(), r.message) {
		n.finish(r, Answered{Err: undelivered(errors.New("diameter: it cannot be written"))})
		return
	}
	r.peer = p
	r.tried = append(r.tried, p)
	r.sent = append(r.sent, r.message.HopByHop)
	n.pending[r.message.HopByHop] = r
	p.stats.Requests++
}

func (n *Node) finish(r *request, a Answered) {
	for _, id := range r.sent {
		delete(n.pending, id)
	}
	delete(n.waiting, r.ticket)
	n.due.Clear(r.ticket)
	a.Ticket = r.ticket
	n.out = append(n.out, a)
}

// inOrder lists what is on its way, the oldest ticket first.
func (n *Node) inOrder() []*request {
	all := make([]*request, 0, len(n.waiting))
	for _, r := range n.waiting {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *request) int {
		if a.ticket < b.ticket {
			return -1
		}
		return 1
	})
	return all
}

// failover gives what a peer has not answered to others. "When a transport failure is detected, if possible, all messages in the queue
// are sent to an alternate agent with the T flag set."
//
//rfc:6733#5.5.4
func (n *Node) failover(p *peer, why string) {
	moved, kept := 0, 0
	for _, r := range n.inOrder() {
		if r.peer != p {
			continue
		}
		if to := n.candidates(r, p); len(to) > 0 {
			r.message.Flags |= wire.FlagRetransmitted
			n.give(r, to[0])
			moved++
			continue
		}
		kept++
		if p.open() == nil {
			r.peer = nil
		}
	}
	if moved+kept > 0 {
		p.stats.Failovers++
		n.about(p, p.open(), FailedOver, note.Warn, fmt.Sprintf("%s: %d requests to others, %d wait", why, moved, kept))
	}
}

// failback: a peer that answers again is given new requests by its rank; nothing is moved back.
func (n *Node) failback(p *peer) { n.about(p, p.open(), BackFrom, note.Info, ""); n.resume(p) }

// resume gives a peer that can be used again what waits for anybody.
func (n *Node) resume(p *peer) {
	for _, r := range n.inOrder() {
		if r.peer != nil {
			continue
		}
		if to := n.candidates(r); len(to) > 0 {
			r.message.Flags |= wire.FlagRetransmitted
			n.give(r, to[0])
		}
	}
}

// answer takes an answer of a peer. "It SHOULD ignore answers received that do not match a known Hop-by-Hop Identifier."
//
//rfc:6733#6.2.1
func (n *Node) answer(p *peer, l *link, m *wire.Message) {
	r := n.pending[m.HopByHop]
	if r == nil || m.Command != r.message.Command || m.EndToEnd != r.message.EndToEnd || !slices.Contains(r.tried, p) {
		p.stats.Unknown++
		return
	}
	p.stats.Answers++
	result, _ := m.Result()
	if m.Flags&wire.FlagError != 0 && n.elsewhere(r, p, m, result) {
		return
	}
	a := Answered{Answer: m, Peer: p.Host, Secure: l.secure}
	// What a proxy passes on, it does not judge.
	if err := m.Check(); err != nil && !r.proxied {
		n.wrong(p, l, fmt.Errorf("%s: %w", m.Name(), err))
		a = Answered{Err: err}
	}
	n.finish(r, a)
}

// elsewhere gives a request that a peer could not deliver to another one: DIAMETER_TOO_BUSY "a Diameter node SHOULD attempt to send the
// message to an alternate peer", and likewise the others here. The T flag "MUST NOT be set if an error answer message … has been
// received for the earlier message".
//
//rfc:6733#7.1.3
//rfc:6733#6.1.8
func (n *Node) elsewhere(r *request, p *peer, m *wire.Message, result wire.ResultCode) bool {
	switch result {
	case wire.UnableToDeliver, wire.TooBusy, wire.LoopDetected:
	case wire.RedirectIndication:
		// "the initiator of the request SHOULD direct the request directly to the server": to one that is a peer.
		r.route = nil
		for _, a := range m.All(wire.RedirectHost) {
			if uri, ok := a.Text(); ok {
				if to := n.find(hostOf(uri)); to != nil {
					r.route = append(r.route, to)
				}
			}
		}
	default:
		return false
	}
	to := n.candidates(r, r.tried...)
	if len(to) == 0 {
		return false
	}
	r.message.Flags &^= wire.FlagRetransmitted
	n.give(r, to[0])
	return true
}
