package aaa

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"layeh.com/radius"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
)

// A Server is a RADIUS server.
type Server struct {
	Address    netip.AddrPort // for authentication; with TLS for everything
	Accounting netip.AddrPort
	Secret     []byte
	TLS        *TLS // nil: by UDP
	Dialect    Dialect
}

// TLS is what a server that is asked over TLS (RFC 6614) proves, and what is
// proven to it.
type TLS struct {
	// Name is the server's, a domain name or an IP address that its certificate has.
	Name        string
	Authorities *x509.CertPool
	Certificate *tls.Certificate // this host's
}

// RadSec is the secret that RADIUS over TLS has when none is agreed on: "the
// shared secret ... MUST be set to 'radsec'" (RFC 6614 section 2.3). TLS protects
// what others protect with a secret.
const RadSec = "radsec"

// same says whether two tables mean one server, asked in one way.
func (s *Server) same(o *Server) bool {
	if s.Address != o.Address || s.Dialect != o.Dialect || s.Accounting != o.Accounting || !bytes.Equal(s.Secret, o.Secret) || (s.TLS == nil) != (o.TLS == nil) {
		return false
	}
	return s.TLS == nil || s.TLS.Name == o.TLS.Name && s.TLS.Authorities.Equal(o.TLS.Authorities) &&
		slices.EqualFunc(s.TLS.Certificate.Certificate, o.TLS.Certificate.Certificate, bytes.Equal)
}

// RADIUSConfig configures a client. Zero fields mean the defaults named.
type RADIUSConfig struct {
	Servers       []Server      // the first one that lives is asked
	Timeout       time.Duration // 1 s
	Tries         int           // 2
	DeadTime      time.Duration // 30 s
	Source        netip.Addr    // that requests come from; invalid: routing decides
	NASIdentifier string
	NASAddress    netip.Addr // told to servers; invalid: not told, unless there is no identifier
	// Algorithm is what MN-HA keys are used in when a server does not say.
	Algorithm assoc.Algorithm
	// KeyLifetime is how long a key of a nonce holds when a server does not say.
	KeyLifetime time.Duration // [aaa.DefaultKeyLifetime]
	// Timestamps: orders without Event-Timestamp are not heard.
	Timestamps bool
	// Warn is told of what an operator should see; nil: nobody is.
	Warn func(text string, args ...any)
}

func (c RADIUSConfig) withDefaults() *RADIUSConfig {
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
	if c.KeyLifetime == 0 {
		c.KeyLifetime = aaa.DefaultKeyLifetime
	}
	if c.Warn == nil {
		c.Warn = func(string, ...any) {}
	}
	return &c
}

// RADIUS asks RADIUS servers (RFC 2865), by UDP or over TLS (RFC 6614). It is safe
// for concurrent use.
type RADIUS struct {
	cfg   atomic.Pointer[RADIUSConfig]
	now   func() time.Time
	obeys atomic.Pointer[Orders] // that servers may give over TLS; nil: none

	mu      sync.Mutex
	servers []*serverState
}

// A serverState is a server, and how it does. Server and link never change; the
// rest is guarded by the client's mutex.
type serverState struct {
	Server
	link *link // nil: by UDP

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
	TLS      string         `json:"tls,omitempty"` // the version, of the connection that there is or was; "none yet"
	State    string         `json:"state"`         // "untried", "alive" or "dead"
	Requests uint64         `json:"requests"`
	Answers  uint64         `json:"answers"`
	Timeouts uint64         `json:"timeouts"`
	Forged   uint64         `json:"forged"` // answers that were discarded
	Took     time.Duration  `json:"took"`   // nanoseconds, the last answer
	Since    time.Time      `json:"since,omitzero"`
}

// NewRADIUS makes a client.
func NewRADIUS(c RADIUSConfig) *RADIUS {
	r := &RADIUS{now: time.Now}
	r.Reconfigure(c)
	return r
}

