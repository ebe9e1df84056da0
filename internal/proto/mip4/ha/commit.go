package ha

import (
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

const nonces = assoc.Nonces

// deny sends a denial. When the replay mark has moved it is made durable
// first, so that the Identification stays used up across a restart.
//
//rfc:5944#3.8.2-2
//rfc:5944#3.8.2.1-14
//rfc:5944#3.8.2.1-18
//rfc:5944#3.8.3-2
func (a *Agent) deny(x *Exchange, send engine.Send) {
	a.counters.denied[x.Code]++
	n := x.note(note.Denied, note.Info)
	if x.Code == mip4.CodeIdentificationMismatch || x.Code == mip4.CodeHAForeignAgentAuth || x.Code == mip4.CodeHAMobileNodeAuth {
		n.Level = note.Warn // "SHOULD log the error as a security exception"
	}
	n.Code, n.Why = uint8(x.Code), x.Why
	if x.Code == mip4.CodeIdentificationMismatch && !x.Node.refused().warnings.allow(a.Now().Mono, warningRate) {
		n.Level = note.Debug
	}
	a.remember(x)
	moved := x.Fresh || (x.Authentic && x.Association.Replay() == nonces)
	if !moved {
		a.Do(a.outgoing(x, send))
		a.Tell(n)
		a.leave(x)
		return
	}
	reply := a.outgoing(x, send)
	a.commit(x.Node, engine.Commit{
		Records: append(a.recordsFor(x), x.extra...),
		Then:    append([]engine.Action{reply, a.Telling(n)}, x.then...),
	}, func(err error) {
		if err != nil {
			// On a full disk too the node hears that it is denied: a denial
			// promises nothing, and the mark stays in memory.
			a.failed(x.Node, err)
			a.Do(reply)
			a.Tell(n)
		}
		a.leave(x)
	})
}

// accept makes an accepted request true and answers it.
//
//rfc:5944#3.8.2.2
//rfc:5944#3.8.2-1
//rfc:5944#3.8.3-1
func (a *Agent) accept(x *Exchange, send engine.Send) {
	n := x.Node
	before := n.list.Len()
	var (
		b       binding.Binding
		removed []binding.Binding
		change  = binding.Altered
		kind    note.Kind
		why     = Replaced
	)
	switch {
	case x.DeregistersAll():
		// "the home agent deletes all of the entries in the mobility binding
		// list for the requesting mobile node".
		removed, kind, why = n.list.Clear(), note.Unbound, Deregistered
		a.counters.deregistered++
	case x.Deregisters():
		// "the home agent deletes only the entry containing the specified
		// Care-of Address"; "Any other active entries ... will remain active".
		kind, why = note.Unbound, Deregistered
		if old, ok := n.list.Remove(x.ID); ok {
			removed = []binding.Binding{old}
		}
		a.counters.deregistered++
	default:
		// "If the 'S' bit is set and the home agent supports simultaneous
		// mobility bindings, the previous mobility binding entries are
		// retained. Otherwise, the home agent removes all previous entries".
		keep := x.Request.Flags.Has(mip4.FlagS) && (a.cfg.SimultaneousBindings > 1 || x.Redundancy != nil)
		b = a.newBinding(x)
		anew := !n.redundancy.same(x.Redundancy)
		n.redundancy = x.Redundancy
		former, _ := n.list.Get(x.ID)
		change, removed = n.list.Put(b, keep, a.Now().Mono)
		x.refreshes, x.former = change == binding.Same, term{former.Lifetime, former.Renewed, former.Expires}
		n.hold(x.Networks)
		switch {
		case change == binding.Added || change != binding.Same && n.besides(x.ID):
			kind = note.Bound
			a.counters.bound++
		case change == binding.Same:
			kind = note.Refreshed
			a.counters.refreshed++
		default:
			kind = note.Moved
			a.counters.moved++
		}
		if anew && change == binding.Same {
			change = binding.Altered // to the data plane
		}
	}
	a.vacate(n)
	a.reschedule(n)
	a.remember(x)

	nt := x.note(kind, note.Info)
	if kind == note.Refreshed {
		nt.Level = note.Debug
	}
	nt.HomeAgent, nt.Lifetime = x.HomeAgent, finite(x.Lifetime)
	if kind != note.Unbound && n.besides(x.ID) {
		nt.Why = n.redundancy.purpose()
	}
	if b.Tunnel.Encap != 0 {
		nt.Encapsulation = tunnelName(b.Tunnel)
		nt.Endpoint = b.Tunnel.Peer
	}
	if n.last == nil {
		n.last = new(lastReply)
	}
	n.last.set(x, send.Data)

	then := append(append(a.piecesOf(n).then[:0], a.outgoing(x, send), a.Telling(nt)), x.then...)
	if link := a.intercept(n); before == 0 && x.FromHome() && link != "" && x.Packet.Link == link && x.Packet.HW != (engine.HardwareAddr{}) {
		// Nothing was intercepted any more, but neighbours may still think so:
		// "When the mobile node's home agent receives and accepts this
		// (de)Registration Request, the home agent MUST also transmit a
		// gratuitous ARP on the mobile node's home network" (section 4.6).
		then = append([]engine.Action{engine.Announce{Link: link, Address: n.home, HW: x.Packet.HW}}, then...)
	}
	gone, because := removed, why // copies, which the closure takes with it
	a.commit(n, engine.Commit{
		Records: append(a.recordsFor(x), x.extra...),
		Changes: a.changes(n, before, change, x),
		Then:    then,
	}, func(err error) {
		if err != nil {
			a.undo(x, gone, err)
			return
		}
		for _, old := range gone {
			a.ended(n, old, because)
		}
		if held, there := n.list.Get(x.ID); there && !x.Deregisters() {
			for _, run := range a.bound {
				run(n, held)
			}
		}
		a.leave(x)
	})
}

// changes is what the data plane has to do when a node's list had before
// bindings and then changed. A plain refresh of an only binding moves nothing
// but its end.
func (a *Agent) changes(n *Node, before int, change binding.Change, x *Exchange) []forward.Change {
	if only, alone := n.onlyBinding(change); alone {
		// Not while a repair is due: what the data plane holds may have more
		// tunnels than the bindings, and they would live on.
		out := append(a.piecesOf(n).extend[:0], forward.Change{Op: forward.Extend, Entry: a.head(n), Until: only.Expires})
		for _, p := range n.Networks() {
			out = append(out, forward.Change{Op: forward.Extend, Entry: n.networkEntry(p, out[0].Entry), Until: only.Expires})
		}
		return out
	}
	e, live := a.entry(n)
	switch {
	case !live && before == 0:
		return nil
	case !live:
		e = a.head(n)
		c := forward.Change{Op: forward.Delete, Entry: e}
		// "it stops using proxy ARP to reply to ARP Requests that it receives
		// requesting the mobile node's link-layer address, and then performs a
		// gratuitous ARP on behalf of the mobile node" (RFC 5944 section 4.6).
		if x != nil && x.FromHome() && e.Intercept != "" && x.Packet.Link == e.Intercept {
			c.ReturnedTo = x.Packet.HW
		}
		return append(n.withdrawals(), c)
	}
	return n.puts(e)
}

// commit returns a Commit of a node and keeps its requests waiting until the
// answer has come; done is then called.
func (a *Agent) commit(n *Node, c engine.Commit, done func(error)) {
	a.turnOf(n).commits++
	c.Ticket = a.Expect(func(ans engine.Answer) {
		err := ans.Err
		n.turn.commits--
		if err == nil {
			n.settled()
		}
		if done != nil {
			done(err)
		} else if err != nil {
			a.failed(n, err)
			a.repairLater(n)
		}
		a.nextTurn(n)
	})
	a.Do(c)
}

func (a *Agent) failed(n *Node, err error) {
	a.counters.failed++
	level := note.Debug
	if a.failures.allow(a.Now().Mono, failureRate) {
		level = note.Error
	}
	a.Tell(note.Note{Kind: note.Failed, Level: level, HomeAddress: n.home, NAI: string(n.config.NAI), Why: err.Error()})
}

// undo takes back a binding that could not be made durable or forwarding: the
// binding goes, the replay mark stays, the node hears 130. It hears it when
// that cannot be made durable either: the denial is what tells the node about a
// full disk, and must not need the disk. The mark is in memory then. A binding
// that was to be refreshed is as it was, and ends when it would have ended: a
// denial changes nothing.
//
// The exchange keeps its turn until the second commit is answered too.
func (a *Agent) undo(x *Exchange, removed []binding.Binding, err error) {
	n := x.Node
	a.failed(n, err)
	n.last = nil
	switch {
	case x.Deregisters():
	case x.refreshes:
		n.list.Change(x.ID, func(b *binding.Binding) {
			b.Lifetime, b.Renewed, b.Expires = x.former.granted, x.former.renewed, x.former.expires
		})
	default:
		if old, ok := n.list.Remove(x.ID); ok {
			removed = append(removed, old)
		}
	}
	a.vacate(n)
	a.reschedule(n)

	x.Code, x.Why = mip4.CodeHAResources, "could not be made durable and forwarding"
	x.replying, x.at, x.then, x.extra = true, engine.Position{}, nil, nil
	a.prepareReply(x)
	if v := a.answering.Run(x, &x.at); !v.IsNext() {
		// A hook that cannot agree to a denial now has no second chance.
		x.at = engine.Position{}
	}
	var then []engine.Action
	if data, err := a.seal(x); err == nil {
		a.counters.denied[x.Code]++
		nt := x.note(note.Denied, note.Info) // the failure has its own line
		nt.Code, nt.Why = uint8(x.Code), x.Why
		then = []engine.Action{
			a.outgoing(x, engine.Send{Link: x.ReplyTo.Link, Src: x.ReplyTo.Src, Dst: x.ReplyTo.Dst, HW: x.ReplyTo.HW, Data: data}),
			a.Telling(nt),
		}
	}
	a.remember(x)
	a.commit(n, engine.Commit{
		Records: []engine.Record{a.record(n)},
		Changes: a.changes(n, 1, binding.Altered, x),
		Then:    then,
	}, func(err error) {
		if err != nil {
			a.failed(n, err)
			a.repairLater(n)
			for _, do := range then {
				a.Do(do)
			}
		}
		for _, old := range removed {
			a.ended(n, old, Failed)
		}
		a.leave(x)
	})
}

// ended tells features and the world that a binding is over.
func (a *Agent) ended(n *Node, b binding.Binding, why Reason) {
	for _, run := range a.unbound {
		run(n, b, why)
	}
}

// Update changes one live binding of a node outside a registration, for
// instance when its first keepalive tells the port, and makes it durable and
// forwarding.
func (a *Agent) Update(n *Node, id binding.ID, change func(*binding.Binding)) {
	if !n.list.Change(id, change) {
		return
	}
	a.reschedule(n)
	e, live := a.entry(n)
	if !live {
		return
	}
	a.commit(n, engine.Commit{
		Records: []engine.Record{a.record(n)},
		Changes: n.puts(e),
	}, nil)
}

// Remove ends bindings of a node outside a registration: one, or all of them
// when id is the zero ID. It says how many.
func (a *Agent) Remove(n *Node, id binding.ID, why Reason, then ...engine.Action) int {
	before := n.list.Len()
	var removed []binding.Binding
	if id == (binding.ID{}) {
		removed = n.list.Clear()
	} else if b, ok := n.list.Remove(id); ok {
		removed = append(removed, b)
	}
	if len(removed) == 0 {
		return 0
	}
	a.afterRemoval(n, before, removed, why, then)
	return len(removed)
}

func (a *Agent) afterRemoval(n *Node, before int, removed []binding.Binding, why Reason, then []engine.Action) {
	a.vacate(n)
	a.reschedule(n)
	kind := note.Unbound
	if why == Expired {
		kind = note.Expired
	}
	for _, b := range removed {
		then = append(then, a.Telling(note.Note{
			Kind: kind, Level: note.Info, HomeAddress: n.home, NAI: string(n.config.NAI),
			CareOfAddress: b.CareOfAddress, Endpoint: b.Tunnel.Peer, Why: string(why),
		}))
	}
	a.commit(n, engine.Commit{
		Records: []engine.Record{a.record(n)},
		Changes: a.changes(n, before, binding.Altered, nil),
		Then:    then,
	}, func(err error) {
		if err != nil {
			a.failed(n, err)
			a.repairLater(n)
		}
		for _, b := range removed {
			a.ended(n, b, why)
		}
	})
}

// reschedule sets the node's next expiry.
func (a *Agent) reschedule(n *Node) { a.expiry.Set(n.index, n.list.Next()) }

// finite is a lifetime for notes, where an infinite one is left out.
func finite(d time.Duration) time.Duration {
	if d == binding.Infinite {
		return 0
	}
	return d
}

func tunnelName(t forward.Tunnel) string {
	if t.Secured() {
		return t.Inside.String()
	}
	if t.Inside != 0 {
		return t.Encap.String() + "/" + t.Inside.String()
	}
	return t.Encap.String()
}
