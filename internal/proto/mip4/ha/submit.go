package ha

import (
	"fmt"
	"net/netip"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
)

// A Submission is a Registration Request that did not come as a datagram: AAA has
// brought it, and takes the reply back (RFC 4004 section 3.1).
type Submission struct {
	// Packet is the request as if its foreign agent had sent it from the care-of
	// address.
	Packet engine.Packet
	// Prepare is called before the first stage, for what the feature knows.
	Prepare func(*Exchange)
	// Reply makes the action that the sealed reply becomes: it is carried out when
	// what the reply says is true. Without data the request was discarded, and Why
	// of the exchange says for what reason. It may be called again when a commit
	// has failed.
	Reply func(x *Exchange, data []byte) engine.Action
}

// Submit takes a request in.
func (a *Agent) Submit(s Submission) error {
	from := s.Packet.Src
	if !unicast(from.Addr()) || from.Port() == 0 || a.cfg.own(from.Addr()) {
		return fmt.Errorf("ha: %v is no foreign agent's address", from.Addr())
	}
	a.request(s.Packet, &s)
	return nil
}

// outgoing is the action that takes a reply to who has asked.
func (a *Agent) outgoing(x *Exchange, send engine.Send) engine.Action {
	if x.submission == nil {
		return send
	}
	x.answered = true
	return x.submission.Reply(x, send.Data)
}

// RelayedBy says that the foreign agent at an address has relayed the request and
// was authenticated otherwise: the reply is signed for it with the association.
func (x *Exchange) RelayedBy(address netip.Addr, by *assoc.Association) {
	x.ForeignCheck = ForeignValid
	x.ForeignAgent = &Relay{Address: address}
	if by != nil {
		x.ForeignAgent.keys, x.ForeignAgent.spi = []*assoc.Association{by}, by.SPI()
	}
}