// Reconfigure has the client ask other servers, or in another way. Servers that
// stay keep what is known of them, and questions that are open get their answers
// from those that they were put to.
func (r *RADIUS) Reconfigure(c RADIUSConfig) {
	cfg := c.withDefaults()
	r.mu.Lock()
	before := r.servers
	r.servers = nil
	for _, s := range cfg.Servers {
		at := slices.IndexFunc(before, func(b *serverState) bool { return b.same(&s) })
		if at >= 0 {
			r.servers = append(r.servers, before[at])
			before = slices.Delete(slices.Clone(before), at, at+1)
			continue
		}
		state := &serverState{Server: s, stats: ServerStatus{Address: s.Address, State: "untried"}}
		if s.TLS != nil {
			state.link = newLink(r, state)
		}
		r.servers = append(r.servers, state)
	}
	r.mu.Unlock()
	r.cfg.Store(cfg)
	for _, gone := range before {
		if gone.link != nil {
			gone.link.retire()
		}
	}
}

// Obey has servers that are asked over TLS give orders over the connections.
func (r *RADIUS) Obey(o *Orders) { r.obeys.Store(o) }

// Close closes the connections.
func (r *RADIUS) Close() { r.Reconfigure(RADIUSConfig{}) }

// Servers is how many there are.
func (r *RADIUS) Servers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.servers)
}

// Status lists the servers in their order.
func (r *RADIUS) Status() []ServerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]ServerStatus, 0, len(r.servers))
	for _, s := range r.servers {
		one := s.stats
		if s.link != nil {
			one.TLS = s.link.version()
		}
		list = append(list, one)
	}
	return list
}

// order is in which order the servers are tried: those that live as they are
// listed, so that the first one is used again when its time of death is over;
// then the others, as a last resort.
func (r *RADIUS) order(accounting bool) (list []*serverState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	var dead []*serverState
	for _, s := range r.servers {
		until := s.dead
		if accounting {
			until = s.deaf
		}
		if until.After(now) {
			dead = append(dead, s)
			continue
		}
		list = append(list, s)
	}
	return append(list, dead...)
}

// update changes what is known of a server.
func (r *RADIUS) update(s *serverState, change func(*serverState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(s)
}

// count counts what becomes of a question; records are not counted.
func (r *RADIUS) count(s *serverState, accounting bool, add func(*ServerStatus)) {
	if !accounting {
		r.update(s, func(s *serverState) { add(&s.stats) })
	}
}

// exchange puts a request to the servers in turn, and gives the first authentic
// answer. accounting says which of a server's ports is asked.
func (r *RADIUS) exchange(ctx context.Context, accounting bool, make1 func(*Server) *radius.Packet) (answer, request *radius.Packet, s *Server, err error) {
	for _, server := range r.order(accounting) {
		began := r.now()
		if server.link != nil {
			answer, request, err = server.link.ask(ctx, accounting, make1)
		} else {
			answer, request, err = r.ask(ctx, server, accounting, make1)
		}
		if err == nil {
			r.alive(server, accounting, r.now().Sub(began))
			return answer, request, &server.Server, nil
		}
		if ctx.Err() != nil {
			break
		}
		r.died(server, accounting, err)
	}
	return nil, nil, nil, fmt.Errorf("aaa: %w", aaa.ErrUnavailable)
}

func (r *RADIUS) alive(s *serverState, accounting bool, took time.Duration) {
	if accounting {
		r.update(s, func(s *serverState) { s.deaf, s.told = time.Time{}, false })
		return
	}
	again := false
	r.update(s, func(s *serverState) {
		again = s.stats.State == "dead"
		if s.stats.State != "alive" {
			s.stats.State, s.stats.Since = "alive", r.now()
		}
		s.dead, s.stats.Took = time.Time{}, took
		s.stats.Answers++
	})
	if again {
		r.cfg.Load().Warn("an AAA server answers again", "server", s.Address)
	}
}

func (r *RADIUS) died(s *serverState, accounting bool, err error) {
	fresh := false
	cfg := r.cfg.Load()
	if accounting {
		r.update(s, func(s *serverState) {
			fresh, s.told = !s.told, true
			s.deaf = r.now().Add(cfg.DeadTime)
		})
		if fresh {
			cfg.Warn("an AAA server does not take accounting records", "server", s.Accounting, "why", err.Error())
		}
		return
	}
	r.update(s, func(s *serverState) {
		if fresh = s.stats.State != "dead"; fresh {
			s.stats.State, s.stats.Since = "dead", r.now()
		}
		s.dead = r.now().Add(cfg.DeadTime)
	})
	if fresh {
		cfg.Warn("an AAA server does not answer", "server", s.Address, "why", err.Error())
	}
}
