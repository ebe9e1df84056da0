package ha_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// The printed stages are documentation: names and order of the RFC.
func TestStages(t *testing.T) {
	d := newDriver(t, config(t))
	var names []string
	for _, s := range d.command(ha.ListStages{}).Value.([]engine.StageInfo) {
		names = append(names, s.Stage)
		if s.Section == "" || s.Doc == "" || len(s.Hooks) == 0 || s.Role != "home-agent" {
			t.Errorf("stage %+v", s)
		}
	}
	if want := []string{"Identify", "Authenticate", "Replay", "Agents", "Admit", "Bind", "Reply"}; !slices.Equal(names, want) {
		t.Errorf("stages %v", names)
	}
}

// What two features both register is an error at construction.
func TestDuplicateRegistrationsAreErrors(t *testing.T) {
	handle := func(a *ha.Agent) { a.Handle("x", mip4.TypeRevocation, func(engine.Packet, *mip4.Message) {}) }
	for name, f := range map[string]func(*ha.Agent){
		"claim": func(a *ha.Agent) { a.Claims.Add(ha.Claim{Feature: "x", Type: mip4.ExtNAI}) },
		"message": func(a *ha.Agent) {
			handle(a)
			handle(a)
		},
		"requests": func(a *ha.Agent) {
			a.Handle("x", mip4.TypeRegistrationRequest, func(engine.Packet, *mip4.Message) {})
		},
		"encapsulation": func(a *ha.Agent) {
			a.AddEncapsulation(ha.Encapsulation{Feature: "x", Kind: encap.GRE})
		},
		"records": func(a *ha.Agent) { a.AddRecords("ha/", nil) },
	} {
		if _, err := ha.New(config(t), luck(), f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type question struct{ who string }

// An exchange that awaits an answer is parked, resumes where it stood, and is
// given up at its deadline; how many wait is bounded.
func TestAwait(t *testing.T) {
	cfg := config(t)
	cfg.MaxParked = 2
	d := newDriver(t, cfg, func(a *ha.Agent) {
		a.Admit.Add("test", "ask", func(x *ha.Exchange) engine.Verdict {
			if x.Answer == nil {
				return engine.Await(question{x.Node.String()})
			}
			if x.Answer.Value == "no" {
				return engine.Deny(uint8(mip4.CodeHAProhibited), "the answer is no")
			}
			return engine.Next()
		})
	})
	r := d.req()
	if d.send(r) != nil || len(d.asked) != 1 || d.asked[0].Question != (question{"10.10.0.5"}) {
		t.Fatalf("asked %+v", d.asked)
	}
	if d.send(r) != nil || len(d.asked) != 1 {
		t.Fatal("a repeat asked again")
	}
	d.step(engine.Answer{Ticket: d.asked[0].Ticket, Value: "yes"})
	if p := d.reply(); p == nil || p.Code != mip4.CodeAccepted {
		t.Fatal("not accepted after the answer")
	}
	d.tick()
	d.send(d.req())
	d.step(engine.Answer{Ticket: d.asked[1].Ticket, Value: "no"})
	if p := d.reply(); p == nil || p.Code != mip4.CodeHAProhibited {
		t.Fatal("not denied after the answer")
	}
	d.tick()
	d.send(d.req())
	d.advance(ha.ParkTime)
	d.step(engine.Answer{Ticket: d.asked[2].Ticket, Value: "yes"})
	if d.reply() != nil {
		t.Fatal("an answer that came too late was used")
	}
	d.send(d.req())
	d.send(d.van())
	d.send(d.bus())
	if len(d.asked) != 5 || d.counter("exchanges_overflowed") != 1 {
		t.Fatalf("%d questions, %d overflowed", len(d.asked), d.counter("exchanges_overflowed"))
	}
}

// Lifetime limits are lowered, never raised, whoever sets them.
func TestLimitOnlyLowers(t *testing.T) {
	d := newDriver(t, config(t), func(a *ha.Agent) {
		a.Bind.Add("test", "limits", func(x *ha.Exchange) engine.Verdict {
			x.Limit(90 * time.Second)
			x.Limit(time.Hour)
			return engine.Next()
		})
	})
	if p := d.want(mip4.CodeAccepted, d.req()); p.Lifetime != 90 {
		t.Errorf("lifetime %d", p.Lifetime)
	}
}

// A feature may replace the endpoint and the encapsulation before the base
// judges them, and may refuse in the Reply stage.
func TestFactsAreJudgedAfterTheLastHook(t *testing.T) {
	other := netip.MustParseAddrPort("203.0.113.9:5000")
	deny := false
	d := newDriver(t, config(t), func(a *ha.Agent) {
		a.Bind.Add("test", "facts", func(x *ha.Exchange) engine.Verdict {
			x.Endpoint, x.Encap, x.Inside, x.SourceAccepted = other, encap.UDP, encap.IPIP, true
			return engine.Next()
		})
		a.Reply.Add("test", "refuse", func(x *ha.Exchange) engine.Verdict {
			if deny && x.Accepted() {
				return engine.Deny(uint8(mip4.CodeHAUnspecified), "changed its mind")
			}
			return engine.Next()
		})
	})
	r := d.req()
	r.src = other
	d.want(mip4.CodeAccepted, r)
	e, _ := d.entry(home)
	if e.Tunnels[0].Peer != other || e.Tunnels[0].Local != netip.AddrPortFrom(agentAddr, 434) || e.Tunnels[0].Encap != encap.UDP {
		t.Errorf("tunnel %+v", e.Tunnels[0])
	}
	deny = true
	r = d.req()
	r.src = other
	d.want(mip4.CodeHAUnspecified, r)
	if len(d.bindings()) != 1 {
		t.Error("the old binding did not stay")
	}
}

// The operator's commands.
func TestCommands(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.van())
	d.want(mip4.CodeAccepted, d.req())
	list := d.bindings()
	if len(list) != 2 || list[0].HomeAddress != home || list[1].NAI != "van@fleet" {
		t.Fatalf("bindings %+v", list)
	}
	one := d.command(ha.ShowBinding{Node: ident.Node{HomeAddress: home}})
	if one.Err != nil || !reflect.DeepEqual(one.Value.([]ha.Binding)[0], list[0]) {
		t.Errorf("one binding: %+v", one)
	}
	if got := d.command(ha.ShowBinding{Node: ident.Node{NAI: "bus@fleet"}}); got.Err == nil {
		t.Error("found a binding that is not there")
	}
	recent := d.command(ha.ListRegistrations{}).Value.([]ha.Registration)
	if len(recent) != 2 || recent[0].HomeAddress != home || recent[1].NAI != "van@fleet" || recent[0].Lifetime != "5m0s" {
		t.Errorf("registrations %+v", recent)
	}
	for _, a := range d.command(ha.ListAssociations{}).Value.([]ha.Association) {
		if strings.Contains(a.Fingerprint, "0123") {
			t.Errorf("association shows its key: %+v", a)
		}
	}
	d.hold = true
	d.results = nil
	d.step(engine.Command{Ticket: 5, Value: ha.ClearBinding{Node: ident.Node{HomeAddress: home}}})
	if len(d.results) != 0 {
		t.Error("cleared before it was true")
	}
	d.release()
	if len(d.results) != 1 || d.results[0].Value != (ha.Cleared{Bindings: 1}) || len(d.plane) != 1 {
		t.Errorf("results %+v, %d entries", d.results, len(d.plane))
	}
	if got := d.command(ha.ClearBinding{Node: ident.Node{HomeAddress: home}}); got.Err == nil {
		t.Error("cleared nothing")
	}
	if got := d.command("what"); got.Err == nil {
		t.Error("an unknown command has no error")
	}
	d.tick()
	d.want(mip4.CodeAccepted, d.req())
}
