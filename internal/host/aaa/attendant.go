package aaa

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/ident"
	"careof/internal/core/mipapp"
	"careof/wire/diameter"
	"careof/wire/mip4"
)

// A Carrier takes Diameter messages to peers.
type Carrier interface {
	// Submit takes a request of this host's to where it belongs and gives its answer.
	Submit(ctx context.Context, request *diameter.Message) (*diameter.Message, error)
}

// An AttendantConfig configures an [Attendant].
type AttendantConfig struct {
	Identity mipapp.Identity
	Carrier  Carrier
	// Carry gives an order to the home agent: an [aaa.Carry], answered with an
	// [aaa.Carried]. Nil: there is none here.
	Carry func(context.Context, aaa.Carry) (aaa.Carried, error)
	// End ends sessions, and says how many.
	End func(context.Context, aaa.End) (int, error)
	// HomeAgentNamed says that the home agent tells its own name already.
	HomeAgentNamed bool
	Warn           func(msg string, args ...any)
}

// An Attendant is the agents of this host towards Diameter: the client of RFC 4004
// that foreign agents are, and home agents for those who come to them directly; and
// the one who takes orders for home agents. It is safe for concurrent use.
type Attendant struct {
	cfg AttendantConfig

	mu     sync.Mutex
	serial uint32
	began  uint32
	visits map[ident.NAI]attended // at the foreign agent
	homes  map[ident.NAI]attended // at the home agent
	// told counts the records of each session: the Accounting-Record-Number.
	told map[string]uint32
}

// An attended is a session as Diameter knows it.
type attended struct {
	session, multi string
	server         mipapp.Identity
}

// maxAttended bounds the sessions that are remembered.
const maxAttended = 1 << 20

// class is the session as roles keep it for accounting, across restarts.
func (a attended) class() []byte {
	return []byte(strings.Join([]string{a.session, a.multi, a.server.Host, a.server.Realm}, "\x00"))
}

func attendedOf(class []byte) (attended, bool) {
	f := strings.Split(string(class), "\x00")
	if len(f) != 4 {
		return attended{}, false
	}
	return attended{f[0], f[1], mipapp.Identity{Host: f[2], Realm: f[3]}}, true
}

// NewAttendant makes an attendant.
func NewAttendant(c AttendantConfig) *Attendant {
	return &Attendant{
		cfg: c, began: uint32(time.Now().Unix()), visits: make(map[ident.NAI]attended), homes: make(map[ident.NAI]attended),
		told: make(map[string]uint32),
	}
}

// newSession makes a Session-Id (RFC 6733 section 8.8).
//
//rfc:6733#8.8
func (a *Attendant) newSession() string {
	a.serial++
	return fmt.Sprintf("%s;%d;%d", a.cfg.Identity.Host, a.began, a.serial)
}

