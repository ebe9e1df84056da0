package mn_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// keyQuestion is what the feature of this test asks the world.
type keyQuestion struct{}

// A feature plugs into every stage and table without an edit in the role.
func TestFeatureEverywhere(t *testing.T) {
	var seen []string
	saw := func(what string) { seen = append(seen, what) }
	var at time.Time
	f := func(n *mn.Node) error {
		n.Claim(mn.Claim{Feature: "test", Type: mip4.ExtGFAAddress, Max: 1})
		n.Encapsulation(mn.Encapsulation{Feature: "test", Kind: encap.UDP})
		n.Records("test", "test/", func(_ engine.Now, r engine.Record) error { saw("restored " + string(r.Value)); return nil })
		n.Command("test", keyQuestion{}, func(c engine.Command) { n.Answer(c, "mine", nil) })
		n.OnPlane("test", func(forward.Event) { saw("plane") })
		n.Timer("test", func() time.Time { return at }, func() { at = time.Time{}; saw("timer") })
		n.Heard.Add("test", "x", func(*mn.Hearing) engine.Verdict { saw("heard"); return engine.Next() })
		n.Choose.Add("test", "x", func(x *mn.Choice) engine.Verdict { saw("choose"); return engine.Next() })
		n.Request.Add("test", "x", func(x *mn.Attempt) engine.Verdict {
			if x.Answer.Value == nil {
				return engine.Await(keyQuestion{})
			}
			x.Limit(77 * time.Second)
			x.Add(mip4.ZoneHome, &unknown{mip4.ExtNVSE})
			saw("request")
			return engine.Next()
		})
		n.Reply.Add("test", "x", func(x *mn.Response) engine.Verdict {
			if x.Answer.Value == nil {
				return engine.Await(keyQuestion{})
			}
			saw("reply")
			return engine.Next()
		})
		n.Accepted.Add("test", "x", func(x *mn.Response) engine.Verdict { saw("accepted"); x.Encap = encap.UDP; return engine.Next() })
		n.Denied.Add("test", "x", func(x *mn.Response) engine.Verdict { saw("denied"); return engine.Next() })
		n.Moved.Add("test", "x", func(x *mn.Movement) engine.Verdict {
			saw("moved")
			at = x.Now.Mono.Add(time.Second)
			n.Save("test/one", []byte("kept"))
			return engine.Next()
		})
		n.Probed.Add("test", "x", func(*mn.Probe) engine.Verdict { saw("probed"); return engine.Next() })
		return nil
	}
	r := newRig(t, config(t), f)
	answers := []answer{{lifetime: -1, home: []mip4.Payload{&unknown{mip4.ExtGFAAddress}}}, {code: 128}}
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		a := answers[0]
		answers = answers[1:]
		return []engine.Packet{r.reply(s, a)}
	}
	pump := func() { // answers what the rig does not know
		for range 4 {
			for _, a := range r.asks {
				if _, ok := a.Question.(keyQuestion); ok {
					r.later(0, engine.Answer{Ticket: a.Ticket, Value: "key"})
				}
			}
			r.asks = nil
			r.run(100 * time.Millisecond)
		}
	}
	r.up("wlan0", wifiAddress)
	if len(r.requests) != 0 {
		t.Fatal("the request did not wait for the answer")
	}
	pump()
	if q := r.last(); q.request.Lifetime != 77 || q.m.Exts[0].Type != mip4.ExtNVSE {
		t.Errorf("request %+v", q.request)
	}
	if r.tunnels() != "wlan0 udp both" {
		t.Errorf("tunnels %s", r.tunnels())
	}
	r.run(2 * time.Second)
	r.step(engine.Plane{Event: forward.EchoReply{}})
	r.step(engine.Command{Ticket: 4, Value: keyQuestion{}})
	if res := r.results[len(r.results)-1]; res.Value != "mine" {
		t.Errorf("result %+v", res)
	}
	r.step(engine.Command{Ticket: 5, Value: mn.Reregister{}})
	pump()
	for _, want := range []string{"heard", "choose", "request", "reply", "accepted", "moved", "timer", "plane", "denied"} {
		if !strings.Contains(strings.Join(seen, " "), want) {
			t.Errorf("%s was not seen: %v", want, seen)
		}
	}
	if string(r.store["test/one"]) != "kept" {
		t.Error("the feature's record was not kept")
	}
	r.boot(config(t), f)
	if seen[len(seen)-1] != "restored kept" {
		t.Errorf("seen %v", seen)
	}
}

// A feature that is not there is as if it had never been: its extensions are
// unknown, its encapsulations too.
func TestMistakesOfFeatures(t *testing.T) {
	for name, f := range map[string]func(*mn.Node) error{
		"an error":            func(*mn.Node) error { return errors.New("no") },
		"claimed twice":       func(n *mn.Node) error { n.Claim(mn.Claim{Feature: "x", Type: mip4.ExtMobileHome}); return nil },
		"handled twice":       func(n *mn.Node) error { n.Handle("x", mip4.TypeRegistrationReply, nil); return nil },
		"encapsulation twice": func(n *mn.Node) error { n.Encapsulation(mn.Encapsulation{Feature: "x", Kind: encap.GRE}); return nil },
		"command twice":       func(n *mn.Node) error { n.Command("x", mn.ShowStatus{}, nil); return nil },
		"records twice":       func(n *mn.Node) error { n.Records("x", "mn/", nil); return nil },
	} {
		if _, err := mn.New(config(t), rand.New(rand.NewPCG(1, 1)), f); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// Routers' complaints are hints: one request in a while, and nothing ends.
func TestUnreachableIsAHint(t *testing.T) {
	r := registered(t)
	n := len(r.requests)
	r.run(10 * time.Second)
	for range 100 {
		r.step(engine.Plane{Event: forward.Unreachable{Key: r.node.Key(), Peer: homeAgent, Type: 3, Code: 1}})
		r.run(100 * time.Millisecond)
	}
	if got := len(r.requests) - n; got < 1 || got > 3 || r.count(note.Lost) != 0 {
		t.Errorf("%d requests", got)
	}
	r.step(engine.Plane{Event: forward.Unreachable{Key: "another", Peer: homeAgent}})
}

// "a link or probe event starts a new attempt, on every live uplink": the path
// in use is found dead, and the other takes over in one round trip.
func TestDeadPath(t *testing.T) {
	for _, dead := range []bool{true, false} {
		r := newRig(t, config(t))
		r.other = granting(-1)
		r.up("wlan0", wifiAddress)
		r.up("lte0", lteAddress)
		r.run(5 * time.Second)
		r.down["wlan0"] = dead
		n := len(r.requests)
		r.step(engine.Wake{}) // the node learns the time
		r.node.Probe(r.node.Active(), false, "the test says so")
		r.step(engine.Wake{})
		if len(r.requests) != n+2 || r.requests[n].Link != "lte0" || r.requests[n+1].Link != "wlan0" {
			t.Fatalf("%d requests", len(r.requests)-n)
		}
		r.run(60 * time.Millisecond)
		want := "wlan0"
		if dead {
			want = "lte0"
		}
		if got := r.status().Link; got != want {
			t.Errorf("dead %v: over %s", dead, got)
		}
		r.node.Probe(r.node.Active(), true, "alive")
		if len(r.requests) > n+3 {
			t.Errorf("%d requests", len(r.requests)-n)
		}
	}
}
