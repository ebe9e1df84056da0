package ha

import (
	"fmt"

	"careof/internal/proto/mip4/claim"
	"careof/wire/mip4"
)

// Claims of features, and where in a request an extension stands.
type (
	Claim = claim.Claim
	Place = claim.Place
)

// Places.
const (
	Anywhere  = claim.Anywhere
	Covered   = claim.Covered
	Uncovered = claim.Uncovered
)

func (a *Agent) baseClaims() {
	a.Claims = claim.New(func(err error) { a.Fail(fmt.Errorf("ha: %w", err)) })
	a.Claims.Add(
		// "exactly one ... MUST be the first authentication extension"; 34
		// may be there any number of times, since RFC 5944 section 3.8.2.1 c
		// wants an answer (132) to more than one.
		Claim{Feature: "base", Type: mip4.ExtMobileHome, From: "mobile node", Max: 1, Section: "5944#3.5.2"},
		Claim{Feature: "base", Type: mip4.ExtForeignHome, From: "foreign agent", Place: Uncovered, Section: "5944#3.5.4"},
		// Foreign agents take 33 off; one that is left is recognised, and no
		// business of the home agent.
		Claim{Feature: "base", Type: mip4.ExtMobileForeign, From: "mobile node", Place: Uncovered, Section: "5944#3.5.3"},
		// "The Mobile Node NAI extension MUST appear in the Registration
		// Request before both the Mobile-Home Authentication extension and
		// Mobile-Foreign Authentication extension" (RFC 2794 section 2).
		Claim{Feature: "base", Type: mip4.ExtNAI, From: "mobile node", Place: Covered, Max: 1, Section: "2794#2"},
	)
}
