package daemon

import (
	"strings"

	"careof/internal/control"
	"careof/internal/core/diameter"
	"careof/internal/metrics"
)

// diameterPeers is how the Diameter peers do; false without Diameter.
func (d *daemon) diameterPeers() (peers []diameter.PeerStatus, stats diameter.Stats, there bool) {
	if d.aaa == nil || d.aaa.diameter == nil || d.aaa.diameter.service == nil {
		return nil, stats, false
	}
	peers, stats = d.aaa.diameter.service.Peers()
	return peers, stats, true
}

// shownPeers is what `careof show aaa` shows of them.
func (d *daemon) shownPeers() []control.AAAPeer {
	out := []control.AAAPeer{}
	peers, _, _ := d.diameterPeers()
	for _, p := range peers {
		out = append(out, control.AAAPeer{
			Identity: p.Host, Realm: p.Realm, Product: p.Product, State: p.State, Watchdog: p.Health, Since: p.Since, Address: p.Remote, TLS: p.Secure,
			Applications: p.Applications, Why: p.Why, Requests: p.Requests, Answers: p.Answers, Timeouts: p.Timeouts, Pending: p.Pending,
			Served: p.Served, Failovers: p.Failovers,
		})
	}
	return out
}

// diameterCounters are the counters of the peers together.
func (d *daemon) diameterCounters() (list []control.Counter) {
	peers, stats, there := d.diameterPeers()
	if !there {
		return nil
	}
	for _, c := range diameter.Counters(peers, stats) {
		list = append(list, control.Counter{Name: "diameter." + c.Name, Value: c.Value, Meaning: c.Help})
	}
	return list
}

func (d *daemon) measureDiameter() *metrics.Diameter {
	peers, _, there := d.diameterPeers()
	if !there {
		return nil
	}
	m := &metrics.Diameter{Peers: len(peers)}
	for _, p := range peers {
		if strings.HasSuffix(p.State, "-open") {
			m.Connected++
		}
	}
	return m
}
