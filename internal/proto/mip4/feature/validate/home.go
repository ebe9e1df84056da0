package validate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

const (
	// budget is what an address is sent of data before any came from there:
	// nothing. What its requests have paid for goes to the replies.
	budget = 1
	// remembered is how long an address that has answered counts as validated
	// without being asked again; it is asked again after half of it.
	remembered = 10 * time.Minute
	// maxKnown bounds the addresses that are remembered, of all nodes of a
	// shard. Those of live bindings stand in these.
	maxKnown = 1 << 14
	// minute is how long challenges are the same; the last one's are good too.
	minute = time.Minute
)

// home is the feature's part of one home agent.
type home struct {
	cfg   Config
	agent *ha.Agent
	key   [32]byte // of challenges: a restart makes others
	asked *ha.Slot[asked]

	known map[place]time.Time // monotonic: when it answered
	order []place             // of known, the oldest first, as a ring from next when full
	next  int
}

// A place is an outer address that a node's requests came from.
type place struct {
	node *ha.Node
	from netip.AddrPort
}

// asked is what the feature knows of a request.
type asked struct{ can bool }

func addHome(cfg Config, a *ha.Agent) error {
	if cfg.Mode == Off {
		return nil
	}
	h := &home{cfg: cfg, agent: a, asked: new(ha.Slot[asked]), known: make(map[place]time.Time)}
	for i := 0; i < len(h.key); i += 8 {
		binary.BigEndian.PutUint64(h.key[i:], a.Rand().Uint64())
	}
	a.Authenticate.Add(Name, "answer", h.answer)
	a.Bind.Add(Name, "budget", h.bind)
	a.Reply.Add(Name, "challenge", h.reply)
	a.OnAside(h.tell)
	return nil
}

// challenge is the one for a place, of the present minute less back.
func (h *home) challenge(p place, back int64) []byte {
	mac := hmac.New(sha256.New, h.key[:])
	b := make([]byte, 0, 64)
	b = binary.BigEndian.AppendUint64(b, uint64(h.agent.Now().Mono.UnixNano()/int64(minute)-back))
	four := p.from.Addr().As4()
	b = binary.BigEndian.AppendUint16(append(b, four[:]...), p.from.Port())
	mac.Write(append(b, p.node.String()...))
	return mac.Sum(nil)[:challengeSize]
}

// answer takes the answer to a challenge, wherever it stands.
func (h *home) answer(x *ha.Exchange) engine.Verdict {
	if !x.Authentic || x.Node == nil || !x.Packet.Src.Addr().Is4() {
		return engine.Next()
	}
	value, can := vendor.Find(x.Message.Authorized(), false, vendor.Careof, Ask)
	h.asked.Of(x).can = can
	p := place{x.Node, x.Packet.Src}
	if len(value) != challengeSize || !hmac.Equal(value, h.challenge(p, 0)) && !hmac.Equal(value, h.challenge(p, 1)) {
		return engine.Next()
	}
	h.learn(p)
	if !x.Deregisters() {
		return engine.Next() // it binds what is known now
	}
	for _, b := range x.Node.Bindings() {
		if b.Source == p.from && b.Tunnel.Budget > 0 {
			now := h.agent.Now().Mono
			h.agent.Update(x.Node, b.ID, func(b *binding.Binding) { b.Validate(now) })
			h.agent.Tell(note.Note{
				Kind: Validated, Level: note.Debug, HomeAddress: x.Node.Home(), NAI: string(x.Node.Identity().NAI),
				CareOfAddress: b.CareOfAddress, Endpoint: p.from, Took: now.Sub(b.Renewed),
			})
		}
	}
	return engine.Next()
}

// learn remembers a place. The oldest makes room.
func (h *home) learn(p place) {
	_, there := h.known[p]
	h.known[p] = h.agent.Now().Mono
	switch {
	case there:
	case len(h.order) < maxKnown:
		h.order = append(h.order, p)
	default:
		delete(h.known, h.order[h.next])
		h.order[h.next] = p
		h.next = (h.next + 1) % maxKnown
	}
}

// since is when a place last answered, or began to be good at a live binding;
// zero when it is not known.
func (h *home) since(p place) time.Time {
	for _, b := range p.node.Bindings() {
		if b.Source == p.from && !b.Validated.IsZero() && b.Tunnel.Budget == 0 {
			return b.Validated
		}
	}
	at := h.known[p]
	if at.IsZero() || h.agent.Now().Mono.Sub(at) > remembered {
		return time.Time{}
	}
	return at
}

// bind gives a binding a budget whose outer address has not answered yet.
func (h *home) bind(x *ha.Exchange) engine.Verdict {
	if x.Deregisters() || x.ForeignAgent != nil || x.ForeignCheck == ha.ForeignValid {
		return engine.Next()
	}
	if !h.asked.Of(x).can {
		if h.cfg.Mode == Required {
			return engine.Deny(uint8(mip4.CodeHAProhibited), "path validation is required, which the node knows nothing of")
		}
		return engine.Next()
	}
	p := place{x.Node, x.Packet.Src}
	if x.Validated = h.since(p); !x.Validated.IsZero() {
		return engine.Next()
	}
	x.Budget = budget
	h.agent.Tell(note.Note{
		Kind: Challenged, Level: note.Debug, HomeAddress: x.Home, NAI: string(x.NAI),
		CareOfAddress: x.Request.CareOfAddress, Endpoint: x.Packet.Src,
	})
	return engine.Next()
}

// reply tells the node what was seen of it.
func (h *home) reply(x *ha.Exchange) engine.Verdict {
	h.tell(x, x.Draft)
	return engine.Next()
}

func (h *home) tell(x *ha.Exchange, d *mip4.Draft) {
	if !h.asked.Of(x).can || !x.Authentic {
		return
	}
	p := place{x.Node, x.Packet.Src}
	s := sight{outer: p.from, validated: !h.since(p).IsZero()}
	if at := h.known[p]; !s.validated || at.IsZero() || h.agent.Now().Mono.Sub(at) > remembered/2 {
		s.challenge = h.challenge(p, 0)
	}
	d.Add(mip4.ZoneHome, &mip4.NVSE{Vendor: vendor.Careof, VendorType: Seen, Value: s.append(nil)})
}
