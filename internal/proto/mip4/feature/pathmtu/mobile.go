package pathmtu

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Changed notes that a path carries shorter packets than its link, or longer
// ones than before.
const Changed note.Kind = "path-mtu"

const (
	// idleAfter is how long no packets but the node's own go until nothing is
	// confirmed any more.
	idleAfter = 10 * time.Second
	// raiseAfter: "The PMTU_RAISE_TIMER is configured to the period a sender will
	// continue to use the current PLPMTU, after which it reenters the Search
	// Phase. This timer has a period of 600 seconds" (RFC 8899 section 5.1.1).
	raiseAfter = 600 * time.Second
	// mute is how long a home agent that answers no probe is left alone.
	mute = raiseAfter
	// tellAgain is between attempts to tell the home agent.
	tellAgain = 2 * time.Second
)

// mobile is the feature at a mobile node.
type mobile struct {
	cfg   Config
	node  *mn.Node
	links map[string]*link

	// The path in use, while it is watched.
	watched *mn.Registration
	search  search
	startAt time.Time // begin anew
	made    time.Time // when it can be probed; zero: the data plane has not made it
	pollAt  time.Time // see whether packets go
	tellAt  time.Time // see whether the home agent has been told
	polling bool      // the data plane is being asked
	used    time.Time // when packets went last
	heard   bool      // some probe was answered, ever, by this home agent
	id, seq uint16
	learnt  int // the outer length that the data plane has been told to get through; 0: none

	// What was counted at the last poll.
	counted    forward.Counters
	originated uint64
	echoes     uint64 // echo replies since then
}

// A link is what is known of the network that an interface is attached to.
type link struct {
	mtu, path   int       // of the interface; of the path, 0 when it is the same
	asked, told int       // what the last request said of it, and the last one that was accepted
	raiseAt     time.Time // when to look for more
	anew        bool      // attached since it was last registered over
	up          bool
}

// addMobile adds the feature to a mobile node.
func addMobile(cfg Config, n *mn.Node) error {
	if !cfg.Enabled {
		return nil
	}
	cfg.Every = cmp.Or(cfg.Every, DefaultEvery)
	m := &mobile{cfg: cfg, node: n, links: make(map[string]*link)}
	n.Heard.Add(Name, "link", m.link)
	n.Choose.Add(Name, "say", m.say)
	n.Request.Add(Name, "tell", m.request)
	n.Accepted.Add(Name, "told", m.accepted)
	n.Moved.Add(Name, "begin", m.moved)
	n.Timer(Name, m.deadline, m.due)
	n.OnPlane(Name, m.plane)
	return nil
}

func (m *mobile) of(name string) *link {
	l := m.links[name]
	if l == nil {
		l = new(link)
		m.links[name] = l
	}
	return l
}

// link forgets what was found when the link is attached to another network.
func (m *mobile) link(x *mn.Hearing) engine.Verdict {
	l := m.of(x.New.Name)
	wider := l.mtu != x.New.MTU
	l.mtu, l.up = x.New.MTU, x.New.Up && !x.New.Gone
	if x.Attached {
		l.path, l.raiseAt, l.anew = 0, time.Time{}, true
	}
	if wider && m.watched != nil && m.watched.Key.Link == x.New.Name {
		m.startAt = x.Now.Mono
	}
	if x.New.Gone {
		delete(m.links, x.New.Name)
	}
	return engine.Next()
}

// say adds to what is said of an uplink that its path is narrow. It is no reason
// to leave it.
func (m *mobile) say(x *mn.Choice) engine.Verdict {
	for i := range x.Candidates {
		c := &x.Candidates[i]
		if l := m.links[c.Link.Name]; l != nil && l.path != 0 && c.Unusable == "" && c.Why == "" {
			c.Why = fmt.Sprintf("its path carries packets of %d octets", l.path)
		}
	}
	return engine.Next()
}

// request tells the home agent how long packets may be, where that is less than
// the link says, and so that it knows before it sends the first.
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	l := m.of(x.Registration.Key.Link)
	if x.Purpose != mn.Register || !x.Registration.CoLocated || x.Registration.Key.Agent.IsValid() {
		return engine.Next()
	}
	l.asked = l.path
	if l.path == 0 {
		return engine.Next()
	}
	x.Add(mip4.ZoneHome, &mip4.NVSE{Vendor: vendor.Careof, VendorType: Told, Value: binary.BigEndian.AppendUint16(nil, uint16(l.path))})
	for i := range x.Tunnels {
		t := &x.Tunnels[i]
		t.MTU = l.path - overhead(t.Encap, t.Inside, t.HasKey)
	}
	return engine.Next()
}