// Answer implements [Answerer]: an AMR asks about a request with a Mobile-AAA
// authenticator. Other questions have no words in RFC 4004.
//
//rfc:4004#3.1
//rfc:4004#3.3
//rfc:4004#5.1
func (a *Attendant) Answer(ctx context.Context, question any) (aaa.Grant, error) {
	q, ok := question.(aaa.Authenticate)
	if !ok {
		return aaa.Grant{}, fmt.Errorf("aaa: a node without a Mobile-AAA authenticator cannot be asked about: %w", aaa.ErrRejected)
	}
	amr, err := mipapp.RequestOf(q)
	if err != nil {
		return aaa.Grant{}, fmt.Errorf("%w: %w", err, aaa.ErrRejected)
	}
	a.mu.Lock()
	held := a.visits
	if q.CoLocated {
		held = a.homes
	}
	one, known := held[q.NAI]
	if !known {
		one.session = a.newSession()
		if q.CoLocated {
			one.multi = a.newSession()
		}
	}
	a.mu.Unlock()
	amr.Session, amr.MultiSession = one.session, one.multi
	if !q.CoLocated {
		amr.MultiSession = ""
	}
	m, err := a.cfg.Carrier.Submit(ctx, amr.Message())
	if err == nil {
		err = m.Check()
	}
	if err != nil {
		return aaa.Grant{}, fmt.Errorf("aaa: %s: %w: %w", q.NAI, err, aaa.ErrUnavailable)
	}
	ama, err := mipapp.ReadAMA(m)
	if err != nil {
		return aaa.Grant{}, fmt.Errorf("aaa: %s: %w: %w", q.NAI, err, aaa.ErrUnavailable)
	}
	if err := refusal(q.NAI, ama); err != nil {
		return aaa.Grant{}, err
	}
	if !ama.Result.OK() {
		return aaa.Grant{Reply: ama.Reply}, nil // the home agent has said no, and why
	}
	if len(ama.Filters) > 0 {
		// "This error code is used by a mobility agent to indicate to the home Diameter
		// server that the requested packet filter Rules cannot be supported": an answer
		// cannot be refused but by ending its session.
		go a.terminate(q.NAI, attended{amr.Session, ama.MultiSession, ama.Server}, diameter.BadAnswer)
		return aaa.Grant{}, fmt.Errorf("aaa: %s: filter rules are not supported: %w", q.NAI, aaa.ErrProhibited)
	}
	one.server = ama.Server
	one.multi = cmp.Or(ama.MultiSession, one.multi)
	a.mu.Lock()
	if len(held) < maxAttended {
		held[q.NAI] = one
	}
	a.mu.Unlock()
	g := aaa.Grant{HomeAgent: ama.HomeAgent, Reply: ama.Reply, Lifetime: ama.Lifetime, Class: one.class()}
	if q.CoLocated {
		g.HomeAgent = q.HomeAgent
		if !ama.HomeAddress.IsUnspecified() && ama.HomeAddress != q.HomeAddress {
			g.HomeAddress = ama.HomeAddress
		}
	}
	g.Keys, err = a.sessionKeys(q, amr, ama)
	return g, err
}

// nobody is the home agent of a request that shall not come to one.
var nobody = netip.AddrFrom4([4]byte{240, 0, 0, 1})

