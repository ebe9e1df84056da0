package aaa

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"layeh.com/radius"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
)

// A Server is a RADIUS server.
type Server struct {
	Address    netip.AddrPort // for authentication
	Accounting netip.AddrPort
	Secret     []byte
}

// RADIUSConfig configures a client. Zero fields mean the defaults named.
type RADIUSConfig struct {
	Servers       []Server // the first one that lives is asked
	Timeout       time.Duration
	Tries         int
	DeadTime      time.Duration
	Source        netip.Addr // that requests come from; invalid: routing decides
	NASIdentifier string
	NASAddress    netip.Addr // told to servers; invalid: not told, unless there is no identifier
	// Algorithm is what MN-HA keys are used in when a server does not say.
	Algorithm assoc.Algorithm
	// Warn is told of what an operator should see; nil: nobody is.
	Warn func(text string, args ...any)
}

// RADIUS asks RADIUS servers (RFC 2865). It is safe for concurrent use.
type RADIUS struct {
	cfg RADIUSConfig
	now func() time.Time

	mu      sync.Mutex
	servers []serverState
}

type serverState struct {
	Server
	dead  time.Time // not to be asked until then; zero: it lives
	stats ServerStatus
	// Accounting is another port, and may be another program: one being dead
	// says nothing of the other.
	deaf time.Time // not to be told until then
	told bool      // that it is deaf
}

// ServerStatus is a server as shown.
type ServerStatus struct {
	Address  netip.AddrPort `json:"address"`
	State    string         `json:"state"` // "untried", "alive" or "dead"
	Requests uint64         `json:"requests"`
	Answers  uint64         `json:"answers"`
	Timeouts uint64         `json:"timeouts"`
	Forged   uint64         `json:"forged"` // answers that were discarded
	Took     time.Duration  `json:"took"`   // nanoseconds, the last answer
	Since    time.Time      `json:"since,omitzero"`
}

// NewRADIUS makes a client.
func NewRADIUS(c RADIUSConfig) *RADIUS {
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	if c.Tries == 0 {
		c.Tries = 2
	}
	if c.DeadTime == 0 {
		c.DeadTime = 30 * time.Second
	}
	if c.Algorithm == 0 {
		c.Algorithm = assoc.HMACMD5
	}
	if c.Warn == nil {
		c.Warn = func(string, ...any) {}
	}
	r := &RADIUS{cfg: c, now: time.Now}
	for _, s := range c.Servers {
		r.servers = append(r.servers, serverState{Server: s, stats: ServerStatus{Address: s.Address, State: "untried"}})
	}
	return r
}

// Status lists the servers in their order.
func (r *RADIUS) Status() []ServerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]ServerStatus, 0, len(r.servers))
	for i := range r.servers {
		list = append(list, r.servers[i].stats)
	}
	return list
}

// order is in which order the servers are tried: those that live as they are
// listed, so that the first one is used again when its time of death is over;
// then the others, as a last resort.
func (r *RADIUS) order(accounting bool) (list []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	var dead []int
	for i := range r.servers {
		until := r.servers[i].dead
		if accounting {
			until = r.servers[i].deaf
		}
		if until.After(now) {
			dead = append(dead, i)
			continue
		}
		list = append(list, i)
	}
	return append(list, dead...)
}

func (r *RADIUS) update(i int, change func(*serverState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.servers[i])
}

