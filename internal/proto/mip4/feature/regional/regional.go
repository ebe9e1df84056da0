// Package regional is what a home agent without regional registration owes RFC
// 4857: it knows the GFA IP Address extension (46) and the care-of address
// 0.0.0.0 that asks for a gateway foreign agent, and refuses them with the codes
// made for that, instead of being silent.
//
// Left out: the gateway itself, and binding its address.
package regional

import (
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/claim"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "regional-registration"

// New is the feature.
func New() feature.Feature {
	return feature.Feature{
		Name: Name,
		RFC:  []int{4857},
		Home: func(a *ha.Agent) error {
			a.Claims.Add(claim.Claim{Feature: Name, Type: mip4.ExtGFAAddress, From: "foreign agent", Max: 1, Section: "4857#9.1"})
			a.Admit.Add(Name, "gateway", admit)
			return nil
		},
	}
}

// admit: "If a HA receives a Registration Request with a GFA IP Address
// extension, and the HA does not allow the use of this extension, the HA MUST
// return" DYN_GFA_NOT_SUPP; "with the care-of address set to all-zeros, but no
// GFA IP Address extension, it MUST deny the request" with ZERO_CAREOF_ADDRESS
// (RFC 4857 section 7.4).
//
//rfc:4857#7.4
//rfc:4857#9.1
//rfc:4857#9.5
func admit(x *ha.Exchange) engine.Verdict {
	_, n := x.Message.Find(mip4.ExtGFAAddress)
	switch {
	case n > 0:
		return engine.Deny(uint8(mip4.CodeDynamicGFANotSupported), "a gateway foreign agent's address is not bound here")
	case x.Request.CareOfAddress.IsUnspecified() && !x.Deregisters():
		return engine.Deny(uint8(mip4.CodeZeroCareOf), "no care-of address")
	}
	return engine.Next()
}
