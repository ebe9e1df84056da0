package natt

import (
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
)

// A lesson is that the NAT of a network forgets a mapping before a keepalive
// interval is over, and what is used since.
type lesson struct {
	link     string
	gateway  engine.HardwareAddr // what tells networks apart
	interval time.Duration
	at       time.Time

	bad   time.Duration // a mapping has not lasted so long
	badAt time.Time
	grown bool
}

const (
	// maxLessons bounds the networks that are remembered: the latest ones.
	maxLessons = 64
	// lessonAge is how long one is believed: somebody may have mended the NAT.
	lessonAge = 7 * 24 * time.Hour
)

// learn remembers what is known of the NAT in the network of a link, where its
// gateway is known.
func (m *mobile) learn(link string, l lesson) {
	gateway := m.gateway[link]
	if gateway == (engine.HardwareAddr{}) {
		return
	}
	m.lessons = slices.DeleteFunc(m.lessons, func(l lesson) bool { return l.link == link && l.gateway == gateway })
	if len(m.lessons) >= maxLessons {
		m.lessons = m.lessons[1:]
	}
	l.link, l.gateway, l.at = link, gateway, m.node.Now().Mono
	m.lessons = append(m.lessons, l)
}

// choose says of each uplink how often keepalives go over it, and of one that is
// not registered, how often they would in this network, as far as that was learnt.
// It changes nothing of the choice.
func (m *mobile) choose(x *mn.Choice) engine.Verdict {
	for i := range x.Candidates {
		c := &x.Candidates[i]
		if c.Unusable != "" || c.Home {
			continue
		}
		for _, k := range m.keeps {
			r := k.registration
			if r.Live() && r.Of(*c) && !k.moved && r.Tunnel.Encap == encap.UDP && (c.Keepalive.Interval == 0 || k.interval < c.Keepalive.Interval) {
				c.Keepalive = mn.Keepalive{Interval: k.interval, Assigned: k.assigned}
			}
		}
		if l := m.lesson(c.Link.Name); l != nil && c.Keepalive.Interval == 0 {
			c.Keepalive.Interval = l.interval
		}
	}
	return engine.Next()
}

// lesson is what is known of the NAT in the network of a link; nil: nothing.
func (m *mobile) lesson(link string) *lesson {
	for i := range m.lessons {
		if l := &m.lessons[i]; l.link == link && l.gateway == m.gateway[link] && m.node.Now().Mono.Sub(l.at) < lessonAge {
			return l
		}
	}
	return nil
}

// apply gives a keepalive the interval to use in the network of a link: the one
// that is assigned, or less where that was too long the last time. RFC 3519 section 4.10
// has the node return to the original interval when it moves; a network to
// which it comes back has no other NAT than before.
//
//rfc:3519#4.10
func (m *mobile) apply(k *keepalive, link string, assigned time.Duration) {
	k.interval = assigned
	if l := m.lesson(link); l != nil {
		k.interval = min(assigned, l.interval)
		k.search.bad, k.search.badAt, k.search.grown = l.bad, l.badAt, l.grown
	}
}
