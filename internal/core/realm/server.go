package realm

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/mipapp"
	"careof/internal/core/note"
	"careof/wire/diameter"
)

// RoleName is the server's name in notes and listings.
const RoleName = "aaa"

// Notes of the server.
const (
	Authorised note.Kind = "realm-authorised" // a node has a session
	Refused    note.Kind = "realm-refused"    // a request about a node was refused
	Ended      note.Kind = "realm-ended"      // a session is over
	Recorded   note.Kind = "realm-recorded"   // an agent has told of a session
)

// A HomeAgent is one of the realm's own.
type HomeAgent struct {
	Host     string // its Diameter identity
	Address  netip.Addr
	Visitors bool // is offered to visitors of other realms (RFC 4004 section 3.2)
}

// Where nodes of the realm may have their home agent.
type Policy uint8

// Policies.
const (
	AtHome           Policy = iota // in the home realm alone
	VisitedAllowed                 // also a visited one that the node asks for by name
	VisitedPreferred               // the visited network's whenever it offers one and the node allows
	policies
)

var policyNames = [policies]string{"home", "visited-allowed", "visited-preferred"}

func (p Policy) String() string {
	if p >= policies {
		return fmt.Sprintf("Policy(%d)", uint8(p))
	}
	return policyNames[p]
}

// ParsePolicy reads a policy's name.
func ParsePolicy(name string) (Policy, error) {
	if i := slices.Index(policyNames[:], name); i >= 0 {
		return Policy(i), nil
	}
	return 0, fmt.Errorf("realm: unknown policy %q", name)
}

// A Config configures a server. Zero fields mean the defaults.
type Config struct {
	Identity    mipapp.Identity
	Subscribers aaa.Book    // of the realm
	HomeAgents  []HomeAgent // of the realm
	HomeAgentAt Policy
	// Partners are the realms whose foreign agents the realm's nodes may visit, and
	// whose nodes may visit here. Nil: all that a peer leads to.
	Partners []string
	// Clients are the hosts that may ask as foreign agents of this realm. Nil: all
	// of this realm.
	Clients []string
	// Lifetime is the longest that a node is authorised for: an hour when 0. The
	// keys' is the subscriber's, and at least this ("the value of the
	// MIP-MSA-Lifetime AVP MUST be at least equal to the value in the Authorization
	// Lifetime AVP", RFC 4004 section 8.1).
	Lifetime time.Duration
	// RequireTLS gives keys only to who is connected by TLS.
	RequireTLS bool
	// MaxSessions bounds what is remembered: 100000 when 0.
	MaxSessions int
	// MaxPending bounds the requests that wait for another's answer: 1024 when 0.
	MaxPending int
	// Random is where nonces and keys come from.
	Random io.Reader
}

func (c Config) withDefaults() Config {
	if c.Lifetime == 0 {
		c.Lifetime = time.Hour
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = 100000
	}
	if c.MaxPending == 0 {
		c.MaxPending = 1024
	}
	return c
}

// check says what is wrong with a configuration.
func (c *Config) check() error {
	switch {
	case c.Identity.Host == "" || c.Identity.Realm == "":
		return errors.New("realm: no identity")
	case c.Random == nil:
		return errors.New("realm: no source of randomness")
	}
	for name, s := range c.Subscribers {
		if s.Keys.Algorithm != 0 && s.Keys.Algorithm != mipapp.Algorithm {
			return fmt.Errorf("realm: %s: keys with %v cannot be told by Diameter", name, s.Keys.Algorithm)
		}
	}
	return nil
}

// maxOfOne bounds the requests of one node that wait.
const maxOfOne = 4

// grace is how long a session is remembered beyond its authorisation, so that the
// agents' STR finds it.
const grace = time.Minute

// An Arrived is a command: a request that has come in. Its result is the answer, a
// [*diameter.Message] without origin.
type Arrived struct {
	Peer    string // whose connection it came over
	Secure  bool   // by TLS
	Message *diameter.Message
}

// A Forward is a question: take the request to its Destination-Host, or else to
// its Destination-Realm. It is answered with the answer, a [*diameter.Message].
type Forward struct {
	Message *diameter.Message
	// Proxied says that it is another's, on its way: its origin stays.
	Proxied bool
	// Secure says that it has keys, for a connection with TLS alone.
	Secure bool
}

// ErrInsecure is the answer to a [Forward] that would have gone over a connection
// without TLS.
var ErrInsecure = errors.New("realm: no connection with TLS leads there")

// A Server is an AAA server.
type Server struct {
	engine.Desk

	cfg      Config
	sessions map[ident.NAI]*session
	visits   map[string]*visit // of other realms' nodes, by Session-Id
	agents   map[string]string // Session-Id of home agents and attendants -> node
	ends     engine.Agenda[ident.NAI]
	leaves   engine.Agenda[string]
	parting  map[string]attendant // foreign agents' Session-Ids whose node has no session any more
	partings engine.Agenda[string]
	pending  map[ident.NAI]int
	waiting  int
	serial   uint32
	counters Counters
}

var _ engine.Machine = (*Server)(nil)

// Counters count what the server did.
type Counters struct {
	Requests    uint64 `json:"requests"`
	Authorised  uint64 `json:"authorised"`
	Rejected    uint64 `json:"rejected"`
	Refused     uint64 `json:"refused"`
	Forwarded   uint64 `json:"forwarded"`
	Unanswered  uint64 `json:"unanswered"`
	Records     uint64 `json:"records"`
	Terminated  uint64 `json:"terminated"`
	Overflowed  uint64 `json:"overflowed"`
	KeysDenied  uint64 `json:"keys_denied"`
	SessionsNow int    `json:"sessions"`
	VisitsNow   int    `json:"visits"`
}

