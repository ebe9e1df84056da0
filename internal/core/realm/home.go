package realm

import (
	"errors"
	"slices"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/mipapp"
	"careof/internal/core/note"
	"careof/wire/diameter"
)

// authenticate answers an AMR about a node of this realm.
//
//rfc:4004#3.1
//rfc:4004#5.2
//rfc:4004#3.2-10
//rfc:4004#5.2-3
//rfc:4004#5.3-2
//rfc:4004#5.3-3
//rfc:4004#7.10-2
//rfc:4004#7.11-1
func (s *Server) authenticate(c engine.Command, v Arrived, q mipapp.AMR) {
	m := v.Message
	colocated := q.Features&diameter.CoLocatedMobileNode != 0
	if why := s.mayAsk(q, colocated); why != "" {
		s.refuse(c, m, q.User, diameter.AuthorizationRejected, why)
		return
	}
	// A node that is not known and a wrong authenticator are one answer: nobody
	// learns who is a subscriber.
	sub := s.cfg.Subscribers[q.User]
	var secret *aaa.Secret
	for i := range sub.Secrets {
		if sub.Secrets[i].Verify(q.Proof) {
			secret = &sub.Secrets[i]
		}
	}
	if secret == nil {
		s.refuse(c, m, q.User, diameter.AuthenticationRejected, "the Mobile-AAA authenticator is not a subscriber's")
		return
	}
	known := s.sessions[q.User]
	to, code := s.choose(q, known)
	if colocated {
		// The home agent asks for itself.
		to, code = s.asker(q)
	}
	if !code.OK() {
		s.refuse(c, m, q.User, code, "no home agent for the node")
		return
	}
	keys, err := s.keysFor(q, sub, *secret)
	if err != nil {
		s.refuse(c, m, q.User, diameter.UnableToComply, "no keys can be made")
		return
	}
	wanted := keys.MobileHome != nil || keys.MobileForeign != nil || keys.ForeignHome != nil
	if wanted && s.cfg.RequireTLS && !v.Secure {
		s.counters.KeysDenied++
		s.refuse(c, m, q.User, diameter.EndToEndMIPKeyEncryption, "keys go over protected connections alone")
		return
	}
	if known == nil && len(s.sessions) >= s.cfg.MaxSessions {
		s.counters.Overflowed++
		s.refuse(c, m, q.User, diameter.ResourcesExceeded, "too many sessions")
		return
	}
	lifetime := s.cfg.Lifetime
	if colocated {
		a := mipapp.AMA{
			Result: diameter.Success, User: q.User, Lifetime: lifetime, Keys: keys, MultiSession: q.MultiSession,
			HomeAddress: sub.Grant.HomeAddress, HomeAgent: to.address,
		}
		// "An AMA message with the Result-Code AVP set to DIAMETER_SUCCESS ... MUST
		// include the MIP-Mobile-Node-Address AVP": of a node whose address the home
		// agent gives, what the node has said.
		if !a.HomeAddress.IsValid() {
			a.HomeAddress = q.HomeAddress
		}
		if !a.HomeAddress.IsValid() {
			a.HomeAddress = unspecified
		}
		one := s.begin(q, to, lifetime)
		one.homeSession, one.multi, one.homeAddress = q.Session, q.MultiSession, a.HomeAddress
		s.agents[q.Session] = string(q.User)
		s.authorised(one, q)
		s.answer(c, a.Answer(m))
		return
	}
	leave, ok := s.enter(q.User)
	if !ok {
		s.answer(c, m.Answer(diameter.TooBusy))
		return
	}
	har := mipapp.HAR{
		Session: s.homeSession(known, to), User: q.User, Realm: to.agent.Realm, Host: to.agent.Host, Request: q.Request,
		Features: q.Features, Lifetime: lifetime, HomeAgent: q.HomeAgent, Keys: keys,
		// "the AAAH MUST always copy the MIP-Originating-Foreign-AAA AVP from the AMR
		// message to the HAR message."
		Agent: q.Agent, Foreign: q.Foreign,
	}
	switch {
	case to.visited:
		// Through agents "the Destination-Host AVP is set to the value found in the
		// AMR's MIP-Originating-Foreign-AAA AVP, and the MIP-Home-Agent-Host AVP or the
		// MIP-Candidate-Home-Agent-Host AVP found in the AMR is copied into the HAR."
		har.Host, har.Realm = q.Foreign.Host, q.Foreign.Realm
		if to.offered {
			har.Candidate = q.Candidate
		}
	case sub.Grant.HomeAddress.IsValid():
		har.HomeAddress = sub.Grant.HomeAddress
	}
	request := har.Message()
	s.forward(Forward{Message: request, Secure: wanted && s.cfg.RequireTLS}, func(answer *diameter.Message, err error) {
		leave()
		s.answered(c, m, q, to, har, answer, err)
	})
}