// Answer implements [Answerer].
//
//rfc:5030#3.1
//rfc:5030#3.1-2
//rfc:5030#3.1-3
func (r *RADIUS) Answer(ctx context.Context, question any) (aaa.Grant, error) {
	var make1 func(Server) *radius.Packet
	if q, ok := question.(interface{ Name() string }); ok && len(q.Name()) > mostText {
		return aaa.Grant{}, fmt.Errorf("aaa: a name of %d octets does not fit RADIUS: %w", len(q.Name()), aaa.ErrRejected)
	}
	switch q := question.(type) {
	case aaa.Authenticate:
		if q.Proof.SPI != assoc.CHAPSPI {
			return aaa.Grant{}, fmt.Errorf("aaa: %s: RADIUS verifies the CHAP SPI (2) only, not %d: %w", q.NAI, q.Proof.SPI, aaa.ErrRejected)
		}
		if len(q.Proof.Authenticator) != 16 {
			return aaa.Grant{}, fmt.Errorf("aaa: %s: an authenticator of %d octets: %w", q.NAI, len(q.Proof.Authenticator), aaa.ErrRejected)
		}
		make1 = func(s Server) *radius.Packet { return r.authenticate(s, q) }
	case aaa.Authorise:
		make1 = func(s Server) *radius.Packet { return r.authorise(s, q) }
	default:
		return aaa.Grant{}, fmt.Errorf("aaa: no such question: %T", question)
	}
	answer, request, server, err := r.exchange(ctx, false, make1)
	if err != nil {
		return aaa.Grant{}, err
	}
	if answer.Code != radius.CodeAccessAccept {
		why := ""
		if m := answer.Get(attrReplyMessage); len(m) > 0 {
			why = fmt.Sprintf(" (%q)", string(m))
		}
		return aaa.Grant{}, fmt.Errorf("aaa: %v said %v%s: %w", server.Address, answer.Code, why, aaa.ErrRejected)
	}
	q, wants := question.(aaa.Authorise)
	grant, err := r.grant(answer, request, server, q.SPI)
	if err == nil && wants && len(grant.Associations) == 0 {
		err = fmt.Errorf("aaa: %v gave no 3GPP2-MN-HA-Shared-Key: %w", server.Address, aaa.ErrRejected)
	}
	return grant, err
}

// request starts a request with what all of them have: a name for the node, one
// for this agent, and the agents' addresses.
func (r *RADIUS) request(code radius.Code, s Server, who aaa.Subject) *radius.Packet {
	p := radius.New(code, s.Secret)
	name := string(who.NAI)
	if name == "" {
		name = who.HomeAddress.String()
	}
	putText(p, attrUserName, name)
	putText(p, attrNASIdentifier, r.cfg.NASIdentifier)
	putAddr(p, attrNASIPAddress, r.cfg.NASAddress)
	putU32(p, attrNASPortType, 5) // Virtual
	putAddr(p, attrFramedIPAddress, who.HomeAddress)
	putVendorAddr(p, vendor3GPP2, vsaHomeAgent, who.HomeAgent)
	putVendorAddr(p, vendor3GPP2, vsaForeignAgent, who.CareOfAddress)
	return p
}

// Values of Service-Type.
const (
	serviceFramed        = 2
	serviceAuthorizeOnly = 17
)

// authenticate makes what any RADIUS server verifies of a Mobile-AAA
// authenticator: "CHAP-Password" is the challenge's first octet and the
// authenticator, and "CHAP-Challenge" the rest of what was digested (RFC 4721
// section 8, RFC 2865 section 5.3).
//
//rfc:4721#8
func (r *RADIUS) authenticate(s Server, q aaa.Authenticate) *radius.Packet {
	p := r.request(radius.CodeAccessRequest, s, q.Subject)
	challenge := q.Proof.Against()
	p.Add(attrCHAPPassword, append([]byte{challenge[0]}, q.Proof.Authenticator...))
	p.Add(attrCHAPChallenge, assoc.CHAPChallenge(q.Proof.Covered, challenge))
	putU32(p, attrServiceType, serviceFramed)
	return p
}

// authorise asks for the key that an SPI names, as home agents of 3GPP2 do
// (RFC 4784 section 4.7).
func (r *RADIUS) authorise(s Server, q aaa.Authorise) *radius.Packet {
	p := r.request(radius.CodeAccessRequest, s, q.Subject)
	putU32(p, attrServiceType, serviceAuthorizeOnly)
	putVendor(p, vendor3GPP2, vsaMobileHomeSPI, []byte{byte(q.SPI >> 24), byte(q.SPI >> 16), byte(q.SPI >> 8), byte(q.SPI)})
	return p
}

