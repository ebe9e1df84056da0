package realm

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/mipapp"
	"careof/internal/core/note"
	"careof/wire/diameter"
)

var unspecified = netip.AddrFrom4([4]byte{})

// A session is a node's of this realm, moves included: "A mobile node's session is
// identified via its identity in the User-Name AVP and the MIP-Mobile-Node-Address,
// and the MIP-Home-Agent-Address AVPs" (RFC 4004 section 4.1).
type session struct {
	user        ident.NAI
	agent       mipapp.Identity // the home agent
	address     netip.Addr      // of the home agent
	homeAddress netip.Addr
	visited     bool
	homeSession string // Session-Id with the home agent
	multi       string // Acct-Multi-Session-Id
	attendants  map[string]attendant
	records     map[string]mipapp.Record // the last of each Session-Id
	since       time.Time                // monotonic
	until       time.Time                // monotonic: of the authorisation
	renewals    int
}

// An attendant is a foreign agent that has asked about the node.
type attendant struct {
	who   mipapp.Identity
	since time.Time
}

// A visit is a session of another realm's node at a foreign agent of this one.
type visit struct {
	user        ident.NAI
	attendant   mipapp.Identity
	server      mipapp.Identity // at home
	homeAddress netip.Addr
	homeAgent   netip.Addr
	agent       string // the host of a home agent of this realm
	since       time.Time
	until       time.Time
	record      mipapp.Record
}

// homeSession is the Session-Id for the HARs of a node: "If the AAAH is
// session-stateful, it MUST send the same session identifier for all HARs initiated
// on behalf of a given mobile node's session" (RFC 4004 section 4.1.1); and it
// "MUST use a different session identifier than that used in the AMR/AMA".
//
//rfc:4004#4.1.1
//rfc:4004#4.1.1-1
//rfc:4004#4.1.1-2
func (s *Server) homeSession(known *session, to target) string {
	if known != nil && known.homeSession != "" && known.agent.Host == to.agent.Host {
		return known.homeSession
	}
	s.serial++
	return fmt.Sprintf("%s;%d;%d", s.cfg.Identity.Host, uint32(s.Now().Wall.Unix()), s.serial)
}

// terminated takes an STR: "an STR from a foreign agent would free the session from
// the foreign agent, but not the session state associated with the home agent" (RFC
// 4004 section 4.1.3).
//
//rfc:4004#4.1.3
//rfc:4004#4.1.3-2
func (s *Server) terminated(c engine.Command, v Arrived, t mipapp.Termination) {
	if !s.home(t.Realm) {
		if one := s.visits[t.Session]; one != nil && one.attendant.Host == t.Origin.Host {
			s.left(t.Session, "ended by the foreign agent")
		}
		s.pass(c, v, t.User)
		return
	}
	if at, parts := s.parting[t.Session]; parts && t.Origin.Host == at.who.Host {
		s.counters.Terminated++
		s.parted(t.Session)
		s.answer(c, v.Message.Answer(diameter.Success))
		return
	}
	user, known := s.agents[t.Session]
	one := s.sessions[ident.NAI(user)]
	if !known || one == nil {
		s.answer(c, v.Message.Answer(diameter.UnknownSessionID))
		return
	}
	s.counters.Terminated++
	// Nobody ends what is another's.
	at, attends := one.attendants[t.Session]
	switch {
	case t.Session == one.homeSession && (t.Origin.Host == one.agent.Host):
		s.drop(one)
		s.Tell(note.Note{Kind: Ended, Level: note.Info, NAI: user, HomeAddress: one.homeAddress, HomeAgent: one.address, Why: "ended by the home agent"})
	case attends && t.Origin.Host == at.who.Host:
		delete(one.attendants, t.Session)
		delete(s.agents, t.Session)
	default:
		s.answer(c, v.Message.Answer(diameter.AuthorizationRejected))
		return
	}
	s.answer(c, v.Message.Answer(diameter.Success))
}

// pass takes a request of this realm's agents to another realm, and its answer
// back.
func (s *Server) pass(c engine.Command, v Arrived, who ident.NAI) {
	m := v.Message
	origin, _ := m.Text(diameter.OriginRealm)
	if !s.home(origin) {
		// Realms are no transit for others.
		s.answer(c, m.Answer(diameter.UnableToDeliver))
		return
	}
	s.hand(c, m, who)
}

