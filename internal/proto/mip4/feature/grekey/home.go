package grekey

import (
	"math/rand/v2"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
	"careof/wire/mip4"
)

const extension = mip4.ExtGREKey

// home is the feature's part of one home agent.
type home struct {
	agent *ha.Agent
	key   *ha.Slot[sessionKey]
}

// A sessionKey is the key that a request was given. Its zero value says that
// none was asked for, or none is to be had.
type sessionKey struct {
	key   uint32
	given bool
}

// bind takes the extension for a request for GRE, "as if the 'G' bit is set".
//
// "If the HA receives the GRE Key Extension in a Registration Request and
// recognizes the GRE Key Extension but is not configured to support GRE
// encapsulation, it MUST send an RRP with code 'requested encapsulation
// unavailable (139)'" (RFC 6245 section 4.2).
//
//rfc:6245#4.2
//rfc:6245#4.2-4
//rfc:6245#4.2-5
//rfc:6245#4.2-6
func (h *home) bind(x *ha.Exchange) engine.Verdict {
	asked, n, err := mip4.Get[mip4.GREKey](x.Message)
	switch {
	case n == 0:
		return engine.Next()
	case err != nil:
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "malformed GRE Key")
	case !h.agent.Offers(encap.GRE):
		return engine.Deny(uint8(mip4.CodeHAEncapsulationUnavailable), "GRE is not offered")
	}
	s := h.key.Of(x)
	*s = sessionKey{asked.Key, true}
	if asked.Key == 0 {
		*s = h.choose(x)
	}
	if x.Deregisters() || !s.given {
		return engine.Next()
	}
	if x.Encap == encap.UDP {
		x.Inside = encap.GRE
	} else {
		x.Encap = encap.GRE
	}
	x.EncapOffered = true
	x.Key, x.HasKey = s.key, true
	return engine.Next()
}

// choose is the home agent's own key for both directions: "The HA MUST assign
// GRE keys for both directions". A renewal keeps the one that it has, and
// after a deregistration there is none to choose.
//
//rfc:6245#4.2
//rfc:6245#4.2-9
//rfc:6245#4.2-10
func (h *home) choose(x *ha.Exchange) sessionKey {
	for _, b := range x.Node.Bindings() {
		if b.CareOfAddress == x.Request.CareOfAddress && b.Tunnel.HasKey {
			return sessionKey{b.Tunnel.Key, true}
		}
	}
	if x.Deregisters() {
		return sessionKey{}
	}
	return sessionKey{some(h.agent.Rand()), true}
}

// some is a random key; 0 has another meaning.
func some(rng *rand.Rand) uint32 { return 1 + rng.Uint32N(1<<32-1) }

// reply returns the key: "The HA MUST include the GRE Key Extension in all RRPs
// in response to any RRQ that included the GRE Key Extension, when a GRE key is
// available for the registration" (RFC 6245 section 4.2). It is the foreign
// agent's, and stands where that takes it off: behind the mobile node's
// authenticator.
//
//rfc:6245#4.2
//rfc:6245#4.2-7
//rfc:6245#4.2-8
//rfc:6245#4.2-11
func (h *home) reply(x *ha.Exchange) engine.Verdict {
	if s := h.key.Of(x); x.Accepted() && s.given {
		x.Draft.Add(mip4.ZoneForeign, &mip4.GREKey{Key: s.key})
	}
	return engine.Next()
}
