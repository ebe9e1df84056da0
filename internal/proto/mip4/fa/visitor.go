package fa

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/advertise"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Infinite is a lifetime without an end.
const Infinite = advertise.InfiniteLifetime

// A Reason says why a visit ended.
type Reason string

// Reasons.
const (
	Deregistered Reason = "deregistered"
	Expired      Reason = "expired"
	ByOperator   Reason = "cleared"
	Failed       Reason = "failed"
)

// A Visitor is an accepted registration through this agent.
type Visitor struct {
	engine.Slots

	HomeAddress    netip.Addr
	NAI            ident.NAI
	HomeAgent      netip.Addr
	CareOf         netip.Addr          // lent to it; its own when co-located
	Link           string              // where it is
	HW             engine.HardwareAddr // its link-layer address
	Source         netip.AddrPort      // of its last accepted request
	Destination    netip.AddrPort      // of its last accepted request
	Flags          mip4.RequestFlags
	Style          Style
	Identification uint64
	Requested      time.Duration
	Lifetime       time.Duration      // Infinite has no end
	Since          time.Time          // monotonic, of the visit
	Renewed        time.Time          // monotonic, of the last reply
	Until          time.Time          // monotonic; zero: no end
	Tunnel         forward.Tunnel     // to the home agent
	Association    *assoc.Association // shared with it, or nil

	// left says that the same station has registered with another home agent
	// since: what it sends goes there, and what the one that it is leaving still
	// sends is delivered.
	left  bool
	asked uint64     // Identification of the request that was accepted
	own   netip.Addr // the agent's address that it sends its requests to
	id    uint64
}

// Key names the visitor's forwarding entry.
func (v *Visitor) Key() forward.Key {
	return forward.Key("fa/" + v.HomeAddress.String() + "/" + v.HomeAgent.String())
}

// CoLocated says whether the care-of address is the visitor's own: then its
// tunnel does not end here.
func (v *Visitor) CoLocated() bool { return v.Flags.Has(mip4.FlagD) }

// A visitorKey names a visitor: home addresses are unique at their home agent,
// and not beyond.
type visitorKey struct{ home, agent netip.Addr }

func (v *Visitor) key() visitorKey { return visitorKey{v.HomeAddress, v.HomeAgent} }

// visitors is the visitor list.
type visitors struct {
	byKey   map[visitorKey]*Visitor
	byID    map[uint64]*Visitor
	byEntry map[forward.Key]*Visitor
	byHome  map[netip.Addr][]*Visitor // of several home agents
	agenda  engine.Agenda[uint64]
	last    uint64
}

func newVisitors() visitors {
	return visitors{
		byKey: make(map[visitorKey]*Visitor), byID: make(map[uint64]*Visitor), byEntry: make(map[forward.Key]*Visitor),
		byHome: make(map[netip.Addr][]*Visitor),
	}
}

func (t *visitors) count() int { return len(t.byKey) }

// put adds v in place of the visitor with its key.
func (t *visitors) put(v *Visitor) {
	if old := t.byKey[v.key()]; old != nil {
		t.remove(old)
	}
	t.last++
	v.id = t.last
	t.byKey[v.key()], t.byID[v.id], t.byEntry[v.Key()] = v, v, v
	t.byHome[v.HomeAddress] = append(t.byHome[v.HomeAddress], v)
	t.agenda.Set(v.id, v.Until)
}

func (t *visitors) remove(v *Visitor) {
	delete(t.byKey, v.key())
	delete(t.byID, v.id)
	delete(t.byEntry, v.Key())
	if rest := slices.DeleteFunc(t.byHome[v.HomeAddress], func(o *Visitor) bool { return o == v }); len(rest) > 0 {
		t.byHome[v.HomeAddress] = rest
	} else {
		delete(t.byHome, v.HomeAddress)
	}
	t.agenda.Clear(v.id)
}

// others are the visits of v's station by its home address with other home
// agents, the oldest first: one makes before it breaks.
func (t *visitors) others(v *Visitor) (list []*Visitor) {
	for _, o := range t.byHome[v.HomeAddress] {
		if o.HomeAgent != v.HomeAgent && o.Link == v.Link && o.HW == v.HW {
			list = append(list, o)
		}
	}
	return list
}

// turn gives what a station sends to its home agents, or to none of them.
func turn(list []*Visitor, left bool) (changes []forward.Change) {
	for _, o := range list {
		if o.left == left {
			continue
		}
		o.left = left
		if e, ok := o.entry(); ok {
			changes = append(changes, forward.Change{Op: forward.Put, Entry: e})
		}
	}
	return changes
}

// list gives the visitors by home address and home agent.
func (t *visitors) list() []*Visitor {
	list := make([]*Visitor, 0, len(t.byKey))
	for _, v := range t.byKey {
		list = append(list, v)
	}
	slices.SortFunc(list, func(x, y *Visitor) int {
		if c := x.HomeAddress.Compare(y.HomeAddress); c != 0 {
			return c
		}
		return strings.Compare(string(x.Key()), string(y.Key()))
	})
	return list
}