// accepted gives the tunnel what is known of its path.
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	r := x.Registration
	l := m.of(r.Key.Link)
	if !r.CoLocated || r.Key.Agent.IsValid() {
		return engine.Next()
	}
	l.told = l.asked
	if l.path != 0 {
		x.MTU = l.path - overhead(x.Encap, x.Inside, false)
	}
	if l.anew && r == m.watched {
		m.startAt = x.Now.Mono
	}
	l.anew = false
	return engine.Next()
}

// moved: another path is in use now.
func (m *mobile) moved(x *mn.Movement) engine.Verdict {
	if m.watched != nil && (x.To == nil || x.To.Key.HomeAgent != m.watched.Key.HomeAgent) {
		m.heard = false
	}
	m.watched, m.search, m.learnt = x.To, search{}, 0
	m.startAt, m.pollAt, m.tellAt, m.made = x.Now.Mono, time.Time{}, time.Time{}, time.Time{}
	return engine.Next()
}

// watches says whether there is a path whose length can be found: a tunnel
// that ends here, and that the data plane has made.
func (m *mobile) watches() bool {
	r := m.watched
	return r != nil && r == m.node.Active() && m.node.Carries(r) && r.Live() && r.CoLocated && r.Reverse && !r.Key.Agent.IsValid() &&
		r.Tunnel.Peer.IsValid() && m.node.Sound()
}

// every is the time between confirmations.
func (m *mobile) every() time.Duration {
	if m.node.Uplink(m.watched.Key.Link).Metered {
		return max(m.cfg.Every, MeteredEvery)
	}
	return m.cfg.Every
}

// around is what the tunnel in use adds to a packet.
func (m *mobile) around() int {
	t := m.watched.Tunnel
	return overhead(t.Encap, t.Inside, t.HasKey)
}

// most is the longest packet that leaves: the tunnel device is as narrow as the
// narrowest uplink, less the headers of the longest kind. What is in UDP may have
// more.
func (m *mobile) most() int {
	least := m.of(m.watched.Key.Link).mtu
	for _, l := range m.links {
		if l.up && l.mtu > 0 {
			least = min(least, l.mtu)
		}
	}
	longest := 0
	for _, k := range encap.Kinds() {
		longest = max(longest, encap.Overhead(k, true))
	}
	return min(least-longest, m.of(m.watched.Key.Link).mtu-m.around())
}

// deadline is when there is something to do.
func (m *mobile) deadline() time.Time {
	now := m.node.Now().Mono
	if !m.watches() {
		m.made = time.Time{}
		if m.search.state != idle {
			m.search, m.startAt = search{}, now // what is under way is lost
		}
		return time.Time{}
	}
	if m.made.IsZero() {
		m.made = now.Add(time.Millisecond) // not in the step in which it was
	}
	at := engine.Earliest(m.startAt, m.tellAt)
	switch {
	case m.search.state != idle:
		at = engine.Earliest(at, m.search.ends)
	case !m.polling:
		at = engine.Earliest(at, m.pollAt)
	}
	if !at.IsZero() && at.Before(m.made) {
		return m.made
	}
	return at
}

// due does it.
func (m *mobile) due() {
	if !m.watches() {
		return
	}
	now := m.node.Now().Mono
	come := func(at time.Time) bool { return !at.IsZero() && !at.After(now) }
	switch {
	case come(m.startAt):
		m.startAt = time.Time{}
		m.begin(now)
	case m.search.state != idle && come(m.search.ends):
		m.over(now)
	case m.search.state == idle && !m.polling && come(m.pollAt):
		m.poll()
	}
	if come(m.tellAt) {
		m.tell(now)
	}
}

// begin starts with the longest packet, or with what was found here before.
func (m *mobile) begin(now time.Time) {
	l := m.of(m.watched.Key.Link)
	most := m.most()
	size := most
	if l.path != 0 {
		size = l.path - m.around()
	}
	least := leastPath - m.around()
	if most <= least {
		return
	}
	m.used, m.pollAt = now, now.Add(m.every())
	m.search.begin(least, most, size, m.node.RoundTrip(m.watched.Key.Link))
	m.send(m.search.confirm(), now)
}

// send sends the probes of a round, the longest first: it is what matters most.
//
//rfc:8899#4.1
func (m *mobile) send(sizes []int, now time.Time) {
	if m.id == 0 {
		m.id = uint16(m.node.Rand().Uint32N(1<<16-1) + 1)
	}
	var round []probe
	for i := len(sizes) - 1; i >= 0; i-- {
		p := probe{token: m.node.Rand().Uint64() | 1, size: sizes[i], at: now}
		m.seq++
		packet, err := encap.AppendProbe(nil, encap.Echo{
			Type: encap.EchoRequest, Src: m.node.HomeAddress(), Dst: m.watched.Key.HomeAgent, ID: m.id, Seq: m.seq,
		}, p.token, p.size, m.seq)
		if err != nil {
			continue // no home address that could be a source
		}
		m.node.Emit(engine.Originate{Packet: packet})
		round = append(round, p)
	}
	m.search.sent(round, now)
}

