package standard_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/assignment"
	"careof/internal/proto/mip4/feature/liveness"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// watched is a circle of n home agents whose node watches the first of them, and
// has for a minute.
func watched(t *testing.T, n int, limit time.Duration, change func(*mn.Config, *assignment.Config)) *circle {
	t.Helper()
	c := newCircle(t, n, nil, func(cfg *mn.Config, f *assignment.Config) {
		cfg.HomeAgents = nil
		for i := range n {
			cfg.HomeAgents = append(cfg.HomeAgents, mn.HomeAgent{Address: agentAt(i)})
		}
		if change != nil {
			change(cfg, f)
		}
	})
	c.watch = liveness.Config{Limit: limit}
	c.bootNode()
	c.attach()
	c.run(time.Minute)
	c.serves(0)
	return c
}

// silent are the notes of a home agent that is left.
func (c *circle) silent() []note.Note { return noted(c.node.notes, liveness.Silent) }

// TestADeadHomeAgentIsLeft long before the renewal, for the one that answers: by
// a node that asks for an assignment, and by one that has a list.
func TestADeadHomeAgentIsLeft(t *testing.T) {
	for _, assigned := range []bool{true, false} {
		for _, limit := range []time.Duration{liveness.DefaultLimit, liveness.FastLimit} {
			c := watched(t, 3, limit, func(cfg *mn.Config, f *assignment.Config) {
				if !assigned {
					cfg.Assigned, f.Ask = false, netip.Addr{}
				}
			})
			c.kill(0)
			c.kill(1)
			c.run(limit / 2)
			if len(c.silent()) != 0 {
				t.Errorf("left after half of the limit\n%s", c.trace())
			}
			c.run(limit*3/4 + 2*time.Second)
			c.serves(2)
			told := c.silent()
			if len(told) != 1 || told[0].HomeAgent != agentAt(0) || told[0].Endpoint.Addr() != agentAt(2) || told[0].Took < limit || told[0].Took > limit*5/4+time.Second {
				t.Errorf("told %v", told)
			}
			c.run(10 * time.Minute)
			c.serves(2)
		}
	}
}

// TestOneThatDiesAtOnce: before it could answer anything but the registration.
func TestOneThatDiesAtOnce(t *testing.T) {
	c := newCircle(t, 2, nil, func(cfg *mn.Config, _ *assignment.Config) {
		cfg.HomeAgents = []mn.HomeAgent{{Address: agentAt(0)}, {Address: agentAt(1)}}
	})
	c.watch = liveness.Config{Limit: liveness.DefaultLimit}
	c.bootNode()
	c.attach()
	c.run(100 * time.Millisecond)
	c.serves(0)
	c.kill(0)
	c.run(15 * time.Second)
	c.serves(1)
}

// TestALateAnswerOfOneThatWasReleased is history: the node has told that home
// agent since then that it is elsewhere.
func TestALateAnswerOfOneThatWasReleased(t *testing.T) {
	c := newCircle(t, 2, nil, func(cfg *mn.Config, _ *assignment.Config) {
		cfg.HomeAgents = []mn.HomeAgent{{Address: agentAt(0)}, {Address: agentAt(1)}}
		cfg.Lifetime = time.Minute
	})
	c.attach()
	c.run(time.Second)
	c.serves(0)
	var late []byte
	c.tap = func(from, to *post, data []byte) []byte {
		if from == c.agents[0] && to == c.node {
			if m, err := mip4.Parse(data); err == nil {
				if r, err := m.Reply(); err == nil && r.Lifetime > 0 && r.Code.Accepted() {
					late = data
					return nil
				}
			}
		}
		return data
	}
	c.run(58 * time.Second)
	c.serves(1)
	if late == nil {
		t.Fatal("the first home agent has accepted nothing meanwhile")
	}
	c.step(c.node, engine.Packet{Link: "wlan0", Src: netip.AddrPortFrom(agentAt(0), 434), Dst: netip.AddrPortFrom(wifi, 40434), TTL: 64, Data: late})
	c.run(time.Second)
	c.serves(1)
}

// TestADeadPathIsNoDeadHomeAgent: the node is with the same home agent when
// the path carries again, however long that takes.
func TestADeadPathIsNoDeadHomeAgent(t *testing.T) {
	for _, d := range []time.Duration{9 * time.Second, 12 * time.Second, time.Minute, 3 * time.Minute} {
		c := watched(t, 3, liveness.DefaultLimit, nil)
		c.hole = true
		// A router says so, too, and the node asks its home agent at once.
		c.step(c.node, engine.Plane{Event: forward.Unreachable{Key: c.node.machine.(*mn.Node).Key(), Peer: agentAt(0)}})
		c.run(d)
		if c.asks == 0 {
			t.Fatal("nobody was asked")
		}
		c.hole = false
		c.run(10 * time.Second)
		c.serves(0)
		if told := c.silent(); len(told) != 0 {
			t.Errorf("%v: told %v", d, told)
		}
	}
}

