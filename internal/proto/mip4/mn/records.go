package mn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/wire/adv4"
	"careof/wire/encap"
)

// Records of the mobile node, in JSON: there are few of them.
//
//	mn/clock/<home agent>                     Identifications sent and accepted
//	mn/home                                   the home address that was given for the NAI
//	mn/link/<link>/<care-of>/<home agent>     a live registration; through a
//	                                          foreign agent, /<its address> follows
const (
	recordPrefix = "mn/"
	clockPrefix  = recordPrefix + "clock/"
	homeRecord   = recordPrefix + "home"
	linkPrefix   = recordPrefix + "link/"
)

// recordVersion is in every record.
const recordVersion = 1

type clockRecord struct {
	Version int `json:"version"`
	sequence
}

type homeRecordValue struct {
	Version     int        `json:"version"`
	NAI         string     `json:"nai"`
	HomeAddress netip.Addr `json:"home_address"`
}

type linkRecord struct {
	Version   int            `json:"version"`
	Link      string         `json:"link"`
	CareOf    netip.Addr     `json:"care_of_address"`
	HomeAgent netip.Addr     `json:"home_agent"`
	Peer      netip.AddrPort `json:"peer"`
	Encap     uint8          `json:"encapsulation"`
	Inside    uint8          `json:"inside"`
	PeerKey   []byte         `json:"peer_key,omitempty"` // of an encrypted tunnel
	Reverse   bool           `json:"reverse_tunnel"`
	Granted   time.Duration  `json:"granted"`
	Expires   time.Time      `json:"expires,omitzero"` // of the wall clock
	Accepted  uint64         `json:"accepted"`
	Active    bool           `json:"active"`

	// Of a registration through a foreign agent.
	Agent     netip.Addr `json:"foreign_agent,omitzero"`
	AgentHW   []byte     `json:"foreign_agent_hw,omitempty"`
	CoLocated bool       `json:"co_located,omitempty"`
	Style     bool       `json:"encapsulating_delivery,omitempty"`
	Plain     bool       `json:"plain_unicast,omitempty"`
}

// save makes a record true at the end of the step; a nil value deletes it.
func (n *Node) save(key string, value any) {
	if value == nil {
		n.saves[key] = nil
		return
	}
	b, err := json.Marshal(value)
	if err != nil {
		panic("mn: record: " + err.Error()) // plain values always encode
	}
	n.saves[key] = b
}

// Save keeps a record of a feature, which must have claimed the key's prefix
// with Records. A nil value deletes it.
func (n *Node) Save(key string, value []byte) { n.saves[key] = bytes.Clone(value) }

func (n *Node) saveClock(agent netip.Addr) {
	n.save(clockPrefix+agent.String(), clockRecord{recordVersion, *n.clock(agent)})
}

func (n *Node) saveHome() {
	n.save(homeRecord, homeRecordValue{recordVersion, string(n.cfg.NAI), n.address})
}

func (n *Node) saveRegistration(r *Registration) {
	key := linkPrefix + r.Key.Link + "/" + r.Key.CareOf.String() + "/" + r.Key.HomeAgent.String()
	if r.Key.Agent.IsValid() {
		key += "/" + r.Key.Agent.String()
	}
	if !r.live {
		n.save(key, nil)
		return
	}
	v := linkRecord{
		Version: recordVersion, Link: r.Key.Link, CareOf: r.Key.CareOf, HomeAgent: r.Key.HomeAgent,
		Peer: r.Tunnel.Peer, Encap: uint8(r.Tunnel.Encap), Inside: uint8(r.Tunnel.Inside), Reverse: r.Reverse,
		Granted: r.Granted, Expires: n.now.WallOf(r.expires), Accepted: r.accepted, Active: r == n.active,
		Agent: r.Key.Agent,
	}
	if key := r.Tunnel.PeerKey.Octets(); r.Tunnel.Secured() {
		v.PeerKey = key[:]
	}
	if a := n.agentOf(r); a != nil {
		v.AgentHW, v.CoLocated, v.Style = a.hw[:], r.CoLocated, r.Tunnel.Peer.IsValid() && !r.CoLocated
		v.Plain = r.Plain
	}
	n.save(key, v)
}

// changedRecords lists what this step made different, in key order.
func (n *Node) changedRecords() []engine.Record {
	var list []engine.Record
	for _, key := range slices.Sorted(maps.Keys(n.saves)) {
		value := n.saves[key]
		old, had := n.stored[key]
		switch {
		case value == nil && !had, value != nil && had && old == string(value):
			continue
		case value == nil:
			delete(n.stored, key)
		default:
			n.stored[key] = string(value)
		}
		list = append(list, engine.Record{Key: []byte(key), Value: value})
	}
	clear(n.saves)
	return list
}

// Restore implements [engine.Persistent].
func (n *Node) Restore(now engine.Now, r engine.Record) error {
	n.now = now
	best := -1
	for i, h := range n.records {
		if strings.HasPrefix(string(r.Key), h.prefix) && (best < 0 || len(h.prefix) > len(n.records[best].prefix)) {
			best = i
		}
	}
	if best < 0 {
		return fmt.Errorf("mn: record %q: unknown kind", r.Key)
	}
	if err := n.records[best].restore(now, r); err != nil {
		return fmt.Errorf("mn: record %q: %w", r.Key, err)
	}
	n.stored[string(r.Key)] = string(r.Value)
	return nil
}

// restore reads one record of the base.
func (n *Node) restore(now engine.Now, r engine.Record) error {
	key := string(r.Key)
	switch {
	case key == homeRecord:
		return n.restoreHome(r.Value)
	case strings.HasPrefix(key, clockPrefix):
		return n.restoreClock(strings.TrimPrefix(key, clockPrefix), r.Value)
	case strings.HasPrefix(key, linkPrefix):
		return n.restoreLink(now, r.Value)
	}
	return fmt.Errorf("unknown kind")
}