// over ends a round, and perhaps the search.
func (m *mobile) over(now time.Time) {
	next := m.search.over()
	m.apply(now)
	if next != nil {
		m.send(next, now)
		return
	}
	m.learn()
	m.pollAt = now.Add(m.every())
	if m.search.failed() && !m.heard {
		// A home agent that answers no echoes, or none of this length.
		m.pollAt = now.Add(mute)
	}
	if l := m.of(m.watched.Key.Link); l.path != 0 && !l.raiseAt.After(now) {
		l.raiseAt = now.Add(raiseAfter)
	}
}

// learn tells the data plane how long packets are known to get through, so that it
// believes no router that says otherwise; and when that is not known any more.
//
//rfc:8899#4.6.2
func (m *mobile) learn() {
	carried := 0
	if m.search.low >= m.search.size {
		carried = m.search.size + m.around()
	}
	if carried == m.learnt {
		return
	}
	m.learnt = carried
	t := m.watched.Tunnel
	m.node.Ask(forward.Carried{Peer: t.Peer.Addr(), Link: t.Link, Octets: carried}, func(engine.Answer) {})
}

// doubt: routers say that less gets through than is known to. "Triggering an
// immediate probe" (RFC 8899 section 4.6.2) tells.
//
//rfc:8899#4.6.2
func (m *mobile) doubt(ev forward.TooBig) {
	if !m.watches() || m.search.most == 0 || m.search.state != idle || m.startAt != (time.Time{}) ||
		ev.Peer != m.watched.Tunnel.Peer.Addr() || ev.Link != m.watched.Tunnel.Link {
		return
	}
	m.search.hint = ev.MTU
	m.send(m.search.confirm(), m.node.Now().Mono)
}

// apply makes what was found the tunnel's MTU at both ends.
func (m *mobile) apply(now time.Time) {
	r := m.watched
	l := m.of(r.Key.Link)
	path := 0
	if m.search.size < m.search.most {
		path = m.search.size + m.around()
	}
	if path == l.path {
		return
	}
	why := fmt.Sprintf("packets of %d octets get through the tunnel, and %d would leave the link", m.search.size, m.search.most)
	if path == 0 {
		why = "the path carries what the link does again"
	}
	level := note.Debug
	if l.path == 0 || path == 0 {
		level = note.Info // what follows is only nearer to the truth
	}
	l.path = path
	mtu := 0
	if path != 0 {
		mtu = m.search.size
	}
	m.node.Narrow(r, mtu)
	m.node.Tell(note.Note{Kind: Changed, Level: level, Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: r.Key.HomeAgent, Why: why})
	m.tell(now)
}

// tell registers again when the home agent knows less than was found.
func (m *mobile) tell(now time.Time) {
	m.tellAt = time.Time{}
	if l := m.of(m.watched.Key.Link); l.told != l.path {
		m.node.Renew(m.watched)
		m.tellAt = now.Add(tellAgain)
	}
}

// poll sees whether packets go besides the node's own, in which case what was
// found is confirmed: "a mechanism to detect black holes" (RFC 8899 section
// 4.3). What goes into a hole is counted too.
//
//rfc:8899#4.3
func (m *mobile) poll() {
	r := m.watched
	m.polling = true
	m.node.Ask(engine.Traffic{Key: m.node.Key()}, func(a engine.Answer) {
		m.polling = false
		if m.watched != r || !m.watches() || m.search.state != idle {
			return
		}
		now := m.node.Now().Mono
		m.pollAt = now.Add(m.every())
		if c, ok := a.Value.(forward.Counters); ok && a.Err == nil {
			out := int64(c.SentPackets-m.counted.SentPackets) - int64(m.node.Originated()-m.originated)
			in := int64(c.ReceivedPackets-m.counted.ReceivedPackets) - int64(m.echoes)
			if out > 0 || in > 0 {
				m.used = now
			}
			m.counted, m.originated, m.echoes = c, m.node.Originated(), 0
		}
		if now.Sub(m.used) >= idleAfter || m.search.most == 0 {
			return
		}
		if l := m.of(r.Key.Link); l.path != 0 && !l.raiseAt.After(now) {
			l.raiseAt = now.Add(raiseAfter)
			m.send(m.search.raise(), now)
			return
		}
		m.send(m.search.confirm(), now)
	})
}

// plane takes the answers.
func (m *mobile) plane(ev forward.Event) {
	if big, ok := ev.(forward.TooBig); ok {
		m.doubt(big)
		return
	}
	reply, ok := ev.(forward.EchoReply)
	if !ok || reply.Key != m.node.Key() {
		return
	}
	m.echoes++
	if reply.Token == 0 || reply.ID != m.id || !m.watches() {
		return
	}
	if m.search.answer(reply.Token, m.node.Now().Mono) {
		m.heard = true
	}
}