// New makes a server.
func New(c Config) (*Server, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Server{
		Desk: engine.Desk{Role: RoleName}, cfg: c,
		sessions: make(map[ident.NAI]*session), visits: make(map[string]*visit), agents: make(map[string]string),
		parting: make(map[string]attendant),
		pending: make(map[ident.NAI]int),
	}
	s.AddOrder(s.arrived)
	engine.AddCommand(&s.Desk, func(Show) (any, error) { return s.show(), nil })
	s.AddOrder(s.end)
	s.AddOrder(s.reconfigure)
	return s, nil
}

// Step implements [engine.Machine].
func (s *Server) Step(now engine.Now, ev engine.Event) []engine.Action {
	s.Begin(now)
	s.expire()
	switch ev := ev.(type) {
	case engine.Answer:
		s.Answered(ev)
	case engine.Command:
		s.Command(ev)
	}
	s.expire()
	return s.End()
}

// Deadline implements [engine.Machine].
func (s *Server) Deadline() time.Time {
	return engine.Earliest(s.Next(), s.ends.Next(), s.leaves.Next(), s.partings.Next())
}

// arrived takes a request in.
//
//rfc:4004#4-4
//rfc:4004#5-1
func (s *Server) arrived(c engine.Command) bool {
	v, mine := c.Value.(Arrived)
	if !mine {
		return false
	}
	s.counters.Requests++
	m := v.Message
	if !m.IsRequest() {
		s.answer(c, m.Answer(diameter.UnableToComply))
		return true
	}
	if err := m.Check(); err != nil {
		s.answer(c, m.Refuse(err))
		return true
	}
	switch m.Command {
	case diameter.AAMobileNode:
		q, err := mipapp.ReadAMR(m)
		switch {
		case err != nil:
			s.answer(c, m.Refuse(err))
		case s.home(q.Realm):
			s.authenticate(c, v, q)
		default:
			s.sendHome(c, v, q)
		}
	case diameter.HomeAgentMIP:
		q, err := mipapp.ReadHAR(m)
		if err != nil {
			s.answer(c, m.Refuse(err))
			return true
		}
		s.assigned(c, v, q)
	case diameter.SessionTermination:
		s.terminated(c, v, mipapp.ReadTermination(m))
	case diameter.Accounting:
		s.recorded(c, v, mipapp.ReadRecord(m))
	case diameter.AbortSession:
		s.aborted(c, v, mipapp.ReadAbort(m))
	default:
		// "RAR/RAA commands MUST NOT be sent for Diameter Mobile IPv4 sessions" (RFC
		// 4004 section 4).
		s.answer(c, m.Answer(diameter.CommandUnsupported))
	}
	return true
}

// home says whether a realm is the server's own.
func (s *Server) home(realm string) bool { return realm == s.cfg.Identity.Realm }

// partner says whether nodes may move between a realm and this one.
func (s *Server) partner(realm string) bool {
	return s.cfg.Partners == nil || slices.Contains(s.cfg.Partners, realm)
}

func (s *Server) answer(c engine.Command, m *diameter.Message) {
	s.Do(engine.Result{Ticket: c.Ticket, Value: m})
}

// refuse answers an AMR with a denial.
func (s *Server) refuse(c engine.Command, m *diameter.Message, who ident.NAI, code diameter.ResultCode, why string) {
	s.counters.Refused++
	if code == diameter.AuthenticationRejected {
		s.counters.Rejected++
	}
	// Anybody's request can come this far: the log is not theirs to fill.
	s.Tell(note.Note{Kind: Refused, Level: note.Debug, NAI: string(who), Why: fmt.Sprintf("%v: %s", code, why)})
	s.answer(c, mipapp.AMA{Result: code, Why: why, User: who}.Answer(m))
}

// enter takes a request that waits for another's answer; leave is to be called
// when that has come. A full server says so.
//
//rfc:4004#4.1-2
func (s *Server) enter(who ident.NAI) (leave func(), ok bool) {
	if s.waiting >= s.cfg.MaxPending || s.pending[who] >= maxOfOne {
		s.counters.Overflowed++
		return nil, false
	}
	s.waiting++
	s.pending[who]++
	return func() {
		s.waiting--
		if s.pending[who]--; s.pending[who] == 0 {
			delete(s.pending, who)
		}
	}, true
}

// forward sends a request on; then is called with its answer, nil when there was
// none.
func (s *Server) forward(f Forward, then func(*diameter.Message, error)) {
	s.counters.Forwarded++
	s.Ask(f, func(ans engine.Answer) {
		m, ok := ans.Value.(*diameter.Message)
		if ans.Err != nil || !ok {
			s.counters.Unanswered++
			then(nil, ans.Err)
			return
		}
		then(m, nil)
	})
}

// set puts an AVP in place of the ones with its code.
func set(m *diameter.Message, a diameter.AVP) {
	m.List = slices.DeleteFunc(m.List, func(b diameter.AVP) bool { return b.Code == a.Code && b.Vendor == 0 })
	m.List = append(m.List, a)
}

// passed is a copy of a request that was another's, for the way on.
func passed(m *diameter.Message) *diameter.Message {
	return &diameter.Message{Header: m.Header, List: slices.Clone(m.List)}
}

// returned is another's answer to a request that was passed on, as the answer to
// that request here: identifiers are who sends it's to set.
func returned(to, m *diameter.Message) *diameter.Message {
	out := passed(m)
	out.HopByHop, out.EndToEnd = to.HopByHop, to.EndToEnd
	return out
}
