package validate

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// mobile is the feature at a mobile node.
type mobile struct {
	node  *mn.Node
	spots map[spot]*view
}

// A spot is where the node is to be seen: an address on a link.
type spot struct {
	link   string
	careOf netip.Addr
}

// A view is how a home agent sees the node there.
type view struct {
	outer     netip.AddrPort
	port      time.Time // see [mn.Node.PortAt]: that of outer
	challenge []byte
	tries     int       // answers to challenges in a row, of which none has helped
	next      time.Time // monotonic: when to answer again; zero: not by itself
	heard     time.Time
}

const (
	// maxTries is how often a challenge is answered before the next
	// registration; the least time between two doubles.
	maxTries = 5
	wait     = 200 * time.Millisecond
	// maxSpots bounds the places of the past that are remembered.
	maxSpots = 32
)

func addMobile(cfg Config, n *mn.Node) error {
	if cfg.Mode != On {
		return nil
	}
	m := &mobile{node: n, spots: make(map[spot]*view)}
	n.Request.Add(Name, "answer", m.request)
	n.Accepted.Add(Name, "seen", m.accepted)
	n.OnAside(m.ask, m.heard)
	n.Timer(Name, m.deadline, m.due)
	return nil
}

func (m *mobile) view(s spot) *view {
	v := m.spots[s]
	if v != nil {
		return v
	}
	if len(m.spots) >= maxSpots {
		oldest := slices.MinFunc(m.order(), func(a, b spot) int { return m.spots[a].heard.Compare(m.spots[b].heard) })
		delete(m.spots, oldest)
	}
	v = new(view)
	m.spots[s] = v
	return v
}

func (m *mobile) order() []spot {
	list := make([]spot, 0, len(m.spots))
	for s := range m.spots {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b spot) int { return cmp.Or(cmp.Compare(a.link, b.link), a.careOf.Compare(b.careOf)) })
	return list
}

// ask is what goes with every request and question: that the node answers
// challenges, and the answer to the last one.
func (m *mobile) ask(link string, careOf netip.Addr) []mip4.Payload {
	e := &mip4.NVSE{Vendor: vendor.Careof, VendorType: Ask}
	if v := m.spots[spot{link, careOf}]; v != nil {
		e.Value = v.challenge
	}
	return []mip4.Payload{e}
}

func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	if x.Purpose == mn.Register {
		for _, e := range m.ask(x.Link, x.Registration.Key.CareOf) {
			x.Add(mip4.ZoneHome, e)
		}
	}
	return engine.Next()
}

func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	key := x.Registration.Key
	if outer, ok := m.see(spot{key.Link, key.CareOf}, x.Message); ok {
		x.Registration.Outer = outer
	}
	return engine.Next()
}

func (m *mobile) heard(link string, careOf netip.Addr, msg *mip4.Message) {
	m.see(spot{link, careOf}, msg)
}

// see reads what the home agent has seen. An outer address that has changed
// while the own has not is a NAT that binds anew, or somebody on the way who
// rewrites addresses: the reply is authentic, so that he cannot hide it. A port
// that is another one since the node has left from another itself is neither.
func (m *mobile) see(at spot, msg *mip4.Message) (netip.AddrPort, bool) {
	value, found := vendor.Find(msg.Authorized(), false, vendor.Careof, Seen)
	s, ok := parseSight(value)
	if !found || !ok {
		return netip.AddrPort{}, false
	}
	v := m.view(at)
	now := m.node.Now().Mono
	port := m.node.PortAt(at.link)
	ours := port != v.port && v.outer.Addr() == s.outer.Addr()
	if v.outer.IsValid() && v.outer != s.outer && !ours {
		m.node.Tell(note.Note{
			Kind: OuterChanged, Level: note.Warn, Link: at.link, CareOfAddress: at.careOf, Endpoint: s.outer,
			Why: "the home agent saw " + v.outer.String() + " before: a NAT, or somebody on the way, has changed it",
		})
	}
	v.outer, v.port, v.heard, v.challenge = s.outer, port, now, slices.Clone(s.challenge)
	switch {
	case s.validated || len(s.challenge) == 0:
		v.tries, v.next = 0, time.Time{}
	case v.tries < maxTries:
		v.next = now
		if v.tries > 0 {
			v.next = now.Add(wait << v.tries)
		}
	default:
		v.tries, v.next = 0, time.Time{} // with the next registration again
	}
	return s.outer, true
}

func (m *mobile) deadline() (at time.Time) {
	for _, v := range m.spots {
		at = engine.Earliest(at, v.next)
	}
	return at
}

// due answers the challenges whose time has come.
func (m *mobile) due() {
	now := m.node.Now().Mono
	for _, s := range m.order() {
		v := m.spots[s]
		if v.next.IsZero() || v.next.After(now) {
			continue
		}
		v.tries++
		if v.tries > maxTries {
			v.tries, v.next = 0, time.Time{}
			continue
		}
		v.next = now.Add(max(wait, 2*m.node.RoundTrip(s.link)) << (v.tries - 1))
		m.answer(s, v)
	}
}

// answer sends the answer by the shortest way there is: with a question, or where
// none can be asked with the next registration, now.
func (m *mobile) answer(s spot, v *view) {
	question := &mip4.CVSE{Vendor: vendor.Careof, VendorType: path.Question}
	r := m.node.Active()
	if r != nil && r.Live() && r.Key.Link == s.link && r.Key.CareOf == s.careOf {
		if !m.node.Confirm(r, func(mn.Validation) {}, question) {
			m.node.Renew(r)
		}
		return
	}
	for _, c := range m.node.Candidates() {
		if c.Link.Name == s.link && c.CareOf == s.careOf {
			asked := m.node.Validate(c, func(mn.Validation) {}, question)
			if !asked && r != nil && r.Live() {
				// One that stands by, or takes copies.
				if o := m.node.Registration(mn.RegistrationKey{Link: s.link, CareOf: s.careOf, HomeAgent: r.Key.HomeAgent}); o != nil {
					m.node.Renew(o)
				}
			}
			return
		}
	}
	v.next = time.Time{}
}
