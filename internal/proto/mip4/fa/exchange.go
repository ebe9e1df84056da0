package fa

import (
	"container/list"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A Style is how a visitor's packets reach the foreign agent that tunnels them
// back (RFC 3024 section 5).
type Style uint8

const (
	NoReverseTunnel Style = iota // the T bit is not set
	Direct                       // plain packets, RFC 3024 section 5.1
	Encapsulating                // in a tunnel to the foreign agent, section 5.2
	Mixed                        // broadcasts and multicasts like that, unicast plain (a feature's)
	styles
)

var styleNames = [styles]string{"none", "direct", "encapsulating", "mixed"}

func (s Style) String() string { return styleNames[s] }

// An Exchange is one Registration Request on its way to the home agent. Each
// field belongs to the stage named; hooks of other stages only read it.
type Exchange struct {
	engine.Slots

	Agent   *Agent
	Packet  engine.Packet
	Message *mip4.Message
	Request mip4.RegistrationRequest
	NAI     ident.NAI // from extension 131, empty without one

	// Request
	Association *assoc.Association // shared with the mobile node; it has signed. nil: none shared
	Visitor     *Visitor           // the accepted visit of this home address at this home agent, or nil
	Encap       encap.Kind         // what the M and G bits ask for
	Key         uint32             // GRE key that the agent asks for
	HasKey      bool               //
	Inside      encap.Kind         // within UDP
	Offered     bool               // judged: 72
	Style       Style
	// HomeAgent is the one that serves, where the request goes: the Home Agent
	// field, or one that a feature assigns where that leaves it open (0.0.0.0,
	// 255.255.255.255) or an extension names another; judged: 116.
	HomeAgent netip.Addr
	// Carried is the home agent's reply, when AAA has taken the request there and
	// brought it back (RFC 4004 section 3.1): then nothing is relayed.
	Carried []byte

	// Relay: facts that a feature may replace; judged at its end.
	CareOf   netip.Addr         // that the request is relayed from
	Upstream netip.AddrPort     // where it goes: the home agent
	Signer   *assoc.Association // for extension 34, nil: not signed
	Draft    *mip4.Draft        // the relayed message: add to its zone foreign only

	// Answer is the answer to the question that a hook of the stage Request
	// awaited; the hook that asked finds it here.
	Answer *engine.Answer
}

// Now is the present step's time.
func (x *Exchange) Now() engine.Now { return x.Agent.Now() }

// CoLocated says whether the care-of address is the mobile node's own: the D
// bit.
func (x *Exchange) CoLocated() bool { return x.Request.Flags.Has(mip4.FlagD) }

// Deregisters says whether the request ends a registration: Lifetime 0.
func (x *Exchange) Deregisters() bool { return x.Request.Lifetime == 0 }

// Unassigned says whether the request leaves open which home agent serves.
func (x *Exchange) Unassigned() bool {
	return x.Request.HomeAgent == unspecified || x.Request.HomeAgent == limitedBroadcast
}

// note starts a note about the request.
func (x *Exchange) note(kind note.Kind, level note.Level) note.Note {
	n := note.Note{
		Kind: kind, Level: level, NAI: string(x.NAI), Link: x.Packet.Link,
		HomeAgent: x.HomeAgent, CareOfAddress: x.Request.CareOfAddress,
		Endpoint: x.Packet.Src, Identification: x.Request.Identification,
	}
	if !none(x.Request.HomeAddress) {
		n.HomeAddress = x.Request.HomeAddress
	}
	return n
}

// A Pending is a request that was relayed and is not answered yet: what RFC
// 5944 section 3.7.1 asks to be remembered. It is apart from the visitor list.
//
//rfc:5944#3.7.1-2
//rfc:5944#3.7.1-3
type Pending struct {
	engine.Slots

	Request     mip4.RegistrationRequest
	NAI         ident.NAI
	Link        string              // where the mobile node is
	HW          engine.HardwareAddr // its link-layer address
	Source      netip.AddrPort      // of the request
	Destination netip.AddrPort      // of the request
	CareOf      netip.Addr          // that the request was relayed from
	HomeAgent   netip.Addr          // that serves: not always the Home Agent field
	Upstream    netip.AddrPort      // where it was relayed to
	Association *assoc.Association  // shared with the mobile node
	Encap       encap.Kind
	Inside      encap.Kind
	Key         uint32
	HasKey      bool
	Style       Style
	Since       time.Time // monotonic
	Until       time.Time // monotonic

	id         uint64
	place      *list.Element // among the strangers' requests
	known      bool          // of an accepted visitor, or authenticated by extension 33
	committing bool          // its accepted reply is becoming true
	bounced    bool          // the mobile node was told that the home agent is unreachable
}

// node is who waits.
func (p *Pending) node() neighbour { return neighbour{p.Link, p.HW} }

// note starts a note about the request that waits.
func (p *Pending) note(kind note.Kind, level note.Level) note.Note {
	n := note.Note{
		Kind: kind, Level: level, NAI: string(p.NAI), Link: p.Link,
		HomeAgent: p.HomeAgent, CareOfAddress: p.Request.CareOfAddress,
		Endpoint: p.Source, Identification: p.Request.Identification,
	}
	if !none(p.Request.HomeAddress) {
		n.HomeAddress = p.Request.HomeAddress
	}
	return n
}

// A neighbour is a node on a link by its link-layer address.
type neighbour struct {
	link string
	hw   engine.HardwareAddr
}

// A Return is one Registration Reply on its way to the mobile node. Each field
// belongs to the stage named.
type Return struct {
	engine.Slots

	Agent   *Agent
	Packet  engine.Packet
	Message *mip4.Message
	Reply   mip4.RegistrationReply
	NAI     ident.NAI // from extension 131, empty without one

	// Reply
	Pending *Pending
	// Refusal is why the agent cannot honour the reply: 0, or the code of a
	// denial of its own.
	Refusal mip4.Code
	Why     string // of the refusal

	// Deliver: facts that a feature may replace; judged at its end.
	Lifetime time.Duration // of the visit
	Tunnel   forward.Tunnel
	Draft    *mip4.Draft // the relayed message: add to its zone foreign only
}

// Now is the present step's time.
func (r *Return) Now() engine.Now { return r.Agent.Now() }

// Home is the home address that the reply is about.
func (r *Return) Home() netip.Addr { return r.Reply.HomeAddress }

// Accepted says whether the home agent accepted and the agent honours it.
func (r *Return) Accepted() bool { return r.Reply.Code.Accepted() && r.Refusal == 0 }

// A Slot is a feature's private fact about an exchange, a pending request, a
// return or a visitor. An exchange's slots go on to its pending request, and a
// pending request's to the return and to the visitor.
type Slot[T any] = engine.Slot[T]

// A Denial is an answer of the agent's own on its way to the mobile node: the
// exchange of the stage Deny.
type Denial struct {
	Agent   *Agent
	Pending *Pending
	Code    mip4.Code
	// Message is the home agent's reply, when that is what the agent cannot
	// honour, and Reply what the home agent has authenticated of it; else nil.
	Message *mip4.Message
	Reply   []byte
	// Draft is the answer: a reply of the agent's own, about the home address
	// Home. A hook may put another one in its place, or add to its zone foreign.
	Draft *mip4.Draft
	Home  netip.Addr
}
