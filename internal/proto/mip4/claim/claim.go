// Package claim holds the tables in which features say which extensions of
// Registration Requests and Replies they understand.
//
// What nobody claims is skipped when its number is 128 to 255, else it makes
// the message be discarded (RFC 5944 section 1.8): a feature that is switched
// off behaves like one that was never written.
//
// What must not go in here: what a role does with a message that is not
// acceptable.
package claim

import (
	"fmt"
	"slices"

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

// A Claim says that an extension is understood.
type Claim struct {
	Feature string
	Type    mip4.ExtType
	Sub     uint8 // with HasSub
	HasSub  bool
	InReply bool   // in replies, else in requests
	From    string // who sends it: "mobile node", "foreign agent", or both
	Place   Place
	Min     int // fewest in one message; fewer discard it
	Max     int // most; more discard it. 0: no limit
	Section string
}

// fits says whether the claim is about the extension.
func (c *Claim) fits(e mip4.Ext) bool {
	return c.Type == e.Type && (!c.HasSub || e.HasSub && c.Sub == e.Sub)
}

// A Table is the claims of one role.
type Table struct {
	rows []Claim
	fail func(error)
}

// New makes an empty table; fail is told of rows that overlap.
func New(fail func(error)) Table { return Table{fail: fail} }

// Add adds rows. A row that overlaps another is a mistake.
func (t *Table) Add(rows ...Claim) {
	for _, row := range rows {
		for _, r := range t.rows {
			if r.Type == row.Type && r.InReply == row.InReply && (r.Sub == row.Sub || !r.HasSub || !row.HasSub) {
				t.fail(fmt.Errorf("features %s and %s both claim extension %v", r.Feature, row.Feature, row.Type))
				return
			}
		}
		t.rows = append(t.rows, row)
	}
}

// Rows lists the claims in the order they were added.
func (t *Table) Rows() []Claim { return slices.Clone(t.rows) }

// Claimed says whether an extension of a reply, or else of a request, is
// understood.
func (t *Table) Claimed(e mip4.Ext, reply bool) bool {
	return slices.ContainsFunc(t.rows, func(c Claim) bool { return c.InReply == reply && c.fits(e) })
}

// Check says whether the extensions of m are acceptable, and if not, why: exts
// are those of them that are the role's to recognise.
//
//rfc:5944#1.8
//rfc:3115#2-1
//rfc:3115#2.3-3
//rfc:4064#9-2
//rfc:4064#9-3
//rfc:6245#4.2-2
func (t *Table) Check(m *mip4.Message, exts []mip4.Ext) (why string, ok bool) {
	// "When an Extension numbered in either of these sets within the range 0
	// through 127 is encountered but not recognized, the message containing
	// that Extension MUST be silently discarded. When an Extension numbered in
	// the range 128 through 255 is encountered that is not recognized, that
	// particular Extension is ignored" (RFC 5944 section 1.8).
	reply := m.Type == mip4.TypeRegistrationReply
	for _, e := range exts {
		if e.Type != mip4.ExtPadding && !e.Type.Skippable() && !t.Claimed(e, reply) {
			return fmt.Sprintf("extension %v is not understood", e.Type), false
		}
	}
	last, bordered := m.LastAuthorizing()
	for i := range t.rows {
		r := &t.rows[i]
		if r.InReply != reply {
			continue
		}
		n := 0
		for _, e := range exts {
			if !r.fits(e) {
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