// grant reads an Access-Accept.
func (r *RADIUS) grant(answer, request *radius.Packet, s Server, spi uint32) (aaa.Grant, error) {
	var g aaa.Grant
	// 255.255.255.255 and 255.255.255.254 leave the address to others (RFC 2865
	// section 5.8).
	if a, ok := getAddr(answer, attrFramedIPAddress); ok && a.As4()[0] < 224 && !a.IsUnspecified() {
		g.HomeAddress = a
	}
	if v := vendorValues(answer, vendor3GPP2, vsaHomeAgent); len(v) > 0 && len(v[0]) == 4 {
		if a := netip.AddrFrom4([4]byte(v[0])); !a.IsUnspecified() && a.As4()[0] < 224 {
			g.HomeAgent = a
		}
	}
	if n, ok := getU32(answer, attrSessionTimeout); ok {
		g.Lifetime = time.Duration(n) * time.Second
	}
	if n, ok := getU32(answer, attrAcctInterim); ok {
		g.Interim = max(time.Duration(n)*time.Second, time.Minute)
	}
	g.Class = answer.Get(attrClass)
	for _, v := range vendorValues(answer, vendorCareof, vsaPrefix) {
		if p, err := netip.ParsePrefix(string(v)); err == nil && p.Addr().Is4() {
			g.Prefixes = append(g.Prefixes, p.Masked())
		}
	}
	algorithm, replay := r.cfg.Algorithm, assoc.Timestamps
	var err error
	if v := vendorValues(answer, vendorCareof, vsaAlgorithm); len(v) > 0 {
		if algorithm, err = assoc.ParseAlgorithm(string(v[0])); err != nil || algorithm == assoc.None {
			return g, fmt.Errorf("aaa: %v: algorithm %q: %w", s.Address, v[0], aaa.ErrRejected)
		}
	}
	if v := vendorValues(answer, vendorCareof, vsaReplay); len(v) > 0 {
		if replay, err = assoc.ParseStyle(string(v[0])); err != nil {
			return g, fmt.Errorf("aaa: %v: %w: %w", s.Address, err, aaa.ErrRejected)
		}
	}
	if v := vendorValues(answer, vendor3GPP2, vsaMobileHomeSPI); len(v) > 0 && len(v[0]) == 4 {
		spi = uint32(v[0][0])<<24 | uint32(v[0][1])<<16 | uint32(v[0][2])<<8 | uint32(v[0][3])
	}
	if v := vendorValues(answer, vendor3GPP2, vsaMobileHomeKey); len(v) > 0 { // one SPI, one key
		octets, err := unsalt(v[0], s.Secret, request.Authenticator)
		if err != nil {
			return g, fmt.Errorf("aaa: %v: the MN-HA key: %w", s.Address, errors.Join(err, aaa.ErrRejected))
		}
		a, err := assoc.New(spi, algorithm, keyOf(octets), replay)
		clear(octets)
		if err != nil {
			return g, fmt.Errorf("aaa: %v: %w: %w", s.Address, err, aaa.ErrRejected)
		}
		g.Associations = append(g.Associations, a)
	}
	return g, nil
}

// keyOf is a key as a server has it. FreeRADIUS's dictionary has it for a text,
// so octets that are none are written in hexadecimal there, after "0x" or "hex:".
func keyOf(octets []byte) assoc.Key {
	for _, prefix := range []string{"0x", "hex:"} {
		if digits, ok := strings.CutPrefix(string(octets), prefix); ok {
			if k, err := assoc.ParseKey(digits); err == nil {
				return k
			}
		}
	}
	return assoc.NewKey(octets)
}