// mayAsk says why an agent may not ask about the realm's nodes: empty when it may.
//
//rfc:4004#13
func (s *Server) mayAsk(q mipapp.AMR, colocated bool) string {
	switch {
	case colocated && s.own(func(a HomeAgent) bool { return a.Host == q.Origin.Host }) == nil:
		return "not a home agent of this realm"
	case colocated:
		return ""
	case s.home(q.Origin.Realm):
		if s.cfg.Clients != nil && !slices.Contains(s.cfg.Clients, q.Origin.Host) {
			return "not a foreign agent of this realm"
		}
	case !s.partner(q.Origin.Realm):
		return "no agreement with the visited realm"
	}
	return ""
}

// asker is the home agent of this realm that asks itself.
//
//rfc:4004#3.3
func (s *Server) asker(q mipapp.AMR) (target, diameter.ResultCode) {
	a := s.own(func(a HomeAgent) bool { return a.Host == q.Origin.Host })
	if a == nil || q.HomeAgent.IsValid() && q.HomeAgent != a.Address {
		return target{}, diameter.HANotAvailable
	}
	return s.atHome(a), diameter.Success
}

// keysFor makes the keys that an AMR asks for. "All keys and nonces are generated
// by the AAAH, even if a Home Agent is dynamically allocated in the foreign
// network" (RFC 4004 section 3.4). A node that has not said under which SPI it
// will have its key gets none.
//
//rfc:4004#3.4
//rfc:4004#8.2
//rfc:4004#13
//rfc:4004#8-1
//rfc:4004#8.1-1
//rfc:4004#13-3
func (s *Server) keysFor(q mipapp.AMR, sub aaa.Subscriber, secret aaa.Secret) (mipapp.Keys, error) {
	home, foreign := mipapp.MobileSPIs(q.Request)
	var w aaa.KeyWishes
	if q.Features&diameter.MNHAKeyRequest != 0 {
		w.MobileHome.MobileSPI = home
	}
	if q.Features&diameter.MNFAKeyRequest != 0 && q.ForeignSPI != 0 {
		w.MobileForeign = aaa.KeyWish{MobileSPI: foreign, AgentSPI: q.ForeignSPI}
	}
	if q.Features&diameter.FAHAKeyRequest != 0 {
		w.ForeignHome.MobileSPI = q.ForeignSPI
	}
	policy := sub.Keys
	policy.Algorithm = mipapp.Algorithm
	made, err := policy.Make(secret, aaa.Identity(q.User, q.HomeAddress), w, s.cfg.Random)
	if err != nil {
		return mipapp.Keys{}, err
	}
	var keys mipapp.Keys
	for _, one := range []struct {
		from *aaa.SessionKey
		to   **mipapp.Key
	}{{made.MobileHome, &keys.MobileHome}, {made.MobileForeign, &keys.MobileForeign}, {made.ForeignHome, &keys.ForeignHome}} {
		if one.from == nil {
			continue
		}
		a := one.from.Association
		*one.to = &mipapp.Key{Key: a.Key(), Nonce: one.from.Nonce, Replay: a.Replay(), MobileSPI: a.Outbound().SPI(), AgentSPI: a.SPI()}
		keys.Lifetime = max(one.from.Lifetime, s.cfg.Lifetime)
	}
	return keys, nil
}

