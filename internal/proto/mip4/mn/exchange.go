package mn

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A Hearing is news of a link: the exchange of the stage Heard.
type Hearing struct {
	Now      engine.Now
	Node     *Node
	Old, New engine.Link
	// Attached says that the link is now attached to another network than
	// before, though its address may be the same: what was registered over
	// it must be registered again.
	Attached bool
}

// A Choice is the question which uplinks shall be registered: the exchange of
// the stage Choose.
type Choice struct {
	Now        engine.Now
	Node       *Node
	Candidates []Candidate // in order of name until the last hook; then the preferred first
}

// A Candidate is one interface in a Choice.
type Candidate struct {
	Link     engine.Link
	Priority int
	CareOf   netip.Addr // the address to register; invalid when there is none
	// CoLocated is the interface's own address, when it can be registered,
	// and Agent the foreign agent to register through, when there is one:
	// CareOf is then an address of the agent's, or CoLocated all the same.
	CoLocated, Agent netip.Addr
	Home             bool   // the link is the home network
	Unusable         string // why it cannot be used; empty when it can

	// Cost is the configured one. Demoted and Preference are a feature's, who
	// knows more of the path: a demoted candidate stands behind all that are
	// less so, and among equals in priority and cost the greater Preference
	// goes first. Why says what is behind that, for people.
	Cost       int
	Demoted    Demotion
	Preference int
	Why        string
	// Unproven says, as a feature does, that nothing has come back over its path
	// since it is there, that the home agent would answer a question, and that it is
	// being asked: see [Node.Awaits].
	Unproven bool
	// Quality is what was measured of its path, for people.
	Quality Quality
	// Keepalive is how often a NAT on the path is reminded of the tunnel, for
	// people too.
	Keepalive Keepalive
	// Doubts are how often packets went over another one besides since it was in
	// doubt, for people too.
	Doubts Doubts
}

// Doubts are times in which an uplink was in use and in doubt.
type Doubts struct {
	Times  int
	Lasted time.Duration // all of them
}

// A Keepalive is an interval between keepalives (RFC 3519 section 4.9).
type Keepalive struct {
	Interval time.Duration // in use, or to be used; 0: none, or nothing is known
	Assigned time.Duration // what the home agent has said, or the default; 0: not yet
}

// A Demotion says how far a candidate stands back.
type Demotion uint8

const (
	Preferable Demotion = iota // by its priority
	Held                       // it works, and another that works is to be preferred for now
	Dead                       // nothing comes back over it
	demotions
)

var demotionNames = [demotions]string{"preferable", "held", "dead"}

func (d Demotion) String() string {
	if d < demotions {
		return demotionNames[d]
	}
	return fmt.Sprintf("Demotion(%d)", uint8(d))
}

// A Quality is what is known of a path by measuring.
type Quality struct {
	RoundTrip time.Duration // smoothed; 0 while unknown
	Probes    int           // of the last ones, that Loss is of
	Loss      float64       // the part that was not answered, 0 to 1
	Answered  time.Time     // when something last came back over it; zero: never
	Measured  time.Time     // when the last of Probes was answered or given up
	Probed    bool          // it goes on being measured
}

// A Purpose says what a request is for.
type Purpose uint8

const (
	Register      Purpose = iota // register a care-of address
	DeregisterOne                // end the registration of one care-of address
	DeregisterAll                // end all registrations of the node
)

// An Attempt is one request on its way out: the exchange of the stage
// Request. Hooks fill it in; the node then gives it its Identification, lays
// it out, authenticates and sends it.
type Attempt struct {
	engine.Slots

	Now          engine.Now
	Node         *Node
	Registration *Registration
	Purpose      Purpose
	Transmission int // 1 for the first request of an attempt

	Request mip4.RegistrationRequest
	Link    string
	Src     netip.AddrPort // port 0: the socket of that uplink
	Dst     netip.AddrPort
	TTL     uint8
	HW      engine.HardwareAddr

	// Tunnels are the tunnels that may come of this request, the most
	// likely first. While the request is pending during a move they already
	// receive, and the first may send.
	Tunnels []forward.Tunnel

	// Translated says that a NAT is probably on the way. Such a request leaves
	// from another port when the one before was not answered: it may be the
	// mapping of that port that is dead.
	Translated bool

	// Association is shared with the home agent. A hook may put another in its
	// place, or [Unkeyed] for a request without a Mobile-Home authenticator.
	Association *assoc.Association
	// Foreign is shared with the foreign agent on the way; nil when there is
	// none. It signs the request behind everything else.
	Foreign *assoc.Association

	// AAA, when a hook has set it, makes the Mobile-AAA authenticator (RFC 4721
	// section 6).
	AAA mip4.Signer

	// Answer answers the question of a hook that awaited one.
	Answer engine.Answer

	extensions    []zoned
	encapsulating bool // the delivery style that is asked for
	at            engine.Position
}

type zoned struct {
	zone    mip4.Zone
	payload mip4.Payload
}

// Add puts an extension into the request.
func (x *Attempt) Add(z mip4.Zone, p mip4.Payload) {
	x.extensions = append(x.extensions, zoned{z, p})
}

// Encapsulating says whether the request asks a foreign agent for the
// encapsulating delivery style of RFC 3024 section 5.2.
func (x *Attempt) Encapsulating() bool { return x.encapsulating }

// Limit lowers the lifetime that is asked for; it never raises it.
func (x *Attempt) Limit(d time.Duration) {
	if s := seconds(d); s < x.Request.Lifetime && x.Purpose == Register {
		x.Request.Lifetime = max(s, 1)
	}
}