// exchange puts a request to the servers in turn, and gives the first authentic
// answer. accounting says which of a server's ports is asked.
func (r *RADIUS) exchange(ctx context.Context, accounting bool, make1 func(Server) *radius.Packet) (answer, request *radius.Packet, s Server, err error) {
	for _, i := range r.order(accounting) {
		server := r.servers[i].Server // never changed
		request := make1(server)
		octets, err := sign(request)
		if err != nil {
			return nil, nil, server, err
		}
		to := server.Address
		if accounting {
			to = server.Accounting
		}
		began := r.now()
		answer, err := r.ask(ctx, i, to, octets, server.Secret, accounting)
		if err == nil {
			r.alive(i, accounting, r.now().Sub(began))
			return answer, request, server, nil
		}
		if ctx.Err() != nil {
			break
		}
		r.died(i, accounting, err)
	}
	return nil, nil, s, fmt.Errorf("aaa: %w", aaa.ErrUnavailable)
}

func (r *RADIUS) alive(i int, accounting bool, took time.Duration) {
	if accounting {
		r.update(i, func(s *serverState) { s.deaf, s.told = time.Time{}, false })
		return
	}
	again := false
	r.update(i, func(s *serverState) {
		again = s.stats.State == "dead"
		if s.stats.State != "alive" {
			s.stats.State, s.stats.Since = "alive", r.now()
		}
		s.dead, s.stats.Took = time.Time{}, took
		s.stats.Answers++
	})
	if again {
		r.cfg.Warn("an AAA server answers again", "server", r.servers[i].Address)
	}
}

func (r *RADIUS) died(i int, accounting bool, err error) {
	fresh := false
	if accounting {
		r.update(i, func(s *serverState) {
			fresh, s.told = !s.told, true
			s.deaf = r.now().Add(r.cfg.DeadTime)
		})
		if fresh {
			r.cfg.Warn("an AAA server does not take accounting records", "server", r.servers[i].Accounting, "why", err.Error())
		}
		return
	}
	r.update(i, func(s *serverState) {
		if fresh = s.stats.State != "dead"; fresh {
			s.stats.State, s.stats.Since = "dead", r.now()
		}
		s.dead = r.now().Add(r.cfg.DeadTime)
	})
	if fresh {
		r.cfg.Warn("an AAA server does not answer", "server", r.servers[i].Address, "why", err.Error())
	}
}

// ask sends a request as often as configured and waits for an authentic answer.
// Every request has a socket of its own, and so a port that cannot be guessed. A
// retransmission is the same datagram: same identifier, same authenticator (RFC
// 2865 section 2.5). What is not authentic is no answer: the true one may follow.
func (r *RADIUS) ask(ctx context.Context, i int, to netip.AddrPort, octets, secret []byte, accounting bool) (*radius.Packet, error) {
	count := func(add func(*ServerStatus)) {
		if !accounting {
			r.update(i, func(s *serverState) { add(&s.stats) })
		}
	}
	var from *net.UDPAddr
	if r.cfg.Source.IsValid() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.cfg.Source, 0))
	}
	conn, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, fmt.Errorf("aaa: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	last := errors.New("no answer")
	buffer := make([]byte, radius.MaxPacketLength)
	for range r.cfg.Tries {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := conn.SetReadDeadline(time.Now().Add(r.cfg.Timeout)); err != nil {
			return nil, err
		}
		count(func(s *ServerStatus) { s.Requests++ })
		if _, err := conn.Write(octets); err != nil {
			last = err
			continue
		}
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				var timeout net.Error
				if !errors.As(err, &timeout) || !timeout.Timeout() {
					last = err // an ICMP error: nobody is there
				}
				break
			}
			b := buffer[:n]
			if n >= 20 {
				if l := int(b[2])<<8 | int(b[3]); l >= 20 && l <= n {
					b = b[:l]
				}
			}
			if err := authentic(b, octets, secret); err != nil {
				last = err
				r.update(i, func(s *serverState) { s.stats.Forged++ })
				continue
			}
			p, err := radius.Parse(append([]byte(nil), b...), secret)
			if err != nil {
				last = err
				continue
			}
			return p, nil
		}
		count(func(s *ServerStatus) { s.Timeouts++ })
	}
	return nil, last
}