// answered takes the home agent's answer and makes the AMA of it.
//
//rfc:4004#3.1
//rfc:4004#4.1.2
//rfc:4004#6.1
//rfc:4004#8.5
//rfc:4004#3.2-9
//rfc:4004#5.2-2
//rfc:4004#8.3-1
func (s *Server) answered(c engine.Command, m *diameter.Message, q mipapp.AMR, to target, har mipapp.HAR, answer *diameter.Message, err error) {
	if err == nil {
		err = answer.Check()
	}
	if err != nil {
		code := diameter.HANotAvailable
		if errors.Is(err, ErrInsecure) {
			code = diameter.EndToEndMIPKeyEncryption
			s.counters.KeysDenied++
		}
		s.refuse(c, m, q.User, code, "the home agent does not answer")
		return
	}
	h, err := mipapp.ReadHAA(answer)
	if err != nil {
		s.refuse(c, m, q.User, diameter.HANotAvailable, "the home agent's answer cannot be read")
		return
	}
	if !h.Result.OK() {
		// The denial goes along: the mobile node hears why.
		s.counters.Refused++
		code := h.Result
		if code.Class() == diameter.ProtocolError {
			code = diameter.HANotAvailable
		}
		s.Tell(note.Note{Kind: Refused, Level: note.Debug, NAI: string(q.User), Why: code.String() + ": " + h.Why})
		s.answer(c, mipapp.AMA{Result: code, Why: h.Why, User: q.User, Reply: h.Reply}.Answer(m))
		return
	}
	one := s.begin(q, to, har.Lifetime)
	one.homeSession, one.homeAddress, one.address = har.Session, h.HomeAddress, h.HomeAgent
	if h.MultiSession != "" {
		one.multi = h.MultiSession
	}
	s.agents[har.Session] = string(q.User)
	keys := har.Keys
	if k := keys.ForeignHome; k != nil {
		// "The HA conveys the SPI that the FA MUST use in the HAA".
		if k.AgentSPI = h.HomeSPI; k.AgentSPI < assoc.MinimumSPI {
			keys.ForeignHome = nil
		}
	}
	if k := keys.MobileForeign; k != nil && h.MobileSPI != 0 {
		k.MobileSPI = h.MobileSPI
	}
	// What is not the foreign agent's does not go to it.
	keys.MobileHome = nil
	s.attend(one, q)
	s.agents[q.Session] = string(q.User)
	s.authorised(one, q)
	s.answer(c, mipapp.AMA{
		Result: diameter.Success, User: q.User, Lifetime: har.Lifetime, Reply: h.Reply, MultiSession: one.multi,
		HomeAddress: h.HomeAddress, HomeAgent: h.HomeAgent, Keys: keys,
	}.Answer(m))
}

// maxAttendants bounds the foreign agents of one node that are remembered: those
// that it has left end their sessions, or are forgotten.
const maxAttendants = 16

// attend remembers the foreign agent that has asked about a node.
func (s *Server) attend(one *session, q mipapp.AMR) {
	if _, there := one.attendants[q.Session]; !there && len(one.attendants) >= maxAttendants {
		oldest := ""
		for id, a := range one.attendants {
			if o, ok := one.attendants[oldest]; !ok || a.since.Before(o.since) || a.since.Equal(o.since) && id < oldest {
				oldest = id
			}
		}
		delete(one.attendants, oldest)
		delete(s.agents, oldest)
	}
	s.parted(q.Session)
	one.attendants[q.Session] = attendant{who: q.Origin, since: s.Now().Mono}
}

func (s *Server) authorised(one *session, q mipapp.AMR) {
	s.counters.Authorised++
	n := note.Note{Kind: Authorised, Level: note.Info, NAI: string(q.User), HomeAgent: one.address, Lifetime: s.cfg.Lifetime, Why: "at " + q.Origin.Host + ", home agent " + one.agent.Host}
	if !one.homeAddress.IsUnspecified() {
		n.HomeAddress = one.homeAddress
	}
	if one.renewals > 1 {
		n.Level = note.Debug
	}
	s.Tell(n)
}

// begin makes or prolongs a node's session. A session at another home agent is
// given up: that one is told.
func (s *Server) begin(q mipapp.AMR, to target, lifetime time.Duration) *session {
	one := s.sessions[q.User]
	if one != nil && one.agent.Host != to.agent.Host {
		s.abort(one, "the node has another home agent")
		s.drop(one)
		one = nil
	}
	if one == nil {
		one = &session{user: q.User, since: s.Now().Mono, attendants: make(map[string]attendant), records: make(map[string]mipapp.Record)}
		s.sessions[q.User] = one
	}
	one.agent, one.address, one.visited = to.agent, to.address, to.visited
	one.until = s.Now().Mono.Add(lifetime)
	one.renewals++
	s.ends.Set(q.User, one.until.Add(grace))
	return one
}
