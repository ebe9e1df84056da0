package diameter

import (
	"slices"
	"strings"
	"time"

	wire "careof/wire/diameter"
)

// remember is how long an answer is kept for duplicates: End-to-End Identifiers are unique "for a period of at least 4 minutes".
const remember = 4 * time.Minute

// A duplicate is what tells one: "The combination of the Origin-Host AVP … and this field is used to detect duplicates."
type duplicate struct {
	host     string
	endToEnd uint32
	command  wire.Command
}

func keyOf(m *wire.Message) duplicate {
	host, _ := m.Text(wire.OriginHost)
	return duplicate{strings.ToLower(host), m.EndToEnd, m.Command}
}

// A served request is one that the application has, or has answered.
type served struct {
	handle uint64
	key    duplicate
	from   *peer
	asked  []asker
	answer *wire.Message // nil: not yet
}

// An asker is one copy of a request.
type asker struct {
	conn     Conn
	hopByHop uint32
	proxies  wire.List // its Proxy-Info AVPs
}

// serve takes a request of a peer.
//
//rfc:6733#6.1.3
func (n *Node) serve(p *peer, l *link, m *wire.Message) {
	p.stats.Served++
	refuse := func(result wire.ResultCode) { n.send(l, m.Answer(result, n.originate()...)) }
	if m.Flags&wire.FlagError != 0 {
		refuse(wire.InvalidHeaderBits)
		return
	}
	// "A loop is detected if the server finds its own identity in a Route-Record AVP."
	if slices.ContainsFunc(m.All(wire.RouteRecord), func(a wire.AVP) bool { host, _ := a.Text(); return Same(host, n.cfg.Host) }) {
		refuse(wire.LoopDetected)
		return
	}
	here, no := n.destination(m)
	if no != 0 {
		refuse(no)
		return
	}
	if here {
		if err := m.Check(); err != nil {
			n.wrong(p, l, err)
			n.send(l, m.Refuse(err, n.originate()...))
			return
		}
	}
	key := keyOf(m)
	who := asker{l.id, m.HopByHop, m.All(wire.ProxyInfo)}
	// "Duplicate requests SHOULD cause the same answer to be transmitted …, and they MUST NOT affect any state that was set when the
	// original request was processed."
	if s := n.known[key]; s != nil {
		p.stats.Duplicates++
		switch {
		case s.answer != nil:
			n.answerTo(s, who)
		case !slices.ContainsFunc(s.asked, func(a asker) bool { return a.conn == who.conn && a.hopByHop == who.hopByHop }) && len(s.asked) < 8:
			s.asked = append(s.asked, who)
		}
		return
	}
	if p.inWork >= n.cfg.MaxServed || n.stopped {
		refuse(wire.TooBusy)
		return
	}
	n.nextHandle++
	s := &served{handle: n.nextHandle, key: key, from: p, asked: []asker{who}}
	n.served[s.handle], n.known[key] = s, s
	p.inWork++
	n.forget.Set(s.handle, n.now.Mono.Add(remember))
	n.out = append(n.out, Deliver{Handle: s.handle, Peer: p.Host, Secure: l.secure, Transit: !here, Request: m})
}

// reply sends the application's answer to everybody who has asked.
//
//rfc:6733#6.2
func (n *Node) reply(e Reply) {
	s := n.served[e.Handle]
	if s == nil || s.answer != nil {
		return
	}
	s.from.inWork--
	s.answer = &wire.Message{Header: e.Answer.Header}
	s.answer.Flags &^= wire.FlagRequest | wire.FlagRetransmitted
	s.answer.EndToEnd = s.key.endToEnd
	for _, a := range e.Answer.List {
		// Each asker gets the Proxy-Info of its own copy; that of a request sent on is the same.
		if a.Code != wire.ProxyInfo || a.Vendor != 0 {
			s.answer.List = append(s.answer.List, a)
		}
	}
	n.sign(s.answer)
	for _, who := range s.asked {
		n.answerTo(s, who)
	}
	s.asked = nil
	n.forget.Set(s.handle, n.now.Mono.Add(remember))
	n.answered = append(n.answered, s.handle)
	for len(n.answered) > n.cfg.MaxAnswers {
		n.unserve(n.served[n.answered[0]])
		n.answered = n.answered[1:]
	}
}

func (n *Node) answerTo(s *served, who asker) {
	l := n.links[who.conn]
	// "The agent MUST then send the answer to the host that it received the original request from"; when that connection is gone, the
	// request comes again over another one.
	if l == nil || l.peer == nil || l != l.peer.open() {
		return
	}
	m := &wire.Message{Header: s.answer.Header, List: slices.Concat(s.answer.List, who.proxies)}
	m.HopByHop = who.hopByHop
	n.send(l, m)
}

// unserve forgets a request and its answer.
func (n *Node) unserve(s *served) {
	if s == nil {
		return
	}
	if s.answer == nil {
		s.from.inWork--
	}
	n.forget.Clear(s.handle)
	delete(n.served, s.handle)
	delete(n.known, s.key)
}
