package revoke

import (
	"net/netip"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/wire/mip4"
)

// signed tells whether a message carries exactly one valid authenticator of
// the type, by one of the keys: "If any agent ... receives a registration
// revocation message that does not contain a valid authenticator, ... the
// revocation message MUST be ignored, and silently discarded" (RFC 3543
// section 3.3).
//
//rfc:3543#3.3
func signed(m *mip4.Message, by mip4.ExtType, keys []*assoc.Association) bool {
	e, n := m.Find(by)
	if n != 1 || len(m.Exts) == 0 || m.Exts[len(m.Exts)-1].Off != e.Off {
		return false // what follows an authenticator is nobody's
	}
	auth, err := m.Authentication(e)
	if err != nil {
		return false
	}
	for _, k := range keys {
		if k.SPI() == auth.SPI && k.Authenticated() {
			return k.Verify(m.Covered(e), auth.Authenticator)
		}
	}
	return false
}

// seal lays a message out and signs it.
func seal(fixed mip4.Fixed, by mip4.ExtType, key *assoc.Association) ([]byte, error) {
	d := mip4.NewMessage(fixed)
	d.Authenticate(by, key.Outbound())
	return d.Seal()
}

// acknowledge is the answer to a revocation: addresses and ports are
// exchanged, Home Address and Identifier are copied (RFC 3543 section 3.4).
//
//rfc:3543#3.4
func acknowledge(p engine.Packet, r mip4.Revocation, inform bool, by mip4.ExtType, key *assoc.Association) (engine.Send, error) {
	// "The 'I' bit MUST NOT be set to '1' in the revocation acknowledgment
	// messages unless it was set to '1' in the revocation message."
	data, err := seal(&mip4.RevocationAck{Inform: inform && r.Inform, HomeAddress: r.HomeAddress, Identifier: r.Identifier}, by, key)
	return engine.Send{Link: p.Link, Src: p.Dst, Dst: p.Src, Data: data}, err
}

// newest is the key that signs what is not an answer.
func newest(keys []*assoc.Association) *assoc.Association { return keys[len(keys)-1] }

// port is where revocations go (RFC 3543 section 3.3).
const port = 434

// at434 is an address with the port of revocations.
func at434(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, port) }
