package ha

import (
	"fmt"

	"careof/wire/mip4"
)

// A Place says where in a request an extension stands, which says who put it
// there and whether the mobile node's authenticator covers it.
type Place uint8

const (
	Anywhere  Place = iota
	Covered         // before the last authorization-enabling extension: from the mobile node, protected
	Uncovered       // after it: from a foreign agent
)

// A Claim says that an extension is understood in requests.
type Claim struct {
	Feature string
	Type    mip4.ExtType
	Sub     uint8 // with HasSub
	HasSub  bool
	From    string // who sends it: "mobile node", "foreign agent", or both
	Place   Place
	Min     int // fewest in one request; fewer discard it
	Max     int // most; more discard it. 0: no limit
	Section string
}

// Claims are the extensions that a home agent understands in requests. What
// nobody claims is skipped when its number is 128 to 255, else it makes the
// message be discarded (RFC 5944 section 1.8): a feature that is switched off
// behaves like one that was never written.
type Claims struct {
	agent *Agent
	rows  []Claim
}

// Add adds a row. A row that overlaps another is a mistake.
func (c *Claims) Add(row Claim) {
	for _, r := range c.rows {
		if r.Type == row.Type && (r.Sub == row.Sub || !r.HasSub || !row.HasSub) {
			c.agent.Fail(fmt.Errorf("ha: features %s and %s both claim extension %v", r.Feature, row.Feature, row.Type))
			return
		}
	}
	c.rows = append(c.rows, row)
}

// Rows lists the claims in the order they were added.
func (c *Claims) Rows() []Claim { return append([]Claim(nil), c.rows...) }

func (c *Claims) find(e mip4.Ext) *Claim {
	for i := range c.rows {
		r := &c.rows[i]
		if r.Type == e.Type && (!r.HasSub || (e.HasSub && r.Sub == e.Sub)) {
			return r
		}
	}
	return nil
}

// check says whether the request's extensions are acceptable, and if not, why.
//
//rfc:5944#1.8
func (c *Claims) check(m *mip4.Message) (why string, ok bool) {
	// "When an Extension numbered in either of these sets within the range 0
	// through 127 is encountered but not recognized, the message containing
	// that Extension MUST be silently discarded. When an Extension numbered in
	// the range 128 through 255 is encountered that is not recognized, that
	// particular Extension is ignored" (RFC 5944 section 1.8).
	if e, bad := m.FirstUnclaimed(func(e mip4.Ext) bool { return c.find(e) != nil }); bad {
		return fmt.Sprintf("extension %v is not understood", e.Type), false
	}
	last, bordered := m.LastAuthorizing()
	for i := range c.rows {
		r := &c.rows[i]
		n := 0
		for _, e := range m.Exts {
			if c.find(e) != r {
				continue
			}
			n++
			if bordered && (r.Place == Covered && e.Off > last.Off || r.Place == Uncovered && e.Off < last.Off) {
				return fmt.Sprintf("extension %v is in the wrong place", e.Type), false
			}
		}
		if n < r.Min || (r.Max > 0 && n > r.Max) {
			return fmt.Sprintf("extension %v is there %d times", r.Type, n), false
		}
	}
	return "", true
}

func (a *Agent) baseClaims() {
	a.Claims.agent = a
	for _, c := range []Claim{
		// "exactly one ... MUST be the first authentication extension"; 34
		// may be there any number of times, since RFC 5944 section 3.8.2.1 c
		// wants an answer (132) to more than one.
		{Feature: "base", Type: mip4.ExtMobileHome, From: "mobile node", Max: 1, Section: "5944#3.5.2"},
		{Feature: "base", Type: mip4.ExtForeignHome, From: "foreign agent", Place: Uncovered, Section: "5944#3.5.4"},
		// Foreign agents take 33 off; one that is left is recognised, and no
		// business of the home agent.
		{Feature: "base", Type: mip4.ExtMobileForeign, From: "mobile node", Place: Uncovered, Section: "5944#3.5.3"},
		// "The Mobile Node NAI extension MUST appear in the Registration
		// Request before both the Mobile-Home Authentication extension and
		// Mobile-Foreign Authentication extension" (RFC 2794 section 2).
		{Feature: "base", Type: mip4.ExtNAI, From: "mobile node", Place: Covered, Max: 1, Section: "2794#2"},
	} {
		a.Claims.Add(c)
	}
}