func unpack(b []byte, v any, version *int) error {
	if err := json.Unmarshal(b, v); err != nil {
		return err
	}
	if *version != recordVersion {
		return fmt.Errorf("version %d is not %d", *version, recordVersion)
	}
	return nil
}

func (n *Node) restoreHome(b []byte) error {
	var v homeRecordValue
	if err := unpack(b, &v, &v.Version); err != nil {
		return err
	}
	if !unicast(v.HomeAddress) {
		return fmt.Errorf("home address %v", v.HomeAddress)
	}
	// An address given to another NAI, or in place of a configured one, is
	// of an earlier configuration.
	if v.NAI == string(n.cfg.NAI) && !n.cfg.HomeAddress.IsValid() {
		n.address = v.HomeAddress
	}
	return nil
}

// restoreClock: Identifications never go back, whatever the clock says after
// a restart.
//
//rfc:5944#5.7.1
func (n *Node) restoreClock(agent string, b []byte) error {
	a, err := netip.ParseAddr(agent)
	if err != nil {
		return err
	}
	var v clockRecord
	if err := unpack(b, &v, &v.Version); err != nil {
		return err
	}
	s := v.sequence
	s.restored = true
	n.clocks[a] = &s
	return nil
}

// restoreLink brings a registration back: its tunnel goes on, and it is
// registered again as soon as its link is heard of.
func (n *Node) restoreLink(now engine.Now, b []byte) error {
	var v linkRecord
	if err := unpack(b, &v, &v.Version); err != nil {
		return err
	}
	left := Infinite
	if !v.Expires.IsZero() {
		// "what is stored is wall time, and is clamped at restart to the
		// granted lifetime": a clock that went back must not make it longer.
		left = min(v.Expires.Sub(now.Wall), v.Granted)
	}
	var association *assoc.Association
	for _, h := range n.cfg.HomeAgents {
		if h.Address == v.HomeAgent || h.Name != "" && association == nil {
			association = h.Association
		}
	}
	if len(n.cfg.HomeAgents) == 0 {
		association = n.cfg.Association
	}
	if association == nil && n.cfg.Assigned {
		association = n.cfg.Association // of a home agent that was assigned
	}
	association = n.roster.keyed(v.HomeAgent, association)
	switch {
	case !unicast(v.CareOf) || !unicast(v.HomeAgent) || !v.Peer.IsValid() && !v.Agent.IsValid(),
		v.Agent.IsValid() && (!unicast(v.Agent) || len(v.AgentHW) != 6):
		return fmt.Errorf("addresses %v, %v, %v", v.CareOf, v.HomeAgent, v.Peer)
	case left <= 0 || association == nil || association == unkeyed || !n.address.IsValid():
		return nil // it has ended, or belongs to an earlier configuration
	}
	if n.cfg.Encrypted != (len(v.PeerKey) == 32) {
		return nil // what may go through it has changed
	}
	plain := v.Agent.IsValid() && !v.CoLocated && !v.Style
	if _, ok := n.encapsulation(encap.Kind(v.Encap)); !ok && !plain {
		return nil // of a feature that is off now
	}
	if v.Agent.IsValid() && !v.CoLocated && len(n.cfg.ForeignAgents.usable(v.Agent, []netip.Addr{v.CareOf})) == 0 {
		return nil // of an earlier configuration
	}
	r := n.registration(RegistrationKey{v.Link, v.CareOf, v.HomeAgent, v.Agent}, candidateAgent{address: v.HomeAgent, association: association})
	r.CoLocated = !v.Agent.IsValid() || v.CoLocated
	if !plain {
		r.Tunnel = forward.Tunnel{
			Local: netip.AddrPortFrom(v.CareOf, 0), Peer: v.Peer, Link: v.Link,
			Encap: encap.Kind(v.Encap), Inside: encap.Kind(v.Inside),
		}
		if n.cfg.Encrypted {
			r.Tunnel.PeerKey = forward.KeyOf([32]byte(v.PeerKey))
		}
	}
	if v.Agent.IsValid() {
		n.restoreAgent(now, r, v)
	}
	r.Reverse, r.Granted, r.accepted = v.Reverse, v.Granted, v.Accepted
	r.live, r.since = true, now.Mono
	if left < Infinite {
		r.expires = now.Mono.Add(left)
		r.renewAt = now.Mono.Add(left / 2)
	}
	if v.Active || n.active == nil {
		n.active = r
	}
	if len(n.cfg.HomeAgents) == 0 || n.cfg.Assigned && n.active == r {
		n.roster.adopt(v.HomeAgent, association)
	}
	return nil
}

// restoreAgent brings back the foreign agent of a stored registration. It
// counts for a short while, in which it has to be heard.
func (n *Node) restoreAgent(now engine.Now, r *Registration, v linkRecord) {
	a := &mobilityAgent{
		key: agentKey{v.Link, v.Agent}, hw: engine.HardwareAddr(v.AgentHW),
		flags: adv4.FlagF | adv4.FlagT, lifetime: Infinite, careOf: []netip.Addr{v.CareOf},
		heard: now.Mono, expires: now.Mono.Add(provisional), restored: true,
	}
	n.agents[a.key] = a
	if r.CoLocated {
		a.careOf = nil
		return
	}
	r.Deliver = forward.Deliver{Link: v.Link, HW: a.hw, Via: v.Agent}
	if v.Style {
		r.Plain = v.Plain
		r.Tunnel.Local = netip.AddrPortFrom(n.address, 0)
	}
}
