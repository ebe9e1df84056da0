package aaa

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
)

// What a question can come to, besides a [Grant]. Drivers wrap them.
var (
	// ErrRejected: a server has said no.
	ErrRejected = errors.New("refused by AAA")
	// ErrProhibited: AAA knows the node, and does not allow what it asks for.
	ErrProhibited = fmt.Errorf("prohibited: %w", ErrRejected)
	// ErrUnavailable: no server has answered, or none is configured that could.
	ErrUnavailable = errors.New("no AAA server answers")
	// ErrLimited: the question was not asked, since too many were.
	ErrLimited = errors.New("too many questions to AAA")
)

// A Subject is about whom a question is, and who sent what led to it: drivers
// bound the questions for each NAI and each source.
type Subject struct {
	NAI           ident.NAI
	HomeAddress   netip.Addr // invalid when the node asks for one
	HomeAgent     netip.Addr
	CareOfAddress netip.Addr
	Source        netip.Addr // that the request came from
	// Registered says that the node is registered with the agent that asks: its
	// question goes before those of strangers.
	Registered bool
}

// Name is the node's NAI, empty when it has none.
func (s Subject) Name() string { return string(s.NAI) }

// Authenticate asks whether the Mobile-AAA authenticator of a request is right
// (RFC 4721 section 6), and what the node is granted. It is answered with a
// [Grant].
type Authenticate struct {
	Subject
	Proof Proof
	// Wishes are the keys that are wanted with the answer.
	Wishes KeyWishes
	// CoLocated says that a home agent asks about a request that came to it
	// directly.
	CoLocated bool
}

// A Proof is what an authenticator was computed over. Its octets are the
// question's own.
type Proof struct {
	SPI           uint32
	Covered       []byte // the message up to and including the SPI of extension 36
	Challenge     []byte // that the foreign agent gave; nil in a direct registration
	Authenticator []byte
}

// directChallenge is the challenge of a direct registration: "In case of
// co-located care-of address, the Challenge value 0 is used" (RFC 4721 section
// 8). Its length is not given; it is taken for one octet.
var directChallenge = []byte{0}

// Against is the challenge that the authenticator is to be held against.
//
//rfc:4721#8
func (p Proof) Against() []byte {
	if len(p.Challenge) == 0 {
		return directChallenge
	}
	return p.Challenge
}

// Authorise asks for what a home agent needs to serve a node that it does not
// know: home address, mobility security association with the given SPI, and how
// long they hold. It is answered with a [Grant] that has associations.
type Authorise struct {
	Subject
	SPI uint32
}

// A Grant is what AAA allows a node. Zero fields say nothing.
type Grant struct {
	HomeAddress  netip.Addr           // the node's; invalid: the home agent gives one
	HomeAgent    netip.Addr           // that shall serve the node
	Associations []*assoc.Association // between mobile node and home agent
	Prefixes     []netip.Prefix       // mobile networks that the node may bring
	Lifetime     time.Duration        // how long all of it holds
	Interim      time.Duration        // how often accounting is wanted in between
	Class        []byte               // to be repeated in accounting
	Keys         SessionKeys          // that AAA has made for this registration (RFC 3957)
	// Reply is the home agent's Registration Reply, where AAA has taken the request
	// there itself (RFC 4004). It may be a denial.
	Reply []byte
}

// A Moment is what an accounting record tells of.
type Moment uint8

// Moments.
const (
	Start   Moment = iota + 1 // a session has begun
	Interim                   // it goes on
	Stop                      // it has ended
)

var moments = [...]string{Start: "start", Interim: "interim", Stop: "stop"}

func (m Moment) String() string {
	if m == 0 || int(m) >= len(moments) {
		return fmt.Sprintf("Moment(%d)", uint8(m))
	}
	return moments[m]
}

// Account tells of a session. Nobody waits for its answer, which is nil: the
// driver repeats it until a server has taken it.
type Account struct {
	Subject
	Role    string // that tells
	Moment  Moment
	Session Session
	Key     forward.Key // of the entry whose counters count
	Began   time.Time   // monotonic
	Class   []byte
	Interim time.Duration
	Why     string // Stop: the reason, in the role's words
}

// A Session is one registration of a node with an agent, from the first
// acceptance to its end, moves and renewals included. It is unique in the
// agent's lifetime and not to be guessed.
type Session uint64

func (s Session) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// End is an order of AAA: the sessions that it fits shall end. Fields that are
// not set fit everything; at least one is. It is answered with how many ended,
// an int.
type End struct {
	NAI         ident.NAI
	HomeAddress netip.Addr
	Session     Session
}

// Fits says whether a session is meant.
func (e End) Fits(nai ident.NAI, home netip.Addr, s Session) bool {
	return (e.NAI == "" || e.NAI == nai) && (!e.HomeAddress.IsValid() || e.HomeAddress == home) &&
		(e.Session == 0 || e.Session == s) && e != End{}
}

// Change is an order of AAA: what was granted to these sessions holds for this
// long from now on. It is answered with how many were changed, an int.
type Change struct {
	End
	Lifetime time.Duration
}
