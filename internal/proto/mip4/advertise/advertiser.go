package advertise

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/adv4"
)

// Constants of RFC 1256 section 5, but for the bucket, which is ours.
const (
	initialAdvertisements = 3                // MAX_INITIAL_ADVERTISEMENTS
	initialInterval       = 16 * time.Second // MAX_INITIAL_ADVERT_INTERVAL
	maxResponseDelay      = 2 * time.Second  // MAX_RESPONSE_DELAY
	maxLifetime           = 9000 * time.Second

	firstDelay    = 250 * time.Millisecond // before the first advertisement on a link
	leastGap      = 500 * time.Millisecond // between two multicast ones on a link
	answersBurst  = 20                     // unicast answers at once on a link
	answersPerSec = 10                     // and a second in the long run
)

var (
	allSystems       = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// An Announcement is one advertisement on its way out. Hooks of the Advertise
// stage may change the draft, all of it but the sequence number.
type Announcement struct {
	Link      Link
	State     engine.Link         // of the interface
	To        netip.Addr          // IP destination
	HW        engine.HardwareAddr // link-layer destination of a unicast one
	Solicited bool
	Final     bool // the agent withdraws: ICMP Lifetime 0
	Draft     adv4.Draft
	Now       engine.Now
}

// An Advertiser sends agent advertisements.
type Advertiser struct {
	// Advertise is passed by every advertisement before it is sent.
	Advertise engine.Stage[*Announcement]

	cfg   Config
	rng   *rand.Rand
	links []*place
	busy  bool
	told  map[string]bool // links about which a failure was told

	now engine.Now
	out []engine.Action
}

var _ engine.Machine = (*Advertiser)(nil)

// A place is the state of one link.
type place struct {
	cfg       Link
	link      engine.Link
	ready     bool // up, and with an address
	withdrawn bool
	sequence  uint16    // of the next advertisement
	count     int       // unsolicited ones since the link came up
	next      time.Time // the next unsolicited one; zero: none
	last      time.Time // the last multicast one
	tokens    float64   // unicast answers left
	filled    time.Time
}

// New makes an advertiser. rng is where its jitter comes from.
func New(cfg Config, rng *rand.Rand) (*Advertiser, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if rng == nil {
		return nil, errors.New("advertise: no source of randomness")
	}
	a := &Advertiser{cfg: cfg, rng: rng, told: make(map[string]bool)}
	a.Advertise.Name, a.Advertise.Section = "Advertise", "5944#2.3"
	a.Advertise.Doc = "completes an advertisement; a unicast one names its destination"
	for _, l := range cfg.Links {
		a.links = append(a.links, &place{cfg: l, tokens: answersBurst})
	}
	return a, nil
}

// Config is the configuration, defaults filled in.
func (a *Advertiser) Config() Config { return a.cfg }

// Advertises says whether the link is one to advertise on.
func (a *Advertiser) Advertises(link string) bool { return a.place(link) != nil }

func (a *Advertiser) place(name string) *place {
	for _, p := range a.links {
		if p.cfg.Name == name {
			return p
		}
	}
	return nil
}

// Step implements [engine.Machine].
func (a *Advertiser) Step(now engine.Now, ev engine.Event) []engine.Action {
	a.now, a.out = now, nil
	switch ev := ev.(type) {
	case engine.LinkChanged:
		a.linkChanged(ev.Link)
	case engine.Discovery:
		a.discovery(ev)
	case engine.Command:
		a.command(ev)
	}
	for _, p := range a.links {
		if !p.next.IsZero() && !p.next.After(now.Mono) {
			a.unsolicited(p)
		}
	}
	out := a.out
	a.out = nil
	return out
}

// Deadline implements [engine.Machine].
func (a *Advertiser) Deadline() time.Time {
	var first time.Time
	for _, p := range a.links {
		first = engine.Earliest(first, p.next)
	}
	return first
}

// Stages describes the stage, for `careof show stages`.
func (a *Advertiser) Stages(role string) []engine.StageInfo {
	return engine.Pipeline[*Announcement]{&a.Advertise}.Describe(role)
}

// SetBusy sets or clears the B bit: "even so, it must continue to send Agent
// Advertisements" (RFC 5944 section 2.1.1). The change is told at once, as far
// as the rate limit allows; the next Step sends it.
//
//rfc:5944#2.1.1
func (a *Advertiser) SetBusy(now engine.Now, busy bool) {
	if a.busy == busy {
		return
	}
	a.busy = busy
	for _, p := range a.links {
		if p.cfg.Foreign && p.active() && !p.cfg.SolicitedOnly {
			p.hurry(now.Mono)
		}
	}
}

// active says whether anything may be sent on the link.
func (p *place) active() bool { return p.ready && !p.withdrawn }

// hurry has the next multicast advertisement sent at the given time or before,
// but not sooner than the rate limit allows.
//
//rfc:5944#2.3-5
func (p *place) hurry(at time.Time) {
	if earliest := p.last.Add(leastGap); !p.last.IsZero() && at.Before(earliest) {
		at = earliest
	}
	if p.next.IsZero() || at.Before(p.next) {
		p.next = at
	}
}

//rfc:1256#4.3-5
//rfc:1256#4.3-6
func (a *Advertiser) linkChanged(l engine.Link) {
	p := a.place(l.Name)
	if p == nil {
		return
	}
	was := p.ready
	changed := len(p.link.Addresses) == 0 || len(l.Addresses) == 0 || p.link.Addresses[0] != l.Addresses[0]
	l.Addresses = append([]netip.Prefix(nil), l.Addresses...)
	p.link = l
	p.ready = l.Up && !l.Gone && len(l.Addresses) > 0
	switch {
	case !p.ready:
		p.next = time.Time{}
	case !was || changed:
		p.count = 0
		if !p.cfg.SolicitedOnly && !p.withdrawn {
			p.next = time.Time{}
			p.hurry(a.now.Mono.Add(a.luck(min(firstDelay, a.cfg.Interval/8))))
		}
	}
}

// luck is a random duration from 0 up to most.
func (a *Advertiser) luck(most time.Duration) time.Duration {
	return time.Duration(a.rng.Int64N(int64(most) + 1))
}

// unsolicited sends a scheduled advertisement and schedules the next one.
//
// "For the first few advertisements sent from an interface (up to
// MAX_INITIAL_ADVERTISEMENTS), if the randomly chosen interval is greater than
// MAX_INITIAL_ADVERT_INTERVAL, the timer should be set to
// MAX_INITIAL_ADVERT_INTERVAL instead" (RFC 1256 section 4.3).
//
//rfc:1256#4.3
//rfc:5944#2.1-7
//rfc:5944#2.3-1
//rfc:5944#2.3-2
//rfc:5944#3.7-1
//rfc:1256#4.1-3
//rfc:1256#4.3-2
func (a *Advertiser) unsolicited(p *place) {
	p.next = time.Time{}
	if !p.active() {
		return
	}
	a.send(p, Announcement{To: p.multicast(), Solicited: p.cfg.SolicitedOnly})
	p.last = a.now.Mono
	p.count++
	if p.cfg.SolicitedOnly {
		return
	}
	wait := a.cfg.Interval*3/4 + a.luck(a.cfg.Interval/4)
	if p.count < initialAdvertisements {
		wait = min(wait, initialInterval)
	}
	p.next = a.now.Mono.Add(wait)
}

// multicast is where an advertisement for everybody goes: "the 'all systems on
// this link' multicast address (224.0.0.1) or the 'limited broadcast' address
// (255.255.255.255)" (RFC 5944 section 2.1).
//
//rfc:5944#2.1
//rfc:5944#2.1-3
func (p *place) multicast() netip.Addr {
	if p.cfg.Broadcast {
		return limitedBroadcast
	}
	return allSystems
}

// discovery answers a solicitation. "All mobility agents SHOULD respond to
// Agent Solicitations"; an agent "MUST NOT require that the IP Source Address
// is the address of a neighbor" (RFC 5944 section 2.3).
//
// The answer goes to the one who asked, at once. When too many ask it is a
// multicast one, which "must be delayed, for a small random interval not
// greater than MAX_RESPONSE_DELAY" (RFC 1256 section 4.3).
//
//rfc:5944#2.3
//rfc:1256#4.2
//rfc:1256#4.3
//rfc:5944#2.1-1
//rfc:5944#2.1-4
//rfc:5944#2.3-4
//rfc:1256#4.3-3
func (a *Advertiser) discovery(ev engine.Discovery) {
	p := a.place(ev.Link)
	if p == nil || !p.active() || ev.HW == p.link.HW && ev.HW != (engine.HardwareAddr{}) {
		return
	}
	// A router has decremented what does not carry 1, or a stranger from afar
	// has sent it: "the IP TTL Field MUST be set to 1" (RFC 5944 section 2.2).
	if ev.TTL != 1 {
		return
	}
	m, err := adv4.Parse(ev.Data)
	if err != nil || m.ForRouter() != nil {
		return
	}
	if ev.HW == (engine.HardwareAddr{}) || !a.take(p) {
		p.hurry(a.now.Mono.Add(a.luck(maxResponseDelay)))
		return
	}
	// "The link-layer Destination Address of a unicast Agent Advertisement
	// MUST be the same as the source link-layer address of the Agent
	// Solicitation"; "the IP home address of the mobile node SHOULD be used as
	// the Destination Address" (section 2.1). A node without an address hears
	// the multicast one.
	to := ev.Src
	if !to.Is4() || to.IsUnspecified() || to.IsMulticast() || to == limitedBroadcast {
		to = p.multicast()
	}
	a.send(p, Announcement{To: to, HW: ev.HW, Solicited: true})
}

// take takes a unicast answer from the link's bucket.
func (a *Advertiser) take(p *place) bool {
	if !p.filled.IsZero() {
		p.tokens = min(answersBurst, p.tokens+a.now.Mono.Sub(p.filled).Seconds()*answersPerSec)
	}
	p.filled = a.now.Mono
	if p.tokens < 1 {
		return false
	}
	p.tokens--
	return true
}

// Announce sends one advertisement by unicast; change may alter all of it,
// also the sequence number. It is for features that tell one mobile node
// something. Its actions are the caller's to carry out.
func (a *Advertiser) Announce(now engine.Now, link string, to netip.Addr, hw engine.HardwareAddr, change func(*adv4.Draft)) []engine.Action {
	p := a.place(link)
	if p == nil || !p.active() {
		return nil
	}
	a.now, a.out = now, nil
	x := Announcement{To: to, HW: hw, Solicited: true}
	a.complete(p, &x)
	change(&x.Draft)
	a.emit(p, &x)
	out := a.out
	a.out = nil
	return out
}

// send completes an advertisement with the next sequence number and sends it.
//
//rfc:5944#2.3.2
func (a *Advertiser) send(p *place, x Announcement) {
	a.complete(p, &x)
	x.Draft.Agent.Sequence = p.sequence
	p.sequence = adv4.NextSequence(p.sequence)
	a.emit(p, &x)
}

// complete fills in what the link's advertisements say.
//
//rfc:5944#2.1
//rfc:5944#2.3
//rfc:5944#2.3.1
//rfc:5944#2.1-6
//rfc:5944#2.1.1-3
//rfc:5944#2.3-8
//rfc:5944#D-1
//rfc:1256#4.1-4
func (a *Advertiser) complete(p *place, x *Announcement) {
	x.Link, x.State, x.Now = p.cfg, p.link, a.now
	d := &x.Draft
	if p.cfg.NoCommonTraffic {
		d.Code = adv4.CodeNoCommonTraffic
	}
	if !x.Final {
		// "the nominal interval ... SHOULD be no longer than 1/3 of the
		// advertisement Lifetime".
		d.Lifetime = uint16(min((3*a.cfg.Interval+time.Second-1)/time.Second, maxLifetime/time.Second))
	}
	// "An agent SHOULD only put its own addresses, if any".
	if !p.cfg.NoRouters {
		for _, own := range p.link.Addresses {
			d.Routers = append(d.Routers, adv4.Router{Addr: own.Addr(), Preference: p.cfg.Preference})
			if p.cfg.PrefixLengths {
				d.Prefixes = append(d.Prefixes, uint8(own.Bits()))
			}
		}
	}
	if p.cfg.PrefixLengths && d.Prefixes == nil {
		d.Prefixes = []uint8{}
	}
	d.Agent.Lifetime = lifetimeField(a.cfg.RegistrationLifetime)
	d.Agent.Flags = a.cfg.Flags
	if p.cfg.Home {
		d.Agent.Flags |= adv4.FlagH
	}
	if p.cfg.Foreign {
		d.Agent.Flags |= adv4.FlagF
		d.Agent.CareOfAddresses = a.cfg.CareOfAddresses
		if p.cfg.Registration {
			d.Agent.Flags |= adv4.FlagR
		}
		if a.busy {
			d.Agent.Flags |= adv4.FlagB
		}
	} else {
		// Reverse tunnelling and regional registration are a foreign agent's.
		d.Agent.Flags &^= adv4.FlagT | adv4.FlagI
	}
}

// emit passes the stage and sends.
func (a *Advertiser) emit(p *place, x *Announcement) {
	var at engine.Position
	if v := (engine.Pipeline[*Announcement]{&a.Advertise}).Run(x, &at); !v.IsNext() {
		return
	}
	data, err := x.Draft.Append(nil)
	if err != nil {
		if !a.told[p.cfg.Name] {
			a.told[p.cfg.Name] = true
			a.out = append(a.out, engine.Tell{Note: note.Note{
				Kind: note.Failed, Level: note.Error, Link: p.cfg.Name, Why: err.Error(),
			}})
		}
		return
	}
	a.out = append(a.out, engine.SendDiscovery{
		Link: p.cfg.Name, Src: p.link.Addresses[0].Addr(), Dst: x.To, HW: x.HW, Data: data,
	})
}
