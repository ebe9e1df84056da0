package fa

import (
	"bytes"
	"time"

	"careof/internal/core/engine"
	"careof/wire/mip4"
)

const (
	// maxParked bounds the requests that wait for an answer from elsewhere.
	maxParked = 1024
	// parkTime is how long one waits: less than a pending request does.
	parkTime = 5 * time.Second
)

// A waiting is a request whose hook has asked something.
type waiting struct {
	exchange *Exchange
	at       engine.Position
}

// process runs a request on from a position. A hook of the stage Request may
// wait for an answer; it finds it in Exchange.Answer.
func (a *Agent) process(x *Exchange, at engine.Position) {
	switch v := a.requests.Run(x, &at); {
	case v.IsDeny():
		a.denyRequest(x, mip4.Code(v.Code), v.Why)
	case v.IsNext():
		a.relay(x)
	case v.IsDrop():
		a.counters.ignored++
	case v.IsAwait():
		a.park(x, at, v.Question)
	}
}

// park keeps a request until its question is answered. Who waits already does
// not wait twice for the same.
func (a *Agent) park(x *Exchange, at engine.Position, question any) {
	if at.Stage > 0 {
		a.denyRequest(x, mip4.CodeFAUnspecified, "a question after the stage Request")
		return
	}
	own := 0
	for _, w := range a.parked {
		y := w.exchange
		if y.Packet.Link != x.Packet.Link || y.Packet.HW != x.Packet.HW {
			continue
		}
		own++
		if bytes.Equal(y.Message.Raw, x.Message.Raw) {
			return
		}
	}
	if len(a.parked) >= maxParked || own >= a.cfg.PendingPerNode {
		a.denyRequest(x, mip4.CodeFAResources, "too many requests wait for an answer")
		return
	}
	if x.Message == &a.message {
		x.Message = x.Message.Clone()
		x.Packet.Data = x.Message.Raw
	}
	t := a.Expect(nil)
	a.parked[t] = &waiting{x, at}
	a.parkedAt.Set(t, a.Now().Mono.Add(parkTime))
	a.Do(engine.Ask{Ticket: t, Question: question})
}

// answered gives a question's answer to the request that waits for it, or to
// whoever else has asked.
func (a *Agent) answered(ans engine.Answer) {
	w, waits := a.parked[ans.Ticket]
	if !waits {
		a.Answered(ans)
		return
	}
	delete(a.parked, ans.Ticket)
	a.parkedAt.Clear(ans.Ticket)
	x := w.exchange
	x.Answer = &ans
	x.Visitor = a.visitors.byKey[visitorKey{x.Request.HomeAddress, x.HomeAgent}]
	a.process(x, w.at)
}

// dropOverdue refuses requests whose answer does not come.
func (a *Agent) dropOverdue() {
	for {
		t, due := a.parkedAt.Due(a.Now().Mono)
		if !due {
			return
		}
		x := a.parked[t].exchange
		delete(a.parked, t)
		a.denyRequest(x, mip4.CodeFAUnspecified, "no answer in time")
	}
}
