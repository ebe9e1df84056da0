package drive

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"careof/internal/core/engine"
)

// Limits say what a driver takes on when more comes in than its machines can
// do. The zero value only bounds how much may wait.
type Limits struct {
	// PerSource is how many messages a second one IP address may send that is
	// not known to be somebody's (see [admission]); 0: any number.
	PerSource int
	// PerStation is the same for a link-layer address, where messages come with
	// one: a station can make up as many IP addresses as it likes.
	PerStation int
	// Stations is how many messages a second all such strangers may send
	// together: they can make up link-layer addresses too, and what they send
	// is relayed. 0: any number.
	Stations int
	// Peers is how many peers there may be, for the memory of known ones.
	Peers int
}

// An admission parts what comes in into two lanes before anything is spent on
// it. In the first one go messages of known peers: addresses with a port to
// which a machine has lately sent what it had committed for them, which it
// does for nobody whose request was not authentic. So the renewals of bound
// nodes go before everybody else's messages, and are still heard when
// strangers fill all the room that strangers have. Among these, each source
// address has its limit, so that one cannot fill it alone.
//
// It holds no state for a stranger: its tables have a fixed size, and their
// hash is a secret of the process, so that nobody can choose whom to displace.
type admission struct {
	limits Limits
	seed   maphash.Seed
	began  time.Time
	peers  []atomic.Uint64 // tag of the peer, and when it was last committed for
	meters []atomic.Int64  // of sources; see take
	common atomic.Int64    // of all stations together

	shed    atomic.Uint64 // strangers' messages that found no room
	limited atomic.Uint64 // messages above a source's limit
}

const (
	fewestPeers = 1 << 12
	sourceSlots = 1 << 14
	// known is for how many seconds a peer is: longer than most lifetimes.
	known = 2 * 60 * 60
	// burst is how many seconds' worth of messages a source may send at once:
	// many nodes behind one translator come back together.
	burst = 4
	// commonBurst is how much of a second's worth all stations may send at once.
	commonBurst = time.Second / 4
)

func newAdmission(l Limits) *admission {
	n := fewestPeers
	for n < 2*l.Peers {
		n *= 2
	}
	a := &admission{limits: l, seed: maphash.MakeSeed(), began: time.Now(), peers: make([]atomic.Uint64, n)}
	if l.PerSource > 0 || l.PerStation > 0 {
		a.meters = make([]atomic.Int64, sourceSlots)
	}
	return a
}

// slot is where a peer is remembered, and the tag that tells it from others.
func (a *admission) slot(peer netip.AddrPort) (*atomic.Uint64, uint64) {
	h := maphash.Comparable(a.seed, peer)
	return &a.peers[h&uint64(len(a.peers)-1)], h >> 32
}

func (a *admission) now() time.Duration { return time.Since(a.began) }

// committed remembers a peer that something was committed for.
func (a *admission) committed(peer netip.AddrPort) {
	slot, tag := a.slot(peer)
	now := tag<<32 | uint64(a.now()/time.Second) + 1
	if slot.Load() != now { // most are committed for twice in a row
		slot.Store(now)
	}
}

// knows tells whether a peer is one of those.
func (a *admission) knows(peer netip.AddrPort) bool {
	slot, tag := a.slot(peer)
	v := slot.Load()
	at := v & (1<<32 - 1)
	return at != 0 && v>>32 == tag && uint64(a.now()/time.Second)+1-at <= known
}

// allows takes a permission of a stranger's source.
func (a *admission) allows(p *engine.Packet) bool {
	var allowed bool
	if p.HW == (engine.HardwareAddr{}) {
		allowed = a.take(a.meter(maphash.Comparable(a.seed, p.Src.Addr())), a.limits.PerSource, burst*time.Second)
	} else {
		allowed = a.take(a.meter(maphash.Comparable(a.seed, p.HW)), a.limits.PerStation, burst*time.Second) &&
			a.take(&a.common, a.limits.Stations, commonBurst)
	}
	if !allowed {
		a.limited.Add(1)
	}
	return allowed
}

func (a *admission) meter(hash uint64) *atomic.Int64 {
	if a.meters == nil {
		return nil
	}
	return &a.meters[hash%sourceSlots]
}

// take takes one of so many permissions a second, or of any number. A meter
// says when the last one taken will have been worked off, in nanoseconds; no
// further ahead than the burst.
func (a *admission) take(meter *atomic.Int64, perSecond int, burst time.Duration) bool {
	if perSecond == 0 {
		return true
	}
	every := int64(time.Second) / int64(perSecond)
	for {
		was, now := meter.Load(), int64(a.now())
		next := max(was, now) + every
		if next-now > int64(burst) {
			return false
		}
		if meter.CompareAndSwap(was, next) {
			return true
		}
	}
}

// Admission counts what was not taken on.
type Admission struct {
	Dropped uint64 // of known peers and of the data plane, since a machine was behind
	Shed    uint64 // of strangers, since there was too much
	Limited uint64 // of strangers, above the limit of their source or of them all
}

// Admission tells what was not taken on.
func (d *Driver) Admission() Admission {
	out := Admission{Shed: d.admission.shed.Load(), Limited: d.admission.limited.Load()}
	for _, s := range d.shards {
		out.Dropped += s.box.dropped.Load()
	}
	return out
}

// Limit sets the limits; call it before Run.
func (d *Driver) Limit(l Limits) { d.admission = newAdmission(l) }

// admit delivers a message of the network, or does not.
func (d *Driver) admit(p engine.Packet) {
	familiar := d.admission.knows(p.Src)
	i := d.shardOf(p)
	if i < 0 {
		if !familiar && !d.admission.allows(&p) {
			return
		}
		p.Data = append([]byte(nil), p.Data...)
		d.deliverTo(i, p, true)
		return
	}
	box := d.shards[i].box
	switch {
	case familiar:
		box.putPacket(p)
	case !box.hasRoomForStrangers():
		d.admission.shed.Add(1)
	case d.admission.allows(&p):
		p.Data = append([]byte(nil), p.Data...)
		box.putStranger(p)
	}
}