// entry is what the visit asks of the data plane; none for a co-located
// mobile node, whose tunnel passes by.
//
//rfc:5944#4.2.2
//rfc:3024#5.2
func (v *Visitor) entry() (forward.Entry, bool) {
	if v.CoLocated() {
		return forward.Entry{}, false
	}
	t := v.Tunnel
	t.Until = v.Until
	if v.left {
		t.Mode = forward.Receive
	}
	e := forward.Entry{
		Key: v.Key(), Role: forward.ForeignAgent, Inner: netip.PrefixFrom(v.HomeAddress, 32),
		Deliver: forward.Deliver{Link: v.Link, HW: v.HW},
		Tunnels: []forward.Tunnel{t},
	}
	e.Plain = v.Style == Mixed
	if !v.left && (v.Style == Encapsulating || v.Style == Mixed) {
		// The mobile node tunnels from its home address to the agent's own
		// address, with the encapsulation of the forward tunnel.
		inner := t.Encap
		if inner == encap.UDP {
			inner = cmp.Or(t.Inside, encap.IPIP)
		}
		e.Tunnels = append(e.Tunnels, forward.Tunnel{
			Local: netip.AddrPortFrom(v.own, 0), Peer: netip.AddrPortFrom(v.HomeAddress, 0),
			Link: v.Link, Encap: inner, Mode: forward.Receive, Until: v.Until,
		})
	}
	return e, true
}

// visit makes an accepted registration true, and then sends the reply.
//
// "the foreign agent resets its timer of the lifetime of the registration to
// the Lifetime granted in the Registration Reply; ... the foreign agent
// considers this lifetime to begin when it forwards the Registration Reply
// message" (RFC 5944 section 3.7.3.2).
//
//rfc:5944#3.7.3.2
//rfc:5944#3.7.1
//rfc:3024#4.2.2-2
func (a *Agent) visit(r *Return, send engine.Send) {
	p := r.Pending
	v := &Visitor{
		HomeAddress: r.Reply.HomeAddress, NAI: p.NAI, HomeAgent: r.Reply.HomeAgent,
		CareOf: p.Request.CareOfAddress, Link: p.Link, HW: p.HW, Source: p.Source, Destination: p.Destination,
		Flags: p.Request.Flags, Style: p.Style, Identification: r.Reply.Identification,
		Requested: lifetime(p.Request.Lifetime), Lifetime: r.Lifetime,
		Since: a.Now().Mono, Renewed: a.Now().Mono, Tunnel: r.Tunnel, Association: p.Association,
		own: send.Src.Addr(), asked: p.Request.Identification, Slots: r.Slots,
	}
	if r.Lifetime != Infinite {
		v.Until = a.Now().Mono.Add(r.Lifetime)
	}
	old := a.visitors.byKey[v.key()]
	if old != nil {
		v.Since = old.Since
	}
	kind := Arrived
	if old != nil && old.Link == v.Link && old.HW == v.HW {
		kind = Renewed
	}
	changes := change(old, v)
	n := p.note(kind, note.Info)
	if kind == Renewed {
		n.Level = note.Debug
	}
	n.HomeAddress, n.HomeAgent, n.Lifetime = v.HomeAddress, v.HomeAgent, v.Lifetime
	if !v.CoLocated() {
		n.Encapsulation = v.Tunnel.Encap.String()
	}
	// The visit is in the list from now on, so that nothing that happens
	// until the commit is true mistakes it for an old one.
	p.committing = true
	a.visitors.put(v)
	others := a.visitors.others(v)
	changes = append(changes, turn(others, true)...)
	a.commit(engine.Commit{Changes: changes, Then: []engine.Action{send, a.Telling(n)}}, func(err error) {
		a.pending.remove(p)
		if err != nil {
			a.undo(v, old, p, send.Data, err)
			if back := turn(others[max(0, len(others)-1):], false); len(back) > 0 {
				a.commit(engine.Commit{Changes: back}, a.told)
			}
			return
		}
		a.pending.supersede(p)
		a.counters.accepted++
		if a.visitors.byKey[v.key()] != v {
			return // ended, or replaced, in the meantime
		}
		for _, run := range a.arrived {
			run(v)
		}
	})
}

// change is what the data plane has to do when old becomes v; either may be
// nil. A refresh moves nothing but the end.
func change(old, v *Visitor) []forward.Change {
	var was, is forward.Entry
	var had, has bool
	if old != nil {
		was, had = old.entry()
	}
	if v != nil {
		is, has = v.entry()
	}
	switch {
	case !has && !had:
		return nil
	case !has:
		return []forward.Change{{Op: forward.Delete, Entry: was}}
	case had && refreshes(was, is):
		return []forward.Change{{
			Op: forward.Extend, Until: v.Until,
			Entry: forward.Entry{Key: is.Key, Role: is.Role, Inner: is.Inner},
		}}
	}
	return []forward.Change{{Op: forward.Put, Entry: is}}
}

