package challenge

import (
	"container/list"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/wire/mip4"
)

// size is the length of our challenges in octets: "SHOULD be at least 4" (RFC
// 4721 section 2). A personal one is 8 octets of time and 8 of a digest.
const size = 16

// A moment orders challenges by when they were issued. No two are equal.
type moment int64

// An issuer makes challenges and knows its own again.
type issuer struct {
	rng    *rand.Rand
	secret [32]byte
	last   moment
}

func newIssuer(rng *rand.Rand) *issuer {
	i := &issuer{rng: rng}
	for at := 0; at < len(i.secret); at += 8 {
		binary.BigEndian.PutUint64(i.secret[at:], rng.Uint64())
	}
	return i
}

// next is the present moment, later than all before it.
func (i *issuer) next(now time.Time) moment {
	i.last = max(i.last+1, moment(now.UnixNano()))
	return i.last
}

// A station is a node on a link by its link-layer address.
type station struct {
	link string
	hw   engine.HardwareAddr
}

// personal makes a challenge for one station. It is remembered nowhere.
func (i *issuer) personal(now time.Time, s station) ([]byte, moment) {
	at := i.next(now)
	return i.seal(at, s), at
}

func (i *issuer) seal(at moment, s station) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, size), uint64(at))
	h := hmac.New(sha256.New, i.secret[:])
	h.Write(b)
	h.Write(s.hw[:])
	h.Write([]byte(s.link))
	return h.Sum(b)[:size]
}

// own says when a challenge was made for the station; ok is false when it was
// not.
func (i *issuer) own(value []byte, s station) (at moment, ok bool) {
	if len(value) != size {
		return 0, false
	}
	at = moment(binary.BigEndian.Uint64(value))
	return at, hmac.Equal(i.seal(at, s), value)
}

// A window holds the challenges that were advertised last on one link, the
// oldest first.
type window struct{ offers []offer }

type offer struct {
	at    moment
	value string
}

// advertised makes a new challenge for everybody; the oldest beyond most is
// forgotten.
func (w *window) advertised(i *issuer, now time.Time, most int) {
	b := make([]byte, size)
	for at := 0; at < size; at += 8 {
		binary.BigEndian.PutUint64(b[at:], i.rng.Uint64())
	}
	w.offers = append(w.offers, offer{i.next(now), string(b)})
	if len(w.offers) > most {
		w.offers = append(w.offers[:0], w.offers[len(w.offers)-most:]...)
	}
}

func (w *window) find(value []byte) (moment, bool) {
	for _, o := range w.offers {
		if o.value == string(value) {
			return o.at, true
		}
	}
	return 0, false
}

// A who is a mobile node as its requests name it.
type who struct {
	nai         ident.NAI
	home, agent netip.Addr
}

// used remembers the last challenge that each node has used, of so many nodes
// that it stays small; those of visitors are kept with the visit besides. Who
// is forgotten here could have an old request repeated that is still in the
// window, which the home agent refuses by its Identification.
//
//rfc:4721#3.2.1
//rfc:4721#3.2-8
type used struct {
	most  int
	marks map[who]*list.Element
	order list.List // of mark, the one used the longest ago first
}

type mark struct {
	who     who
	at      moment
	request request
	until   time.Time // monotonic: until then the request waits for its reply
}

// A request is what a retransmission has in common with what it repeats: "the
// relevant fields ... are the same as represented in the visitor list entry for
// the pending Registration Request", but for "the remaining Lifetime of the
// pending registration" and "the Identification field" (RFC 4721 section 3.2).
//
//rfc:4721#3.2-3
//rfc:4721#3.2-4
type request struct {
	station  station
	from, to netip.AddrPort
	fields   mip4.RegistrationRequest // without Identification and Lifetime
}

func (u *used) put(m mark) {
	w := m.who
	if e := u.marks[w]; e != nil {
		e.Value = m
		u.order.MoveToBack(e)
		return
	}
	if len(u.marks) >= u.most {
		oldest := u.order.Front()
		delete(u.marks, oldest.Value.(mark).who)
		u.order.Remove(oldest)
	}
	u.marks[w] = u.order.PushBack(m)
}

// of is the last mark of a node, the zero mark when there is none.
func (u *used) of(w who) mark {
	if e := u.marks[w]; e != nil {
		return e.Value.(mark)
	}
	return mark{}
}

// answered: the request that has used a challenge waits no more.
func (u *used) answered(w who, at moment) {
	if e := u.marks[w]; e != nil {
		if m := e.Value.(mark); m.at == at {
			m.until = time.Time{}
			e.Value = m
		}
	}
}