// A Response is a reply that matched a pending request: the exchange of the
// stages Reply, Accepted and Denied.
type Response struct {
	engine.Slots

	Now          engine.Now
	Node         *Node
	Registration *Registration
	Sent         Sent // the request that it answers
	Packet       engine.Packet
	Message      *mip4.Message
	Reply        mip4.RegistrationReply

	// Association and Foreign are what the authenticators of home agent and
	// foreign agent are checked with. A hook of the stage Keys may put others in
	// their place; Foreign is nil when none is to be checked.
	Association, Foreign *assoc.Association

	// Authentic says that the home agent's authenticator was there and
	// holds, or that the association asks for none.
	Authentic bool

	// Facts that a hook may replace; the node judges and uses them after
	// the last hook.
	HomeAgentOK   bool              // the reply's Home Agent field is acceptable
	Encap, Inside encap.Kind        // of the tunnel
	Peer          netip.AddrPort    // the tunnel's other end
	PeerKey       forward.PublicKey // of the home agent, when Inside is WireGuard
	MTU           int               // of the packets in the tunnel; 0 lets the data plane work it out
	Deliver       forward.Deliver   // the foreign agent, when packets go plain to it
	Plain         bool              // beside its tunnel the agent tunnels plain packets too
	Granted       time.Duration     // lifetime, counted from Sent.At

	// Retry, in the stage Denied, sends a new request at once: a hook has
	// repaired what was wrong. An attempt gets a few of them.
	Retry bool

	// Answer answers the question of a hook that awaited one.
	Answer engine.Answer

	at engine.Position
}

// Limit lowers the granted lifetime; it never raises it.
func (x *Response) Limit(d time.Duration) { x.Granted = min(x.Granted, d) }

// A Movement says that the tunnel to send through changed: the exchange of
// the stages Moved and Home.
type Movement struct {
	Now  engine.Now
	Node *Node
	From *Registration // nil when there was none
	To   *Registration // nil when the node came home
}

// A Probe is what became known about a registration's path: the exchange of
// the stage Probed.
type Probe struct {
	Now          engine.Now
	Node         *Node
	Registration *Registration
	Alive        bool
	Why          string
}

// stages are the named points at which the base and the features act.
type stages struct {
	Heard      engine.Stage[*Hearing]
	Advertised engine.Stage[*Advertisement]
	Choose     engine.Stage[*Choice]
	Request    engine.Stage[*Attempt]
	Keys       engine.Stage[*Response]
	Reply      engine.Stage[*Response]
	Accepted   engine.Stage[*Response]
	Denied     engine.Stage[*Response]
	Moved      engine.Stage[*Movement]
	Home       engine.Stage[*Movement]
	Probed     engine.Stage[*Probe]
}

func (s *stages) name() {
	s.Heard.Name, s.Heard.Section = "Heard", "5944#2.4"
	s.Heard.Doc = "News of a link. A hook may say that the link is attached to another network."
	s.Advertised.Name, s.Advertised.Section = "Advertised", "5944#2.4"
	s.Advertised.Doc = "A mobility agent advertises on a link. A hook may read extensions and drop the advertisement."
	s.Choose.Name, s.Choose.Section = "Choose", "5944#3.6"
	s.Choose.Doc = "Which uplinks are to be registered. A hook may declare candidates unusable or change their priority."
	s.Request.Name, s.Request.Section = "Request", "5944#3.6.1"
	s.Request.Doc = "A request is put together. A hook may set flags, lower the lifetime, add extensions and tunnels to expect."
	s.Keys.Name, s.Keys.Section = "Keys", "3957#3"
	s.Keys.Doc = "A reply may bring keys. A hook may replace the associations that it is checked with."
	s.Reply.Name, s.Reply.Section = "Reply", "5944#3.6.2.1"
	s.Reply.Doc = "A reply to a pending request is checked. A hook may drop it or make its Home Agent field acceptable."
	s.Accepted.Name, s.Accepted.Section = "Accepted", "5944#3.6.2.2"
	s.Accepted.Doc = "A request was accepted. A hook may set the tunnel's encapsulation and end, lower the lifetime, or deny what cannot be used."
	s.Denied.Name, s.Denied.Section = "Denied", "5944#3.6.2.3"
	s.Denied.Doc = "A request was denied. A hook may repair what was wrong and ask for a new request."
	s.Moved.Name, s.Moved.Section = "Moved", "5944#3.6.2.2"
	s.Moved.Doc = "The node sends through another tunnel than before."
	s.Home.Name, s.Home.Section = "Home", "5944#4.6"
	s.Home.Doc = "The node is at home and its home agent knows it."
	s.Probed.Name, s.Probed.Section = "Probed", "3519#4.10"
	s.Probed.Doc = "A path was found alive or dead. The base registers again over a dead one."
}

// describe lists the stages in their order.
func (s *stages) describe() []engine.StageInfo {
	var list []engine.StageInfo
	list = append(list, engine.Pipeline[*Hearing]{&s.Heard}.Describe(role)...)
	list = append(list, engine.Pipeline[*Advertisement]{&s.Advertised}.Describe(role)...)
	list = append(list, engine.Pipeline[*Choice]{&s.Choose}.Describe(role)...)
	list = append(list, engine.Pipeline[*Attempt]{&s.Request}.Describe(role)...)
	list = append(list, engine.Pipeline[*Response]{&s.Keys, &s.Reply, &s.Accepted, &s.Denied}.Describe(role)...)
	list = append(list, engine.Pipeline[*Movement]{&s.Moved, &s.Home}.Describe(role)...)
	list = append(list, engine.Pipeline[*Probe]{&s.Probed}.Describe(role)...)
	return list
}

// seconds converts a duration to whole seconds of a Lifetime field.
func seconds(d time.Duration) uint16 {
	return uint16(min(max(d/time.Second, 0), mip4.LifetimeInfinite))
}