// refreshes says whether two entries differ in their end alone, and all of
// their tunnels send: Extend moves the end of those.
func refreshes(was, is forward.Entry) bool {
	was.Tunnels, is.Tunnels = slices.Clone(was.Tunnels), slices.Clone(is.Tunnels)
	for _, tunnels := range [][]forward.Tunnel{was.Tunnels, is.Tunnels} {
		for i := range tunnels {
			if tunnels[i].Mode == forward.Receive {
				return false
			}
			tunnels[i].Until = time.Time{}
		}
	}
	return was.Equal(is)
}

// undo takes back a visit that could not be made true. The home agent has
// accepted it all the same; the mobile node is told that it is not served.
func (a *Agent) undo(v, old *Visitor, p *Pending, reply []byte, err error) {
	a.counters.failed++
	n := p.note(note.Failed, note.Error)
	n.Why = err.Error()
	a.Tell(n)
	if a.visitors.byKey[v.key()] == v {
		a.visitors.remove(v)
		if old != nil && (old.Until.IsZero() || old.Until.After(a.Now().Mono)) {
			a.visitors.put(old)
		} else {
			old = nil
		}
		// Whatever part of the change the data plane holds is put right.
		back := change(v, nil)
		if old != nil {
			if e, ok := old.entry(); ok {
				back = []forward.Change{{Op: forward.Put, Entry: e}}
			}
		}
		a.commit(engine.Commit{Changes: back}, a.told)
	}
	m, _ := mip4.Parse(reply) // it was written here
	a.refuse(p, m, mip4.CodeFAResources, "the tunnel could not be set up")
}

// deregister ends a visit whose end the home agent has accepted, and then
// sends the reply: "the existing visitor list entry for the mobile node SHOULD
// NOT be deleted until the foreign agent has received a successful Registration
// Reply" (RFC 5944 section 3.7.2). A deregistration of one care-of address
// that was not lent here ends nothing here.
//
//rfc:5944#3.7.2
//rfc:5944#3.7.3.2
func (a *Agent) deregister(r *Return, send engine.Send) {
	v := a.visitors.byKey[visitorKey{r.Reply.HomeAddress, r.Reply.HomeAgent}]
	careOf := r.Pending.Request.CareOfAddress
	if v == nil || careOf != r.Reply.HomeAddress && careOf != v.CareOf {
		a.Do(send)
		return
	}
	a.depart(v, Deregistered, []engine.Action{send})
}

// depart ends a visit; then is carried out when the data plane has forgotten it.
//
//rfc:5944#3.7.3.2
func (a *Agent) depart(v *Visitor, why Reason, then []engine.Action) {
	a.visitors.remove(v)
	changes := change(v, nil)
	if others := a.visitors.others(v); !v.left && len(others) > 0 {
		changes = append(changes, turn(others[len(others)-1:], false)...)
	}
	n := note.Note{
		Kind: Departed, Level: note.Info, HomeAddress: v.HomeAddress, NAI: string(v.NAI),
		HomeAgent: v.HomeAgent, CareOfAddress: v.CareOf, Link: v.Link, Why: string(why),
	}
	a.commit(engine.Commit{Changes: changes, Then: append(then, a.Telling(n))}, a.told)
	for _, run := range a.departed {
		run(v, why)
	}
}

// told tells of a commit that failed and that nothing more can be done about:
// the data plane itself ends what is over.
func (a *Agent) told(err error) {
	if err != nil {
		a.counters.failed++
		a.Tell(note.Note{Kind: note.Failed, Level: note.Error, Why: err.Error()})
	}
}

// commit makes changes true; then hears of it. Without changes it is true at
// once.
func (a *Agent) commit(c engine.Commit, then func(error)) {
	if len(c.Changes) == 0 && len(c.Records) == 0 {
		a.Do(c.Then...)
		then(nil)
		return
	}
	a.Commit(c, then)
}

// Visitors lists the visitors by home address and home agent.
func (a *Agent) Visitors() []*Visitor { return a.visitors.list() }

// VisitorOf is the visitor with a home address at a home agent, nil when there
// is none.
func (a *Agent) VisitorOf(home, agent netip.Addr) *Visitor {
	return a.visitors.byKey[visitorKey{home, agent}]
}

// Depart ends a visit on behalf of a feature; then is carried out when the
// data plane has forgotten it.
func (a *Agent) Depart(v *Visitor, why Reason, then ...engine.Action) {
	if a.visitors.byKey[v.key()] == v {
		a.depart(v, why, then)
	}
}
