package aaakey

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
)

// recordPrefix is where a node's keys with home agents are kept, one record for
// each agent. The store is readable by the daemon alone.
const recordPrefix = "mn/key/"

type stored struct {
	In        uint32        `json:"in"`
	Out       uint32        `json:"out"`
	Algorithm string        `json:"algorithm"`
	Replay    string        `json:"replay"`
	Key       string        `json:"key"`
	Secret    string        `json:"secret"` // fingerprint of what it was made with
	Lifetime  time.Duration `json:"lifetime"`
	Until     time.Time     `json:"until"` // wall clock
}

func (m *mobile) save(agent netip.Addr) {
	name := recordPrefix + agent.String()
	k := m.home[agent]
	if k == nil {
		m.node.Save(name, nil)
		return
	}
	a := k.association
	value, err := json.Marshal(stored{
		In: a.SPI(), Out: a.Outbound().SPI(), Algorithm: a.Algorithm().String(), Replay: a.Replay().String(),
		Key: a.Key().Reveal(), Secret: m.cfg.Secret.String(), Lifetime: k.lifetime, Until: m.node.Now().WallOf(k.until),
	})
	if err == nil {
		m.node.Save(name, value)
	}
}

// restore brings a key back. One that was made with another secret, or of an agent
// that has an association of its own now, is of an earlier configuration.
func (m *mobile) restore(now engine.Now, r engine.Record) error {
	agent, err := netip.ParseAddr(strings.TrimPrefix(string(r.Key), recordPrefix))
	if err != nil {
		return err
	}
	var s stored
	if err := json.Unmarshal(r.Value, &s); err != nil {
		return err
	}
	algorithm, err1 := assoc.ParseAlgorithm(s.Algorithm)
	replay, err2 := assoc.ParseStyle(s.Replay)
	k, err3 := assoc.ParseKey(s.Key)
	if err1 != nil || err2 != nil || err3 != nil {
		return fmt.Errorf("a key that cannot be read")
	}
	a, err := assoc.NewPair(s.In, s.Out, algorithm, k, replay)
	if err != nil {
		return err
	}
	left := min(s.Until.Sub(now.Wall), s.Lifetime)
	if left <= 0 || s.Secret != m.cfg.Secret.String() || !m.node.OnDemand(agent) {
		return nil
	}
	m.home[agent] = &key{association: a, lifetime: s.Lifetime, until: now.Mono.Add(left)}
	m.node.SetAssociation(agent, a)
	m.schedule()
	return nil
}