// hand sends a request on, to where its routing AVPs lead, and its answer back.
func (s *Server) hand(c engine.Command, m *diameter.Message, who ident.NAI) {
	leave, ok := s.enter(who)
	if !ok {
		s.answer(c, m.Answer(diameter.TooBusy))
		return
	}
	s.forward(Forward{Message: passed(m), Proxied: true}, func(answer *diameter.Message, err error) {
		leave()
		if err != nil {
			s.answer(c, m.Answer(diameter.UnableToDeliver))
			return
		}
		s.answer(c, returned(m, answer))
	})
}

// recorded takes an ACR. "the home realm should not view these handoffs as different
// sessions" (RFC 4004 section 4.1.2): records are kept by the Session-Ids of one
// Acct-Multi-Session-Id.
//
//rfc:4004#10
//rfc:4004#4.1.2
func (s *Server) recorded(c engine.Command, v Arrived, r mipapp.Record) {
	s.counters.Records++
	if !s.home(r.Realm) {
		if one := s.visits[r.Session]; one != nil {
			one.record = r
		}
		s.pass(c, v, r.User)
		return
	}
	n := note.Note{
		Kind: Recorded, Level: note.Info, NAI: string(r.User), HomeAddress: r.HomeAddress, HomeAgent: r.HomeAgent, Took: r.Lasted,
		Why: fmt.Sprintf("%v %s: %d octets and %d packets from the user, %d and %d to it", r.Moment, r.MultiSession, r.Used.ReceivedBytes, r.Used.ReceivedPackets, r.Used.SentBytes, r.Used.SentPackets),
	}
	if r.Moment == aaa.Interim {
		n.Level = note.Debug
	}
	if one := s.sessions[r.User]; one != nil && s.agents[r.Session] == string(r.User) {
		if len(one.records) < 64 || one.records[r.Session].Session != "" {
			one.records[r.Session] = r
		}
	}
	s.Tell(n)
	s.answer(c, mipapp.Acknowledge(v.Message))
}

// aborted takes an ASR for an agent of this realm, from the home realm of its node.
//
//rfc:4004#4.1.3
func (s *Server) aborted(c engine.Command, v Arrived, a mipapp.Abort) {
	m := v.Message
	// A home realm ends what it has authorised, and nothing else.
	if a.Origin.Realm != mipapp.Realm(a.User) && !s.home(a.Origin.Realm) || !s.home(a.To.Realm) || a.To.Host == s.cfg.Identity.Host {
		s.answer(c, m.Answer(diameter.UnknownSessionID))
		return
	}
	s.hand(c, m, a.User)
}

// An End is a command: end the sessions of a node, at home and of visitors here.
// Its result is how many agents were asked, an int.
type End struct{ NAI ident.NAI }

