package fa

import (
	"fmt"

	"careof/wire/mip4"
)

// A Claim says that an extension behind the last authorization-enabling one is
// understood: there stand "the extensions ... used only by the foreign agent"
// (RFC 5944 section 3.6.1.3 d).
type Claim struct {
	Feature string
	Type    mip4.ExtType
	Sub     uint8 // with HasSub
	HasSub  bool
	InReply bool // from the home agent
	Max     int  // most of them; more discard the message. 0: no limit
	Section string
}

// Claims are the extensions for the foreign agent. What stands before them is
// the home agent's or the mobile node's to recognise, and relayed unread; what
// nobody claims behind is skipped when its number is 128 to 255, else it makes
// the message be discarded (RFC 5944 section 1.8).
type Claims struct {
	agent *Agent
	rows  []Claim
}

// Add adds a row. A row that overlaps another is a mistake.
func (c *Claims) Add(row Claim) {
	for _, r := range c.rows {
		if r.Type == row.Type && r.InReply == row.InReply && (r.Sub == row.Sub || !r.HasSub || !row.HasSub) {
			c.agent.Fail(fmt.Errorf("fa: features %s and %s both claim extension %v", r.Feature, row.Feature, row.Type))
			return
		}
	}
	c.rows = append(c.rows, row)
}

// Rows lists the claims in the order they were added.
func (c *Claims) Rows() []Claim { return append([]Claim(nil), c.rows...) }

func (c *Claims) find(e mip4.Ext, reply bool) *Claim {
	for i := range c.rows {
		r := &c.rows[i]
		if r.Type == e.Type && r.InReply == reply && (!r.HasSub || (e.HasSub && r.Sub == e.Sub)) {
			return r
		}
	}
	return nil
}

// check says whether the extensions for the foreign agent are acceptable, and
// if not, why.
//
//rfc:5944#1.8
//rfc:5944#3.6.1.3
func (c *Claims) check(m *mip4.Message) (why string, ok bool) {
	reply := m.Type == mip4.TypeRegistrationReply
	tail := m.Tail()
	for _, e := range tail {
		if e.Type != mip4.ExtPadding && !e.Type.Skippable() && c.find(e, reply) == nil {
			return fmt.Sprintf("extension %v is not understood", e.Type), false
		}
	}
	for i := range c.rows {
		r := &c.rows[i]
		if r.InReply != reply || r.Max == 0 {
			continue
		}
		n := 0
		for _, e := range tail {
			if c.find(e, reply) == r {
				n++
			}
		}
		if n > r.Max {
			return fmt.Sprintf("extension %v is there %d times", r.Type, n), false
		}
	}
	return "", true
}

func (a *Agent) baseClaims() {
	a.Claims.agent = a
	for _, c := range []Claim{
		// Any number of 33 and 34: RFC 5944 sections 3.7.2.1 and 3.7.3.1 want
		// an answer to more than one.
		{Feature: "base", Type: mip4.ExtMobileForeign, Section: "5944#3.5.3"},
		{Feature: "base", Type: mip4.ExtForeignHome, InReply: true, Section: "5944#3.5.4"},
		{Feature: "base", Type: mip4.ExtEncapsulatingDelivery, Max: 1, Section: "3024#3.3"},
	} {
		a.Claims.Add(c)
	}
}