// Verify asks whether a secret is a node's, without registering it: by a request
// for a home agent that nobody has. A server that has verified it says that this
// home agent is not to be had.
func (a *Attendant) Verify(ctx context.Context, nai ident.NAI, secret aaa.Secret, careOf netip.Addr, direct bool) error {
	var challenge []byte
	if !direct {
		challenge = make([]byte, 16)
		_, _ = rand.Read(challenge) // never fails
	}
	draft := mip4.NewRequest(mip4.RegistrationRequest{
		Lifetime: 60, HomeAddress: netip.AddrFrom4([4]byte{}), HomeAgent: nobody, CareOfAddress: careOf, Identification: assoc.Timestamp(time.Now()),
	})
	draft.Add(mip4.ZoneHome, &mip4.NAI{Value: string(nai)})
	draft.AuthenticateGeneralized(mip4.AuthMobileAAA, aaa.Signer{Secret: secret, Challenge: challenge})
	octets, err := draft.Seal()
	if err != nil {
		return fmt.Errorf("aaa: %w", err)
	}
	n := len(octets) - aaa.Signer{Secret: secret}.Size()
	amr, err := mipapp.RequestOf(aaa.Authenticate{
		Subject: aaa.Subject{NAI: nai}, CoLocated: direct,
		Proof: aaa.Proof{SPI: secret.SPI(), Covered: octets[:n], Authenticator: octets[n:], Challenge: challenge},
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	amr.Session = a.newSession()
	a.mu.Unlock()
	m, err := a.cfg.Carrier.Submit(ctx, amr.Message())
	if err != nil {
		return fmt.Errorf("aaa: %s: %w: %w", nai, err, aaa.ErrUnavailable)
	}
	ama, err := mipapp.ReadAMA(m)
	if ama.Result == diameter.HANotAvailable || ama.Result == diameter.NoForeignHAService {
		return nil
	}
	if err == nil {
		err = refusal(nai, ama)
	}
	return err
}

// refusal is what a result without success comes to; nil when the home agent's
// reply says it.
//
//rfc:4004#6
//rfc:4004#6-1
func refusal(nai ident.NAI, a mipapp.AMA) error {
	switch {
	case a.Result.OK(), a.Reply != nil:
		return nil
	case a.Result == diameter.AuthenticationRejected:
		return fmt.Errorf("aaa: %s: %v: %w", nai, a.Result, aaa.ErrRejected)
	case a.Result.Class() == diameter.ProtocolError, a.Result == diameter.OutOfSpace, a.Result == diameter.ResourcesExceeded:
		return fmt.Errorf("aaa: %s: %v: %w", nai, a.Result, aaa.ErrUnavailable)
	}
	return fmt.Errorf("aaa: %s: %v: %w", nai, a.Result, aaa.ErrProhibited)
}

// sessionKeys are the keys of an AMA as the agent that has asked uses them.
//
//rfc:4004#8
func (a *Attendant) sessionKeys(q aaa.Authenticate, amr mipapp.AMR, ama mipapp.AMA) (aaa.SessionKeys, error) {
	var keys aaa.SessionKeys
	lifetime := lasting(ama.Keys.Lifetime)
	home, _ := mipapp.MobileSPIs(amr.Request)
	for _, one := range []struct {
		from    *mipapp.Key
		to      **aaa.SessionKey
		in, out uint32
	}{
		{ama.Keys.MobileHome, &keys.MobileHome, cmp.Or(q.Wishes.MobileHome.AgentSPI, newSPI()), home},
		{ama.Keys.MobileForeign, &keys.MobileForeign, amr.ForeignSPI, q.Wishes.MobileForeign.MobileSPI},
		{ama.Keys.ForeignHome, &keys.ForeignHome, amr.ForeignSPI, spiOf(ama.Keys.ForeignHome)},
	} {
		if one.from == nil || one.from.Key.Len() == 0 {
			continue
		}
		pair, err := assoc.NewPair(one.in, one.out, mipapp.Algorithm, one.from.Key, one.from.Replay)
		if err != nil {
			return aaa.SessionKeys{}, fmt.Errorf("aaa: %s: key: %w: %w", q.NAI, err, aaa.ErrUnavailable)
		}
		*one.to = &aaa.SessionKey{Association: pair, Lifetime: lifetime, AAASPI: q.Proof.SPI, Nonce: one.from.Nonce}
	}
	return keys, nil
}

func spiOf(k *mipapp.Key) uint32 {
	if k == nil {
		return 0
	}
	return k.AgentSPI
}

// lasting is a MIP-MSA-Lifetime: "A value of zero indicates infinity" (RFC 4004
// section 8.1), which extensions 41 and 43 have no word for: their greatest number.
//
//rfc:4004#8.1
func lasting(d time.Duration) time.Duration {
	if d == 0 {
		return (1<<32 - 1) * time.Second
	}
	return d
}

// newSPI chooses an SPI of ours.
//
//rfc:4004#9.11-1
func newSPI() uint32 {
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails
		if spi := binary.BigEndian.Uint32(b[:]); spi >= assoc.MinimumSPI {
			return spi
		}
	}
}

// Received answers a request for this host's agents.
func (a *Attendant) Received(ctx context.Context, m *diameter.Message) *diameter.Message {
	if err := m.Check(); err != nil {
		return m.Refuse(err)
	}
	switch m.Command {
	case diameter.HomeAgentMIP:
		q, err := mipapp.ReadHAR(m)
		if err != nil {
			return m.Refuse(err)
		}
		return a.serve(ctx, q).Answer(m)
	case diameter.AbortSession:
		return m.Answer(a.abort(ctx, mipapp.ReadAbort(m)))
	}
	return m.Answer(diameter.CommandUnsupported)
}

// serve has the home agent process the Registration Request of a HAR.
//
//rfc:4004#3.1
//rfc:4004#5.3
//rfc:4004#5.4
//rfc:4004#6.1
//rfc:4004#8.3
//rfc:4004#8.5
//rfc:4004#4.1.1-3
//rfc:4004#4.1.2-1
//rfc:4004#4.1.2-2
//rfc:4004#5.4-1
//rfc:4004#8.5-1
func (a *Attendant) serve(ctx context.Context, q mipapp.HAR) mipapp.HAA {
	out := mipapp.HAA{User: q.User}
	refuse := func(code diameter.ResultCode, why string) mipapp.HAA {
		out.Result, out.Why = code, why
		return out
	}
	if a.cfg.Carry == nil {
		return refuse(diameter.HANotAvailable, "no home agent here")
	}
	if len(q.Filters) > 0 {
		return refuse(diameter.MIPFilterNotSupported, "filter rules are not supported")
	}
	mobile, foreign := mipapp.MobileSPIs(q.Request)
	by := mobileAAA(q.Request)
	carry := aaa.Carry{
		NAI: q.User, Request: q.Request, HomeAddress: q.HomeAddress, Lifetime: q.Lifetime, ServerName: q.Server.NAI(),
	}
	if !a.cfg.HomeAgentNamed {
		carry.AgentName = a.cfg.Identity.NAI()
	}
	lifetime := lasting(q.Keys.Lifetime)
	if k := q.Keys.MobileHome; k != nil {
		pair, err := assoc.NewPair(newSPI(), mobile, mipapp.Algorithm, k.Key, k.Replay)
		if err != nil || len(k.Nonce) == 0 {
			return refuse(diameter.BadKey, "the key with the mobile node cannot be used")
		}
		carry.Keys.MobileHome = &aaa.SessionKey{Association: pair, Lifetime: lifetime, AAASPI: by, Nonce: k.Nonce}
	}
	if k := q.Keys.MobileForeign; k != nil {
		carry.Nonce = &aaa.ForeignNonce{Lifetime: lifetime, AAASPI: by, ForeignSPI: k.AgentSPI, Nonce: k.Nonce}
		out.MobileSPI = foreign
	}
	if k := q.Keys.ForeignHome; k != nil {
		pair, err := assoc.NewPair(newSPI(), k.MobileSPI, mipapp.Algorithm, k.Key, assoc.Timestamps)
		if err != nil {
			return refuse(diameter.BadKey, "the key with the foreign agent cannot be used")
		}
		carry.Keys.ForeignHome = &aaa.SessionKey{Association: pair, Lifetime: lifetime}
		out.HomeSPI = pair.SPI()
	}
	// "The HA generates a unique Acct-Multi-Session-Id when receiving an HAR for a
	// new session and returns this same value in every HAA for the session."
	a.mu.Lock()
	one, known := a.homes[q.User]
	if !known {
		one.multi = a.newSession()
	}
	a.mu.Unlock()
	// "the HA MUST be able to modify its internal session state information to
	// reflect the new session identifier" (section 4.1.2).
	one.session, one.server = q.Session, q.Server
	carry.Class = one.class()
	done, err := a.cfg.Carry(ctx, carry)
	if err != nil {
		return refuse(diameter.HANotAvailable, err.Error())
	}
	out.Reply = done.Reply
	if !done.Accepted {
		out.HomeSPI, out.MobileSPI = 0, 0
		return refuse(diameter.MIPReplyFailure, done.Why)
	}
	a.mu.Lock()
	if len(a.homes) < maxAttended {
		a.homes[q.User] = one
	}
	a.mu.Unlock()
	out.Result, out.MultiSession, out.HomeAddress, out.HomeAgent = diameter.Success, one.multi, done.HomeAddress, done.HomeAgent
	return out
}

// mobileAAA is the SPI of the request's Mobile-AAA authentication extension.
func mobileAAA(request []byte) uint32 {
	m, err := mip4.Parse(request)
	if err != nil {
		return 0
	}
	e, _ := m.FindSub(mip4.ExtGeneralizedAuth, mip4.AuthMobileAAA)
	auth, err := m.Authentication(e)
	if err != nil {
		return 0
	}
	return auth.SPI
}

// abort ends a session: the binding, or the visit. The agent's own STR follows
// (RFC 6733 section 8.5.1).
//
//rfc:4004#4.1.3
func (a *Attendant) abort(ctx context.Context, q mipapp.Abort) diameter.ResultCode {
	a.mu.Lock()
	home, visit := a.homes[q.User], a.visits[q.User]
	a.mu.Unlock()
	// After a restart the home agent does not remember the Session-Id, and the home
	// realm may end its node's sessions all the same.
	mine := q.Session == home.session || q.Session == visit.session || q.Origin.Realm == mipapp.Realm(q.User)
	if !mine || q.User == "" || a.cfg.End == nil {
		return diameter.UnknownSessionID
	}
	n, err := a.cfg.End(ctx, aaa.End{NAI: q.User})
	switch {
	case err != nil:
		return diameter.UnableToComply
	case n == 0:
		return diameter.UnknownSessionID
	}
	return diameter.Success
}

// session is what Diameter knows of a session that a role tells of.
func (a *Attendant) session(q aaa.Account) (attended, bool) {
	if one, ok := attendedOf(q.Class); ok {
		return one, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	held := a.homes
	if q.Role == "foreign-agent" {
		held = a.visits
	}
	one, ok := held[q.NAI]
	return one, ok
}

// record implements [Accountant].
//
//rfc:4004#10
//rfc:4004#4.1.2
func (a *Attendant) record(ctx context.Context, r Record) error {
	if r.on {
		return nil
	}
	q := r.about
	one, ok := a.session(q)
	if !ok {
		return fmt.Errorf("aaa: %s has no Diameter session: %w", q.NAI, aaa.ErrRejected)
	}
	a.mu.Lock()
	number := a.told[one.session]
	a.mu.Unlock()
	m, err := a.cfg.Carrier.Submit(ctx, mipapp.Record{
		Session: one.session, MultiSession: one.multi, User: q.NAI, Realm: cmp.Or(one.server.Realm, mipapp.Realm(q.NAI)), Server: one.server.Host,
		Moment: q.Moment, Number: number, At: r.at, Lasted: r.lasted, HomeAddress: q.HomeAddress, HomeAgent: q.HomeAgent, Used: r.seen(),
	}.Message())
	if err != nil {
		return fmt.Errorf("aaa: accounting: %w: %w", err, aaa.ErrUnavailable)
	}
	result, _ := m.Result()
	if result.Class() == diameter.ProtocolError {
		return fmt.Errorf("aaa: accounting: %v: %w", result, aaa.ErrUnavailable)
	}
	if q.Moment == aaa.Stop {
		a.Ended(q) // the session is told of before it is terminated
	}
	if !result.OK() {
		return fmt.Errorf("aaa: accounting: %v: %w", result, aaa.ErrRejected)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told[one.session] = number + 1; q.Moment == aaa.Stop {
		delete(a.told, one.session)
	}
	return nil
}

// Ended terminates a session: who keeps no ledger calls it when a role has told of
// its end. "The mobility agents MUST
// issue the Session-Termination-Request (STR) if the Authorization Lifetime has
// expired and no subsequent MIP registration request has been received" (RFC 4004
// section 4.1.3), and at every other end too (RFC 6733 section 8.4).
//
//rfc:4004#4.1.3
//rfc:4004#4.1.3-1
func (a *Attendant) Ended(q aaa.Account) {
	one, ok := a.session(q)
	if !ok || q.NAI == "" {
		return
	}
	a.mu.Lock()
	held := a.homes
	if q.Role == "foreign-agent" {
		held = a.visits
	}
	if bytes.Equal(held[q.NAI].class(), one.class()) {
		delete(held, q.NAI)
	}
	a.mu.Unlock()
	go a.terminate(q.NAI, one, mipapp.CauseOf(q.Why))
}

// terminations are the pauses between tries of an STR.
var terminations = []time.Duration{0, 2 * time.Second, 10 * time.Second, time.Minute}

func (a *Attendant) terminate(nai ident.NAI, one attended, cause uint32) {
	for _, pause := range terminations {
		time.Sleep(pause)
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		m, err := a.cfg.Carrier.Submit(ctx, mipapp.Termination{
			Session: one.session, User: nai, Realm: cmp.Or(one.server.Realm, mipapp.Realm(nai)), Server: one.server.Host, Cause: cause,
		}.Message())
		cancel()
		if err != nil {
			continue
		}
		if result, _ := m.Result(); result.Class() != diameter.ProtocolError {
			return
		}
	}
	a.cfg.Warn("a Diameter server was not told of a session's end", "nai", string(nai), "session", one.session)
}

// An AttendedStatus is a Diameter session as shown.
type AttendedStatus struct {
	Role, NAI, Session, MultiSession, Server string
}

// Status lists the sessions by name.
func (a *Attendant) Status() []AttendedStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []AttendedStatus
	for role, held := range map[string]map[ident.NAI]attended{"foreign-agent": a.visits, "home-agent": a.homes} {
		for nai, one := range held {
			list = append(list, AttendedStatus{role, string(nai), one.session, one.multi, one.server.Host})
		}
	}
	slices.SortFunc(list, func(x, y AttendedStatus) int {
		return cmp.Or(strings.Compare(x.Role, y.Role), strings.Compare(x.NAI, y.NAI))
	})
	return list
}
