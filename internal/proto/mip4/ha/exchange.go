package ha

import (
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// An Exchange is one Registration Request on its way through the stages. Each
// field belongs to the stage named; hooks of other stages only read it. The
// facts of Bind may be replaced by a feature there. Nobody keeps it: when the
// request has been answered, or dropped, it serves the next one.
type Exchange struct {
	engine.Slots

	Agent   *Agent
	Packet  engine.Packet
	Message *mip4.Message
	Request mip4.RegistrationRequest

	// Identify
	Node *Node      // whose request it is
	Home netip.Addr // the home address it concerns; Admit assigns one
	NAI  ident.NAI  // from extension 131, empty without one

	// Authenticate
	Association  *assoc.Association // the one that signs the reply
	Authentic    bool               // an authorization-enabling extension is right
	Verified     bool               // AAA has verified the Mobile-AAA authenticator
	ForeignAgent *Relay             // the configured foreign agent that relayed, or nil
	ForeignCheck ForeignCheck       // what became of the Foreign-Home authenticator

	// Replay
	Fresh          bool   // the Identification was acceptable, and is used up now
	Identification uint64 // of the reply

	// Admit
	HomeAgent           netip.Addr   // the identity that the reply names
	HomeAgentAcceptable bool         // judged at the end of Admit: 136
	Network             netip.Prefix // whose pool gives an address; invalid: any that is not reserved. See Network.Reserved
	Discovery           bool         // sent to a broadcast address

	// Bind: facts that a feature may replace; judged at its end
	ID             binding.ID     // which binding of the home address it is
	Endpoint       netip.AddrPort // the effective care-of endpoint; port 0 unless UDP
	Encap, Inside  encap.Kind
	EncapOffered   bool              // judged: 139
	PeerKey        forward.PublicKey // of the node, when Inside is WireGuard
	AnyPort        bool              // the endpoint's port is not known yet
	Key            uint32            // GRE key
	HasKey         bool              //
	Mode           forward.Mode      // Both with reverse tunnelling, else Send
	SourceAccepted bool              // the outer source may differ from the care-of address; judged: 129
	MTU            int
	Networks       []netip.Prefix // a mobile router's, all of them
	Redundancy     *Redundancy    // what an accepted request agrees on; nil ends it
	Budget         int            // see [forward.Tunnel]: the endpoint is to answer a challenge first
	Validated      time.Time      // monotonic: when the endpoint answered one

	ReplyTo binding.ReplyTo // where the reply goes

	// Reply
	Code     mip4.Code     // what the reply will say
	Lifetime time.Duration // granted; zero in denials and deregistrations
	Why      string        // of a denial
	Draft    *mip4.Draft   // the reply, before it is signed

	// Answer is the answer to the question that the exchange awaited; the
	// hook that asked finds it here.
	Answer *engine.Answer

	submission *Submission // nil: it came as a datagram
	answered   bool        // a submission has had its answer

	at       engine.Position
	replying bool
	limit    time.Duration
	extra    []engine.Record
	then     []engine.Action

	refreshes bool // a binding that was there, whose tunnel stays
	former    term // until when that was granted

	// Where Message, Draft and what they consist of live: an exchange is one
	// piece of memory.
	message mip4.Message
	exts    [6]mip4.Ext
	octets  [160]byte
	draft   mip4.Draft
	reply   mip4.RegistrationReply
}

// A term is how long a binding was granted.
type term struct {
	granted          time.Duration
	renewed, expires time.Time // monotonic
}

// begin takes a message that came in. The buffer is the caller's, so the
// exchange works on a copy.
func (x *Exchange) begin(p engine.Packet) error {
	x.Packet = p
	x.Packet.Data = append(x.octets[:0], p.Data...)
	x.Message = &x.message
	x.message.Exts = x.exts[:0]
	if err := x.message.Parse(x.Packet.Data); err != nil {
		return err
	}
	return x.Request.ParseFixed(x.message.Raw[:x.message.Fixed])
}

// Now is the present step's time.
func (x *Exchange) Now() engine.Now { return x.Agent.Now() }

// Limit lowers the lifetime that will be granted; it never raises it.
func (x *Exchange) Limit(d time.Duration) { x.limit = min(x.limit, d) }

// Deregisters says whether the request ends bindings: Lifetime 0.
func (x *Exchange) Deregisters() bool { return x.Request.Lifetime == 0 }

// DeregistersAll says whether the request ends all bindings: "the Lifetime is
// zero and the Care-of Address equals the mobile node's home address" (RFC
// 5944 section 3.8.2.2).
func (x *Exchange) DeregistersAll() bool {
	r := &x.Request
	return r.Lifetime == 0 && (r.CareOfAddress == r.HomeAddress || r.CareOfAddress == x.Home)
}

// FromHome says whether the request comes from the mobile node at home: it
// deregisters all, and its IP source is the home address (RFC 5944 section
// 3.8.3.1).
func (x *Exchange) FromHome() bool {
	return x.DeregistersAll() && x.Home.IsValid() && x.Packet.Src.Addr() == x.Home
}

// Accepted says whether the reply will accept the request.
func (x *Exchange) Accepted() bool { return x.Code.Accepted() }

// Record adds a durable record of a feature to what the reply commits.
func (x *Exchange) Record(r engine.Record) { x.extra = append(x.extra, r) }

// Then adds an action that is carried out when the commit is true, after the
// reply was sent.
func (x *Exchange) Then(a engine.Action) { x.then = append(x.then, a) }

// A Slot is a feature's private fact about an exchange.
type Slot[T any] = engine.Slot[T]
