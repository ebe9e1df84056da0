package subscriber

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/ha"
)

// records is where adopted nodes are kept: one record for each, under its NAI.
// They come before the agent's own records of the nodes, which find them there.
const records = "ha/aaa/"

// A stored is a record's value. The store is readable by the daemon alone.
type stored struct {
	HomeAddress netip.Addr     `json:"home_address,omitzero"`
	HomeAgent   netip.Addr     `json:"home_agent,omitzero"`
	Keys        []storedKey    `json:"keys"`
	Prefixes    []netip.Prefix `json:"prefixes,omitempty"`
	Lifetime    time.Duration  `json:"lifetime,omitempty"`
	Interim     time.Duration  `json:"interim,omitempty"`
	Class       []byte         `json:"class,omitempty"`
	Until       time.Time      `json:"until"` // wall clock
}

type storedKey struct {
	SPI       uint32 `json:"spi"`
	Algorithm string `json:"algorithm"`
	Replay    string `json:"replay"`
	Key       string `json:"key"`

	// Of a key that AAA has made.
	Out      uint32        `json:"out,omitempty"`
	Lifetime time.Duration `json:"lifetime,omitempty"`
	Until    time.Time     `json:"until,omitzero"` // wall clock
}

// record makes an adopted node durable with its first binding, and again when
// AAA has said something new.
func (h *home) record(x *ha.Exchange) engine.Verdict {
	w := h.words[x.Node]
	if w == nil || !w.dirty || !x.Accepted() {
		return engine.Next()
	}
	g := w.grant
	s := stored{
		HomeAddress: g.HomeAddress, HomeAgent: g.HomeAgent, Prefixes: g.Prefixes, Lifetime: g.Lifetime, Interim: g.Interim,
		Class: g.Class, Until: x.Now().WallOf(w.until),
	}
	for _, k := range g.Associations {
		one := storedKey{SPI: k.SPI(), Algorithm: k.Algorithm().String(), Replay: k.Replay().String(), Key: k.Key().Reveal()}
		for _, d := range w.keys {
			if d.association == k {
				one.Out, one.Lifetime, one.Until = k.Outbound().SPI(), d.lifetime, x.Now().WallOf(d.until)
			}
		}
		s.Keys = append(s.Keys, one)
	}
	value, err := json.Marshal(s)
	if err != nil {
		return engine.Next()
	}
	w.dirty = false
	x.Record(engine.Record{Key: append([]byte(records), x.Node.Identity().NAI...), Value: value})
	return engine.Next()
}

// restore adopts a node again. One that the configuration does not allow any
// more is left alone.
func (h *home) restore(now engine.Now, r engine.Record) error {
	name, ok := bytes.CutPrefix(r.Key, []byte(records))
	if !ok || r.Value == nil {
		return nil
	}
	var s stored
	if err := json.Unmarshal(r.Value, &s); err != nil {
		return fmt.Errorf("subscriber: %w", err)
	}
	g := aaa.Grant{HomeAddress: s.HomeAddress, HomeAgent: s.HomeAgent, Prefixes: s.Prefixes, Lifetime: s.Lifetime, Interim: s.Interim, Class: s.Class}
	w := &word{}
	longest := max(g.Lifetime, h.cfg.Hold)
	for _, k := range s.Keys {
		a, err := k.association()
		if err != nil {
			return fmt.Errorf("subscriber: %s: %w", name, err)
		}
		g.Associations = append(g.Associations, a)
		if !k.Until.IsZero() {
			w.keys = append(w.keys, derived{a, k.Lifetime, now.Mono.Add(min(k.Until.Sub(now.Wall), k.Lifetime))})
			longest = max(longest, k.Lifetime)
		}
	}
	nai := ident.NAI(name)
	if h.agent.NodeNamed(nai) != nil || !h.mine(g) {
		return nil
	}
	n, err := h.agent.Candidate(nodeOf(aaa.Authorise{Subject: aaa.Subject{NAI: nai}}, g))
	if err != nil {
		return nil
	}
	// The wall clock may have jumped: the word never holds longer than it was
	// given for.
	w.grant, w.until = g, now.Mono.Add(min(s.Until.Sub(now.Wall), longest))
	h.words[h.agent.Adopt(n)] = w
	if len(w.keys) > 0 {
		h.lasts(nai, w)
	}
	return nil
}

func (k storedKey) association() (*assoc.Association, error) {
	algorithm, err := assoc.ParseAlgorithm(k.Algorithm)
	if err != nil {
		return nil, err
	}
	replay, err := assoc.ParseStyle(k.Replay)
	if err != nil {
		return nil, err
	}
	key, err := assoc.ParseKey(k.Key)
	if err != nil {
		return nil, err
	}
	if k.Out != 0 {
		return assoc.NewPair(k.SPI, k.Out, algorithm, key, replay)
	}
	return assoc.New(k.SPI, algorithm, key, replay)
}
