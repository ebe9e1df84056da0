package fa

import (
	"fmt"

	"careof/internal/proto/mip4/claim"
	"careof/wire/mip4"
)

// A Claim says that an extension behind the last authorization-enabling one is
// understood: there stand "the extensions ... used only by the foreign agent"
// (RFC 5944 section 3.6.1.3 d). What stands before is the home agent's or the
// mobile node's to recognise, and relayed unread.
//
//rfc:5944#3.6.1.3
type Claim = claim.Claim

func (a *Agent) baseClaims() {
	a.Claims = claim.New(func(err error) { a.Fail(fmt.Errorf("fa: %w", err)) })
	a.Claims.Add(
		// Any number of 33 and 34: RFC 5944 sections 3.7.2.1 and 3.7.3.1 want
		// an answer to more than one.
		Claim{Feature: "base", Type: mip4.ExtMobileForeign, Section: "5944#3.5.3"},
		Claim{Feature: "base", Type: mip4.ExtForeignHome, InReply: true, Section: "5944#3.5.4"},
		Claim{Feature: "base", Type: mip4.ExtEncapsulatingDelivery, Max: 1, Section: "3024#3.3"},
	)
}
