package diameter

import (
	"fmt"
	"time"
)

// health is what the watchdog thinks of a connection (RFC 3539 section 3.4.1).
type health uint8

const (
	initial health = iota // never been up, or ended politely
	okay
	suspect // a watchdog request was not answered
	down    // lost
	reopen  // back, on probation
)

var healths = [...]string{"initial", "okay", "suspect", "down", "reopen"}

func (h health) String() string {
	if int(h) < len(healths) {
		return healths[h]
	}
	return fmt.Sprintf("health(%d)", uint8(h))
}

// A watchdog is the state of the transport failure algorithm for one peer.
type watchdog struct {
	health  health
	at      time.Time // the timer; zero: off
	pending bool      // a DWR has no answer yet
	answers int       // NumDWA: how many since the connection is back
}

// setWatchdog starts the timer anew: "Tw … with a random jitter … of plus or minus two seconds" keeps many clients apart.
//
//rfc:3539#3.4.1
func (n *Node) setWatchdog(p *peer) {
	const jitter = 2 * time.Second
	p.dog.at = n.now.Mono.Add(n.cfg.Watchdog - jitter + time.Duration(n.rng.Int64N(int64(2*jitter))))
}

// dogUp is "Connection up".
func (n *Node) dogUp(p *peer) {
	if p.dog.health != down {
		p.dog = watchdog{health: okay}
		n.setWatchdog(p)
		return
	}
	p.dog = watchdog{health: reopen}
	n.sendWatchdog(p)
}

func (n *Node) sendWatchdog(p *peer) {
	p.dog.pending = true
	n.setWatchdog(p)
	n.sendDWR(p)
}

// dogHeard is "Receive DWA" and "Receive non-DWA".
func (n *Node) dogHeard(p *peer, dwa bool) {
	d := &p.dog
	if dwa {
		d.pending = false
	}
	switch d.health {
	case okay:
		n.setWatchdog(p)
	case suspect:
		d.health = okay
		n.setWatchdog(p)
		n.failback(p)
	case reopen:
		if !dwa {
			return
		}
		if d.answers++; d.answers < 3 {
			return
		}
		d.health = okay
		n.failback(p)
	}
}

// dogTimer is "Timer expires" in the states that have a connection.
func (n *Node) dogTimer(p *peer) {
	d := &p.dog
	switch {
	case d.health == okay && !d.pending, d.health == reopen && !d.pending:
		n.sendWatchdog(p)
	case d.health == okay:
		d.health = suspect
		n.setWatchdog(p)
		p.stats.Missed++
		n.failover(p, "no answer to a watchdog request")
	case d.health == suspect:
		n.lost(p, "no sign of life")
	case d.health == reopen && d.answers < 0:
		n.lost(p, "no sign of life again")
	case d.health == reopen:
		d.answers = -1
		n.setWatchdog(p)
	default:
		d.at = time.Time{}
	}
}

// dogDown is "Connection down". A connection that was ended politely did not fail, and the next one is not on probation.
func (p *peer) dogDown(polite bool) {
	was := p.dog.health
	p.dog = watchdog{health: down}
	if polite || was == initial {
		p.dog.health = initial
	}
}
