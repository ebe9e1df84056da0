package diameter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"careof/internal/core/note"
	wire "careof/wire/diameter"
)

// state is a peer's state (RFC 6733 section 5.6).
type state uint8

const (
	closed state = iota
	waitConnAck
	waitICEA
	waitConnAckElect
	waitReturns
	rOpen
	iOpen
	closing
)

var states = [...]string{"closed", "wait-conn-ack", "wait-i-cea", "wait-conn-ack-elect", "wait-returns", "r-open", "i-open", "closing"}

func (s state) String() string {
	if int(s) < len(states) {
		return states[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

type peer struct {
	Peer
	state    state
	i, r     *link         // the initiator's and the responder's connection
	cer      *wire.Message // of r, not answered yet
	timer    time.Time     // of the state
	retry    time.Time     // to connect
	backoff  time.Duration
	unwanted bool // it said that it has no use for a connection
	dog      watchdog
	since    time.Time // of the state that is shown, time of day

	realm   string
	product string
	apps    []wire.Application // that it has advertised
	inWork  int                // requests of its that the application has
	stats   PeerStats
	last    string // why it is not connected
}

// open is the connection for messages, nil when there is none.
func (p *peer) open() *link {
	switch p.state {
	case iOpen:
		return p.i
	case rOpen:
		return p.r
	}
	return nil
}

// start is the event Start.
func (n *Node) start(p *peer) {
	if !p.Connect || n.stopped || p.state != closed {
		return
	}
	p.retry = time.Time{}
	p.state, p.timer = waitConnAck, n.now.Mono.Add(4*patience)
	n.out = append(n.out, Dial{Peer: p.Host})
}

// again plans the next attempt: soon at first, and then every Tc. "An implementation … SHOULD NOT attempt reconnection" to a peer that
// said it does not want it; a request for it changes that.
//
//rfc:6733#2.1
func (n *Node) again(p *peer) {
	if !p.Connect || n.stopped || p.unwanted || p.state != closed {
		return
	}
	p.backoff = min(max(2*p.backoff, time.Second), n.cfg.Reconnect)
	p.retry = n.now.Mono.Add(p.backoff - time.Duration(n.rng.Int64N(int64(p.backoff)/4)))
}

func (n *Node) connected(e Connected) {
	p := n.find(e.Peer)
	if p == nil || (p.state != waitConnAck && p.state != waitConnAckElect) {
		n.out = append(n.out, Close{Conn: e.Conn})
		return
	}
	p.i = &link{id: e.Conn, peer: p, local: e.Local, remote: e.Remote, secure: e.Secure}
	n.links[e.Conn] = p.i
	cer := wire.NewRequest(wire.CapabilitiesExchange, wire.Base, n.capabilities(p.i)...)
	cer.HopByHop, cer.EndToEnd = n.nextHop(), n.nextEnd()
	n.send(p.i, cer)
	p.timer = n.now.Mono.Add(2 * patience)
	if p.state == waitConnAck {
		p.state = waitICEA
		return
	}
	n.elect(p)
}

func (n *Node) unconnected(e Unconnected) {
	p := n.find(e.Peer)
	if p == nil {
		return
	}
	why := "cannot connect"
	if e.Err != nil {
		why = e.Err.Error()
	}
	switch p.state {
	case waitConnAck:
		n.failed(p, nil, why)
	case waitConnAckElect:
		n.openResponder(p)
	}
}

// arrived is R-Conn-CER: a connection has proved to be this peer's.
//
//rfc:6733#5.6
func (n *Node) arrived(p *peer, l *link, cer *wire.Message) {
	switch p.state {
	case closed:
		p.retry = time.Time{}
		p.r, p.cer = l, cer
		n.openResponder(p)
	case waitConnAck:
		p.r, p.cer, p.state = l, cer, waitConnAckElect
	case waitICEA:
		p.r, p.cer = l, cer
		n.elect(p)
	default:
		n.about(p, l, PeerRefused, note.Info, "it is connected already")
		n.drop(l)
		// It may have restarted, and the other connection be dead without anybody having noticed: ask.
		if p.open() != nil && !p.dog.pending {
			n.sendWatchdog(p)
		}
	}
}

// elect holds the election: "If the local Origin-Host lexicographically succeeds the received Origin-Host, a Win-Election event is
// issued locally."
//
//rfc:6733#5.6.4
func (n *Node) elect(p *peer) {
	p.state = waitReturns
	if strings.ToLower(n.cfg.Host) > strings.ToLower(p.Host) {
		n.drop(p.i)
		p.i = nil
		n.openResponder(p)
	}
}

// openResponder answers the CER that waits, and is open when it fits.
func (n *Node) openResponder(p *peer) {
	l, cer := p.r, p.cer
	p.cer = nil
	answer := func(result wire.ResultCode) *wire.Message {
		return cer.Answer(result, n.capabilities(l)...)
	}
	err := cer.Check()
	if err != nil {
		a := cer.Refuse(err, n.capabilities(l)...)
		// "A CEA MAY be issued": its definition has all of it, so there is no need for the E bit.
		a.Flags &^= wire.FlagError
		n.send(l, a)
		n.failed(p, l, err.Error())
		return
	}
	apps := advertised(cer)
	switch {
	case !n.common(apps):
		n.send(l, answer(wire.NoCommonApplication))
		n.failed(p, l, "no application in common: it has "+names(apps))
		return
	case !l.secure && onlyTLS(cer):
		n.send(l, answer(wire.NoCommonSecurity))
		n.failed(p, l, "it wants TLS on a connection without")
		return
	}
	n.send(l, answer(wire.Success))
	n.opened(p, rOpen, cer, apps)
}

// onlyTLS reports whether an older peer wants to negotiate TLS within the connection, and nothing else (RFC 6733 section 6.10).
func onlyTLS(cer *wire.Message) bool {
	wanted := cer.All(wire.InbandSecurityID)
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(a wire.AVP) bool { v, _ := a.Uint32(); return v == wire.NoInbandSecurity })
}

// receivedCEA is I-Rcv-CEA.
func (n *Node) receivedCEA(p *peer, m *wire.Message) {
	host, _ := m.Text(wire.OriginHost)
	result, _ := m.Result()
	apps := advertised(m)
	var why string
	switch err := m.Check(); {
	case !result.OK():
		why = fmt.Sprintf("it answers %v", result)
		if text, ok := m.Text(wire.ErrorMessage); ok {
			why += fmt.Sprintf(" %.200q", text)
		}
	case err != nil:
		why = err.Error()
	case !Same(host, p.Host):
		why = fmt.Sprintf("it says that it is %q", host)
	case !n.common(apps):
		why = "no application in common: it has " + names(apps)
	}
	if why != "" && p.state == waitReturns {
		n.drop(p.i)
		p.i = nil
		n.openResponder(p)
		return
	}
	if why != "" {
		n.failed(p, p.i, why)
		return
	}
	if p.state == waitReturns {
		n.drop(p.r)
		p.r, p.cer = nil, nil
	}
	n.opened(p, iOpen, m, apps)
}

// opened is the way into R-Open and I-Open; m is the peer's CER or CEA.
func (n *Node) opened(p *peer, s state, m *wire.Message, apps []wire.Application) {
	p.state, p.timer, p.retry, p.backoff, p.unwanted, p.last = s, time.Time{}, time.Time{}, 0, false, ""
	p.apps, p.since = apps, n.now.Wall
	p.realm, _ = m.Text(wire.OriginRealm)
	p.product, _ = m.Text(wire.ProductName)
	p.stats.Connections++
	what := "connected"
	if p.open().secure {
		what += " with TLS"
	}
	n.about(p, p.open(), PeerUp, note.Info, what)
	n.dogUp(p)
	n.resume(p)
}

// capabilities are the AVPs of CER and CEA but for Result-Code.
//
//rfc:6733#5.3
func (n *Node) capabilities(l *link) []wire.AVP {
	avps := append(n.originate(), wire.HostIPAddress.Address(l.local), wire.VendorID.Uint32(n.cfg.Vendor), wire.ProductName.Text(n.cfg.Product))
	if n.cfg.State != 0 {
		avps = append(avps, wire.OriginStateID.Uint32(n.cfg.State))
	}
	// "Mobile IPv4 … MAY be advertised as Auth-Application-Id or Acct-Application-Id" (RFC 4004 section 1.3): both.
	for _, a := range n.cfg.Applications {
		avps = append(avps, wire.AuthApplicationID.Uint32(uint32(a)), wire.AcctApplicationID.Uint32(uint32(a)))
	}
	return avps
}

// advertised are the applications of a CER or CEA. "The value of the Vendor-Id AVP in the Vendor-Specific-Application-Id MUST NOT be
// used during computation."
//
//rfc:6733#5.3
func advertised(m *wire.Message) []wire.Application {
	var apps []wire.Application
	add := func(l wire.List) {
		for _, c := range []wire.Code{wire.AuthApplicationID, wire.AcctApplicationID} {
			for _, a := range l.All(c) {
				if v, ok := a.Uint32(); ok && !slices.Contains(apps, wire.Application(v)) {
					apps = append(apps, wire.Application(v))
				}
			}
		}
	}
	add(m.List)
	for _, a := range m.All(wire.VendorSpecificApplicationID) {
		if g, ok := a.Group(); ok {
			add(g)
		}
	}
	return apps
}

// common: "receiving a CER or CEA from a peer advertising itself as a relay … MUST be interpreted as having common applications".
func (n *Node) common(apps []wire.Application) bool {
	return slices.Contains(n.cfg.Applications, wire.Relay) || slices.ContainsFunc(apps, func(a wire.Application) bool { return a == wire.Relay || slices.Contains(n.cfg.Applications, a) })
}

func names(apps []wire.Application) string {
	if len(apps) == 0 {
		return "none"
	}
	var s []string
	for _, a := range apps {
		s = append(s, a.String())
	}
	return strings.Join(s, ", ")
}

// timeout is the event Timeout.
func (n *Node) timeout(p *peer) {
	switch p.state {
	case waitConnAck, waitICEA, waitConnAckElect, waitReturns:
		n.failed(p, nil, "no answer")
	case closing:
		n.reset(p)
		n.again(p)
	}
}

// failed ends an attempt to connect.
func (n *Node) failed(p *peer, l *link, why string) {
	// The same again and again is said once.
	if why != p.last {
		n.about(p, l, PeerRefused, note.Warn, why)
	}
	p.last = why
	n.reset(p)
	n.again(p)
}

// reset is the way into Closed.
func (n *Node) reset(p *peer) {
	n.drop(p.i)
	n.drop(p.r)
	if p.state != closed {
		p.since = n.now.Wall
	}
	p.i, p.r, p.cer, p.state, p.timer = nil, nil, nil, closed, time.Time{}
}

// lost ends an open connection that failed.
func (n *Node) lost(p *peer, why string) {
	l := p.open()
	n.about(p, l, PeerDown, note.Warn, why)
	p.last = why
	p.dogDown(false)
	n.reset(p)
	n.failover(p, why)
	n.again(p)
}

// disconnected is Peer-Disc, of a connection that is gone already.
func (n *Node) disconnected(p *peer, l *link, err error) {
	why := "it closed the connection"
	if err != nil {
		why = err.Error()
	}
	switch {
	case l == p.open():
		n.lost(p, why)
	case p.state == closing:
		n.reset(p)
		n.again(p)
	case p.state == waitICEA && l == p.i:
		p.i = nil
		n.failed(p, nil, why)
	case p.state == waitConnAckElect && l == p.r:
		p.r, p.cer, p.state = nil, nil, waitConnAck
	case p.state == waitReturns && l == p.i:
		p.i = nil
		n.openResponder(p)
	case p.state == waitReturns && l == p.r:
		p.r, p.cer, p.state = nil, nil, waitICEA
	}
}

// hear takes a message of a peer.
func (n *Node) hear(p *peer, l *link, octets []byte) {
	p.stats.Received++
	m, err := wire.Parse(octets)
	if m == nil { // no header: the host does not hand out such
		n.wrong(p, l, err)
		return
	}
	base := m.Application == wire.Base
	switch open := l == p.open(); {
	case l == p.i && (p.state == waitICEA || p.state == waitReturns):
		if m.IsRequest() || m.Command != wire.CapabilitiesExchange || err != nil {
			n.failed(p, l, fmt.Sprintf("%s, and a CEA was expected", m.Name()))
			return
		}
		n.receivedCEA(p, m)
	case p.state == closing && !m.IsRequest() && m.Command == wire.DisconnectPeer:
		// "The receiver of the Disconnect-Peer-Answer message initiates the transport disconnect."
		n.reset(p)
		n.again(p)
	case p.state == closing && err == nil && m.IsRequest() && m.Command == wire.DisconnectPeer:
		n.answerBase(p, l, m) // both wanted to go
	case p.state == closing && err == nil && !m.IsRequest():
		n.answer(p, l, m) // it was on its way
	case !open:
		return
	case err != nil:
		n.dogHeard(p, false)
		n.wrong(p, l, err)
		if m.IsRequest() {
			n.send(l, m.Refuse(err, n.originate()...))
		}
	case base && m.Command == wire.DeviceWatchdog:
		n.dogHeard(p, !m.IsRequest())
		if m.IsRequest() {
			n.answerBase(p, l, m)
		}
	case base && m.Command == wire.DisconnectPeer && m.IsRequest():
		if !n.answerBase(p, l, m) {
			return
		}
		cause, _ := m.Uint32(wire.DisconnectCause)
		// "A receiver of a DPR with above result code SHOULD NOT attempt reconnection."
		p.unwanted = cause != wire.Rebooting
		why := "it disconnects"
		if a, ok := m.Find(wire.DisconnectCause); ok {
			why += ": " + a.Value()
		}
		n.about(p, l, PeerDown, note.Info, why)
		p.last = why
		n.leave(p)
	case base && m.Command == wire.CapabilitiesExchange:
		// Capabilities are told once on a connection (section 5.3).
		if m.IsRequest() {
			n.send(l, m.Answer(wire.UnableToComply, n.originate()...))
		}
	case m.IsRequest():
		n.dogHeard(p, false)
		n.serve(p, l, m)
	default:
		n.dogHeard(p, false)
		n.answer(p, l, m)
	}
}

// wrong notes a message that cannot be read.
func (n *Node) wrong(p *peer, l *link, err error) {
	p.stats.Wrong++
	n.about(p, l, Misunderstood, note.Info, fmt.Sprintf("%.300s", err))
}

// answerBase answers DWR and DPR, and tells whether they were right.
func (n *Node) answerBase(p *peer, l *link, m *wire.Message) bool {
	if err := m.Check(); err != nil {
		n.wrong(p, l, err)
		n.send(l, m.Refuse(err, n.originate()...))
		return false
	}
	avps := n.originate()
	if m.Command == wire.DeviceWatchdog && n.cfg.State != 0 {
		avps = append(avps, wire.OriginStateID.Uint32(n.cfg.State))
	}
	n.send(l, m.Answer(wire.Success, avps...))
	return true
}

//rfc:6733#5.5.1
func (n *Node) sendDWR(p *peer) {
	m := wire.NewRequest(wire.DeviceWatchdog, wire.Base, n.originate()...)
	if n.cfg.State != 0 {
		m.List = append(m.List, wire.OriginStateID.Uint32(n.cfg.State))
	}
	m.HopByHop, m.EndToEnd = n.nextHop(), n.nextEnd()
	n.send(p.open(), m)
}

//rfc:6733#5.4
func (n *Node) sendDPR(p *peer, cause uint32) {
	m := wire.NewRequest(wire.DisconnectPeer, wire.Base, append(n.originate(), wire.DisconnectCause.Uint32(cause))...)
	m.HopByHop, m.EndToEnd = n.nextHop(), n.nextEnd()
	n.send(p.open(), m)
	n.leave(p)
}

// leave is the way into Closing.
func (n *Node) leave(p *peer) {
	p.state, p.timer, p.since = closing, n.now.Mono.Add(patience), n.now.Wall
	p.dogDown(true)
	n.failover(p, "it disconnects")
}
