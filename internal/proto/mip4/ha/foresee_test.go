package ha_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/ha"
)

// An agent that was told what comes does what one does that was not, whatever it
// was told.
func TestForeseeingChangesNothing(t *testing.T) {
	told, other := newDriver(t, config(t)), newDriver(t, config(t))
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 60 {
		var events []engine.Event
		for range rng.IntN(40) {
			told.now.Wall = told.now.Wall.Add(time.Millisecond)
			p := told.req().packet(t)
			switch rng.IntN(4) {
			case 0:
				p = told.van().packet(t)
			case 1:
				p.Data = p.Data[:rng.IntN(len(p.Data))]
			case 2:
				p.Data[rng.IntN(8)] ^= 1 << rng.IntN(8)
			}
			events = append(events, p)
		}
		events = append(events, engine.Wake{}, engine.Command{Value: ha.ShowBinding{}})
		told.a.Foresee(events)
		for _, ev := range events {
			now := told.now
			a, b := told.a.Step(now, ev), other.a.Step(now, ev)
			if x, y := said(a), said(b); !reflect.DeepEqual(x, y) {
				t.Fatalf("round %d: foreseen\n%v\nelse\n%v", i, x, y)
			}
			for _, act := range a {
				if c, ok := act.(engine.Commit); ok {
					told.a.Step(now, engine.Answer{Ticket: c.Ticket})
				}
			}
			for _, act := range b {
				if c, ok := act.(engine.Commit); ok {
					other.a.Step(now, engine.Answer{Ticket: c.Ticket})
				}
			}
		}
	}
}

// said is what actions say, in text: commits hold functions.
func said(actions []engine.Action) (out []string) {
	for _, a := range actions {
		out = append(out, fmt.Sprintf("%T %+v", a, a))
	}
	return out
}