// When the path carries again, and another home agent's answer is there before that
// of the one that serves, the node stays, also when just then it gives a request up.
func TestTheFirstAnswerOverAPathThatIsBackDecidesNothing(t *testing.T) {
	for offset := time.Duration(0); offset < time.Second; offset += 100 * time.Millisecond {
		for _, d := range []time.Duration{6 * time.Second, 14 * time.Second, 30 * time.Second} {
			c := watched(t, 2, liveness.DefaultLimit, nil)
			c.behind = 600 * time.Millisecond
			c.hole = true
			c.run(offset)
			c.step(c.node, engine.Plane{Event: forward.Unreachable{Key: c.node.machine.(*mn.Node).Key(), Peer: agentAt(0)}})
			c.run(d)
			c.hole = false
			c.run(10 * time.Second)
			c.serves(0)
		}
	}
}

// A request that was lost while the path was dead, and is given up long after it
// carries again, says nothing about the home agent: packets come from it all the time.
func TestARequestThatADeadPathLostDecidesNothing(t *testing.T) {
	c := watched(t, 2, liveness.DefaultLimit, nil)
	c.hole = true
	c.step(c.node, engine.Plane{Event: forward.Unreachable{Key: c.node.machine.(*mn.Node).Key(), Peer: agentAt(0)}})
	c.run(18 * time.Second)
	c.hole = false
	began := len(c.to)
	for range 20 {
		c.used = c.now.Mono
		c.run(time.Second)
	}
	c.serves(0)
	renewals := 0
	for i, r := range c.sent[began:] {
		switch {
		case r.CareOfAddress != wifi: // a question
		case c.to[began+i] == agentAt(0):
			renewals++
		default:
			t.Errorf("the node registers with %v", c.to[began+i])
		}
	}
	if renewals == 0 {
		t.Error("no request was repeated: nothing is tested")
	}
}

// TestARestartIsNoDeath: nor is a host that answers no echo while its daemon
// answers questions, nor a daemon that is away while its host answers and the
// tunnel carries.
func TestARestartIsNoDeath(t *testing.T) {
	stays := func(c *circle, what string) {
		t.Helper()
		c.serves(0)
		if told := c.silent(); len(told) != 0 {
			t.Errorf("%s: told %v", what, told)
		}
	}
	c := watched(t, 2, liveness.FastLimit, nil)
	for range 20 {
		c.kill(0)
		c.run(3 * time.Second)
		c.boot(0)
		c.run(4*time.Second + 300*time.Millisecond)
	}
	stays(c, "restarts")

	c = watched(t, 2, liveness.FastLimit, nil)
	c.mute[c.agents[0]] = true
	c.run(5 * time.Minute)
	stays(c, "no echoes")

	c = watched(t, 2, liveness.FastLimit, nil)
	c.kill(0)
	for range 60 {
		c.used = c.now.Mono
		c.run(time.Second)
	}
	if told := c.silent(); len(told) != 0 {
		t.Errorf("left while packets came: %v", told)
	}
	c.run(10 * time.Second)
	c.serves(1)
}

// TestWhoNeverAnsweredIsNotJudged: not by an echo and not by a question.
func TestWhoNeverAnsweredIsNotJudged(t *testing.T) {
	c := newCircle(t, 2, nil, func(cfg *mn.Config, _ *assignment.Config) {
		cfg.HomeAgents = []mn.HomeAgent{{Address: agentAt(0)}, {Address: agentAt(1)}}
	})
	c.watch = liveness.Config{Limit: liveness.FastLimit}
	c.mute[c.agents[0]] = true
	c.tap = func(from, to *post, data []byte) []byte {
		if len(c.sent) > 0 && from == c.node && to == c.agents[0] && c.sent[len(c.sent)-1].CareOfAddress != wifi {
			return nil // it knows no questions
		}
		return data
	}
	c.bootNode()
	c.attach()
	c.run(5 * time.Minute)
	c.serves(0)
	if told := c.silent(); len(told) != 0 || c.asks == 0 {
		t.Errorf("told %v, asked %d times", told, c.asks)
	}
	if c.echoes > 6 || len(c.to) > 3+c.asks {
		t.Errorf("%d echoes to one that answers none, %d requests of which %d are questions", c.echoes, len(c.to), c.asks)
	}
}

// TestWhatItCosts: an echo and no question in half of the limit while nothing
// goes, none while packets come in, and none where there is nobody to go to.
func TestWhatItCosts(t *testing.T) {
	c := watched(t, 2, liveness.DefaultLimit, nil)
	echoes, asks := c.echoes, c.asks
	c.run(100 * time.Second)
	if got := c.echoes - echoes; got < 15 || got > 21 {
		t.Errorf("%d echoes in 100 idle seconds", got)
	}
	if got := c.asks - asks; got != 0 {
		t.Errorf("%d questions in 100 idle seconds", got)
	}
	echoes = c.echoes
	for range 100 {
		c.used = c.now.Mono
		c.run(time.Second)
	}
	if got := c.echoes - echoes; got != 0 {
		t.Errorf("%d echoes while packets come in", got)
	}
	c = watched(t, 1, liveness.DefaultLimit, nil)
	if c.echoes != 0 || c.asks != 0 {
		t.Errorf("%d echoes and %d questions with one home agent", c.echoes, c.asks)
	}
}
