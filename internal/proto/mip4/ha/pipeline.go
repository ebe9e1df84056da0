package ha

import (
	"slices"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// request begins an exchange.
func (a *Agent) request(p engine.Packet, s *Submission) {
	var x *Exchange
	if last := len(a.spare) - 1; last >= 0 {
		x, a.spare = a.spare[last], a.spare[:last]
	} else {
		x = new(Exchange)
	}
	x.Agent, x.limit, x.submission = a, binding.Infinite, s
	if err := x.begin(p); err != nil {
		x.Why = err.Error()
		a.ignore()
		a.leave(x)
		return
	}
	if why, ok := a.Claims.Check(x.Message, x.Message.Exts); !ok {
		// "silently discarded": not even a known node's sender hears of it.
		a.discard(x, why)
		a.leave(x)
		return
	}
	if s != nil {
		s.Prepare(x)
	}
	a.advance(x)
}

// advance runs the exchange on from where it stands.
func (a *Agent) advance(x *Exchange) {
	if x.Node != nil && x.Node.removed {
		a.discard(x, string(Unconfigured))
		a.leave(x)
		return
	}
	stages := a.processing
	if x.replying {
		stages = a.answering
	}
	v := stages.Run(x, &x.at)
	switch {
	case v.IsNext() && x.replying:
		a.finish(x)
	case v.IsNext():
		a.answerWith(x, x.Code, "")
	case v.IsDeny():
		a.answerWith(x, mip4.Code(v.Code), v.Why)
	case v.IsDrop():
		a.discard(x, v.Why)
		a.leave(x)
	case v.IsAwait():
		a.park(x, v.Question)
	case v.IsDone():
		a.leave(x)
	}
}

// answerWith begins the reply with this code.
func (a *Agent) answerWith(x *Exchange, code mip4.Code, why string) {
	if x.replying && !x.Accepted() {
		// One denial is enough; the Reply stage only adds to it.
		a.finish(x)
		return
	}
	if x.Node == nil {
		a.discard(x, why) // there is no key to sign an answer with
		a.leave(x)
		return
	}
	if x.Association == nil {
		x.Association = x.Node.config.Keys[0]
	}
	x.Code, x.Why = code, why
	x.replying, x.at = true, engine.Position{}
	a.prepareReply(x)
	a.advance(x)
}

// discard ends an exchange without an answer. Only what a known mobile node's
// key vouches for is worth a word: anybody can send the rest.
func (a *Agent) discard(x *Exchange, why string) {
	x.Why = why
	if !x.Authentic {
		a.ignore()
		return
	}
	a.counters.discarded++
	n := x.note(note.Discarded, note.Warn)
	n.Why = why
	a.Tell(n)
}

// park keeps the exchange until its question is answered, or for ParkTime.
func (a *Agent) park(x *Exchange, question any) {
	if _, turns := question.(awaitTurn); turns {
		x.Node.turn.waiting = append(x.Node.turn.waiting, x)
		return
	}
	if len(a.parked) >= a.cfg.MaxParked {
		a.counters.overflowed++
		a.discard(x, "too many exchanges wait for an answer")
		a.leave(x)
		return
	}
	t := a.Expect(nil)
	a.parked[t] = x
	a.parkedAt.Set(t, a.Now().Mono.Add(ParkTime))
	a.Do(engine.Ask{Ticket: t, Question: question})
}

func (a *Agent) unpark(t engine.Ticket) {
	delete(a.parked, t)
	a.parkedAt.Clear(t)
}

// dropOverdue gives up on exchanges whose answer does not come.
func (a *Agent) dropOverdue() {
	for {
		t, due := a.parkedAt.Due(a.Now().Mono)
		if !due {
			return
		}
		x := a.parked[t]
		delete(a.parked, t)
		a.discard(x, "no answer in time")
		a.leave(x)
	}
}

// note starts a note about the exchange.
func (x *Exchange) note(kind note.Kind, level note.Level) note.Note {
	n := note.Note{
		Kind: kind, Level: level,
		HomeAddress: x.Home, NAI: string(x.NAI),
		CareOfAddress:  x.Request.CareOfAddress,
		Endpoint:       x.Packet.Src,
		Identification: x.Request.Identification,
	}
	if x.Node != nil && n.NAI == "" {
		n.NAI = string(x.Node.config.NAI)
	}
	if x.Association != nil {
		n.SPI = x.Association.SPI()
	}
	return n
}

// A turn is what goes on with one node: commits that are on their way, and
// requests that wait for them. Requests of one node are settled one at a time,
// so that a failed commit has nothing built on it.
type turn struct {
	commits  int
	waiting  []*Exchange
	inFlight []*Exchange // holding or awaiting the turn

	pieces
}

// pieces are the memory of what a commit consists of, in use until the commit
// is answered: a refresh leaves less to collect.
type pieces struct {
	records [1]engine.Record
	extend  [1]forward.Change
	then    [4]engine.Action
}

// piecesOf is memory for the node's next commit: its turn's, unless that of an
// earlier commit is on its way.
func (a *Agent) piecesOf(n *Node) *pieces {
	if t := a.turnOf(n); t.commits == 0 {
		return &t.pieces
	}
	return new(pieces)
}

// maxTurns bounds the requests of one node that wait for its turn. They are
// authentic and fresh; the mobile node repeats what is dropped.
const maxTurns = 4

// awaitTurn is the question of an exchange that waits for its node.
type awaitTurn struct{}

// takeTurn lets one request of a node at a time change its bindings.
func (a *Agent) takeTurn(x *Exchange) engine.Verdict {
	n := x.Node
	t := a.turnOf(n)
	if !t.holds(x) {
		if len(t.inFlight) > maxTurns {
			return engine.Drop("too many requests of this node wait for a commit")
		}
		t.inFlight = append(t.inFlight, x)
	}
	if t.commits > 0 || t.inFlight[0] != x {
		return engine.Await(awaitTurn{})
	}
	return engine.Next()
}

// turnOf is a node's turn. Those of nodes that rest serve others.
func (a *Agent) turnOf(n *Node) *turn {
	if n.turn == nil {
		if last := len(a.turns) - 1; last >= 0 {
			n.turn, a.turns = a.turns[last], a.turns[:last]
		} else {
			n.turn = &turn{}
		}
	}
	return n.turn
}

func (t *turn) holds(x *Exchange) bool {
	for _, y := range t.inFlight {
		if y == x {
			return true
		}
	}
	return false
}

// leave takes a finished exchange off its node's turn and lets the next go on.
func (a *Agent) leave(x *Exchange) {
	if x.submission != nil && !x.answered {
		a.Do(x.submission.Reply(x, nil))
	}
	n := x.Node
	if n != nil && n.turn != nil {
		t := n.turn
		for i, y := range t.inFlight {
			if y == x {
				t.inFlight = slices.Delete(t.inFlight, i, i+1)
				break
			}
		}
	}
	// It serves another request: strangers take no new memory, however many
	// there are, and a refresh leaves little to collect.
	*x = Exchange{}
	if len(a.spare) < maxSpare {
		a.spare = append(a.spare, x)
	}
	if n != nil {
		a.nextTurn(n)
	}
}

// maxSpare is how many exchanges that nobody uses are kept.
const maxSpare = 1024

func (a *Agent) nextTurn(n *Node) {
	t := n.turn
	if t == nil || t.commits > 0 {
		return
	}
	if len(t.inFlight) == 0 {
		n.turn = nil
		t.pieces = pieces{}
		a.turns = append(a.turns, t)
		return
	}
	if len(t.waiting) > 0 && t.waiting[0] == t.inFlight[0] {
		x := t.waiting[0]
		t.waiting = slices.Delete(t.waiting, 0, 1)
		a.advance(x)
	}
}
