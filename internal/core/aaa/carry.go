package aaa

import (
	"net/netip"
	"time"

	"careof/internal/core/ident"
)

// A Carry is an order of AAA to a home agent: serve a node that AAA has
// authenticated, by its Registration Request, which is in the order (RFC 4004
// section 5.3). It is answered with a [Carried].
type Carry struct {
	NAI         ident.NAI
	Request     []byte
	HomeAddress netip.Addr // that AAA gives; invalid: the home agent gives one
	// Keys are those with the mobile node and with the foreign agent, as the home
	// agent uses them. Of the key between the other two it has what it passes on to
	// the node: Nonce.
	Keys  SessionKeys
	Nonce *ForeignNonce
	// Names of home agent and home AAA server, for the node to name them again
	// (RFC 3846); empty: not told.
	AgentName, ServerName ident.NAI
	Lifetime              time.Duration // how long AAA's word holds
	Class                 []byte        // to be repeated in accounting
}

// A ForeignNonce is of what the mobile node makes its key with the foreign agent.
type ForeignNonce struct {
	Lifetime   time.Duration
	AAASPI     uint32
	ForeignSPI uint32 // the foreign agent's choice
	Nonce      []byte
}

// Subject is whom the order concerns, as the request speaks of it.
func (c Carry) Subject() ident.Node {
	who := ident.Node{NAI: c.NAI}
	if len(c.Request) >= 8 {
		who.HomeAddress = netip.AddrFrom4([4]byte(c.Request[4:8]))
	}
	return who
}

// A Carried is what became of the request.
type Carried struct {
	Reply       []byte // nil: the request was discarded
	Accepted    bool
	HomeAddress netip.Addr
	HomeAgent   netip.Addr
	Why         string // of a denial
}