// end: "In the event that the AAAF wishes to terminate a session, its
// Abort-Session-Request (ASR) message SHOULD be sent to the FA. Similarly, the AAAH
// SHOULD send its message to the Home Agent" (RFC 4004 section 4.1.3).
//
//rfc:4004#4.1.3
//rfc:4004#4.1.3-4
//rfc:4004#4.1.3-5
func (s *Server) end(c engine.Command) bool {
	e, mine := c.Value.(End)
	if !mine {
		return false
	}
	n := 0
	if one := s.sessions[e.NAI]; one != nil {
		s.abort(one, "ended by the operator")
		n++
	}
	ids := make([]string, 0, 1)
	for id, v := range s.visits {
		if v.user == e.NAI {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		v := s.visits[id]
		s.forward(Forward{Message: mipapp.Abort{Session: id, User: v.user, To: v.attendant}.Message()}, func(*diameter.Message, error) {})
		n++
	}
	s.Do(engine.Result{Ticket: c.Ticket, Value: n})
	return true
}

// abort asks the home agent of a session to end it. The session goes with the home
// agent's STR.
func (s *Server) abort(one *session, why string) {
	to := one.agent
	s.Tell(note.Note{Kind: Ended, Level: note.Info, NAI: string(one.user), HomeAddress: one.homeAddress, HomeAgent: one.address, Why: why})
	s.forward(Forward{Message: mipapp.Abort{Session: one.homeSession, User: one.user, To: to}.Message()}, func(*diameter.Message, error) {})
}

// drop forgets a session. Its foreign agents' own ends are awaited for a moment, and
// are no news of unknown sessions.
//
//rfc:4004#4.1.3-3
func (s *Server) drop(one *session) {
	delete(s.sessions, one.user)
	delete(s.agents, one.homeSession)
	end := s.Now().Mono.Add(max(one.until.Sub(s.Now().Mono), 0) + grace)
	for id, at := range one.attendants {
		delete(s.agents, id)
		if len(s.parting) < s.cfg.MaxSessions {
			s.parting[id] = at
			s.partings.Set(id, end)
		}
	}
	s.ends.Clear(one.user)
}

// parted forgets a foreign agent's session that has ended, or will not any more.
func (s *Server) parted(id string) {
	delete(s.parting, id)
	s.partings.Clear(id)
}

func (s *Server) left(id, why string) {
	v := s.visits[id]
	delete(s.visits, id)
	s.leaves.Clear(id)
	s.Tell(note.Note{Kind: Ended, Level: note.Info, NAI: string(v.user), HomeAddress: v.homeAddress, HomeAgent: v.homeAgent, Why: why})
}

// expire forgets sessions whose agents have said nothing when their authorisation
// was over.
func (s *Server) expire() {
	for {
		user, due := s.ends.Due(s.Now().Mono)
		if !due {
			break
		}
		one := s.sessions[user]
		s.drop(one)
		s.Tell(note.Note{Kind: Ended, Level: note.Info, NAI: string(user), HomeAddress: one.homeAddress, HomeAgent: one.address, Why: "its authorisation is over"})
	}
	for {
		id, due := s.leaves.Due(s.Now().Mono)
		if !due {
			break
		}
		s.left(id, "its authorisation is over")
	}
	for {
		id, due := s.partings.Due(s.Now().Mono)
		if !due {
			break
		}
		s.parted(id)
	}
}

// Show is a command: its result is [Status].
type Show struct{}

// A Status is what the server has.
type Status struct {
	Counters Counters
	Sessions []SessionStatus // of this realm's nodes by name, then visitors
}

// A SessionStatus is a session as shown.
type SessionStatus struct {
	NAI          string
	Visitor      bool // of another realm
	ID           string
	MultiSession string
	HomeAddress  netip.Addr
	HomeAgent    netip.Addr
	AgentHost    string
	Attendants   []string // hosts of foreign agents
	Lasted       time.Duration
	Left         time.Duration    // of the authorisation
	Used         forward.Counters // as the agents have told last
}

func (s *Server) show() Status {
	out := Status{Counters: s.counters, Sessions: []SessionStatus{}}
	out.Counters.SessionsNow, out.Counters.VisitsNow = len(s.sessions), len(s.visits)
	now := s.Now().Mono
	for _, one := range s.sessions {
		st := SessionStatus{
			NAI: string(one.user), ID: one.homeSession, MultiSession: one.multi, HomeAddress: one.homeAddress, HomeAgent: one.address,
			AgentHost: one.agent.Host, Attendants: []string{}, Lasted: now.Sub(one.since), Left: one.until.Sub(now),
		}
		for _, a := range one.attendants {
			st.Attendants = append(st.Attendants, a.who.Host)
		}
		slices.Sort(st.Attendants)
		// The home agent has counted all of it.
		st.Used = one.records[one.homeSession].Used
		out.Sessions = append(out.Sessions, st)
	}
	for id, v := range s.visits {
		out.Sessions = append(out.Sessions, SessionStatus{
			NAI: string(v.user), Visitor: true, ID: id, HomeAddress: v.homeAddress, HomeAgent: v.homeAgent, AgentHost: v.agent,
			Attendants: []string{v.attendant.Host}, Lasted: now.Sub(v.since), Left: v.until.Sub(now), Used: v.record.Used,
		})
	}
	slices.SortFunc(out.Sessions, func(a, b SessionStatus) int {
		if a.Visitor != b.Visitor {
			if a.Visitor {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.NAI, b.NAI), cmp.Compare(a.ID, b.ID))
	})
	return out
}
