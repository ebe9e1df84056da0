// Package drive runs machines in the real world: one goroutine owns each
// machine, everything else only sends it events. It does what the comment of
// package engine says a driver does.
package drive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/core/realm"
	"careof/internal/host/clock"
)

// World is what a driver needs of the host.
type World struct {
	Store interface {
		Apply(role string, records []engine.Record) error
		Load(role string, yield func(engine.Record) error) error
	}
	Plane forward.Plane
	Send  func(engine.Send) error
	// SendAll is Send for many, in order, for a role that has much to say; it
	// tells of each that was refused. nil: they are sent one by one.
	SendAll  func(messages []engine.Send, refused func(*engine.Send, error))
	Announce func(engine.Announce) error
	// Originate sends a packet into the tunnel device; nil: no role sends any.
	Originate func([]byte) error
	Discover  func(engine.SendDiscovery) error // nil: no role sends any
	Resolve   func(ctx context.Context, name string) ([]netip.Addr, error)
	// AAA answers the questions of packages core/aaa and core/realm, without making
	// anybody wait. nil: nobody does.
	AAA  func(ctx context.Context, question any, answer func(value any, err error))
	Note func(note.Note) // must not block
	Now  func() engine.Now
	// Committed hears what is sent to a peer for which something was
	// committed, which is done for nobody who is not authentic; it must not
	// block. nil: nobody asks.
	Committed func(engine.Send)
}

// A Driver runs the machines of one role: one for each shard.
type Driver struct {
	role   string
	world  World
	shards []*shard
	route  atomic.Pointer[func(engine.Event) int]
	writer *committer

	admission *admission

	// commands counts tickets for Command: all events of a driver's own making
	// share it.
	mu       sync.Mutex
	commands engine.Ticket
	waiting  map[engine.Ticket]chan engine.Result
}

// New makes a driver for the machines of a role, one for each shard, and
// route, which says which shard an event concerns; a negative answer means
// all of them. With one machine, route may be nil.
func New(role string, world World, machines []engine.Machine, route func(engine.Event) int) *Driver {
	if world.Now == nil {
		world.Now = clock.Now
	}
	if route == nil {
		route = func(engine.Event) int { return -1 }
	}
	d := &Driver{role: role, world: world, waiting: make(map[engine.Ticket]chan engine.Result)}
	d.Reroute(route)
	d.writer = newCommitter(d)
	d.admission = newAdmission(Limits{})
	for _, m := range machines {
		foresighted, _ := m.(engine.Foresighted)
		d.shards = append(d.shards, &shard{driver: d, machine: m, foresighted: foresighted, box: newMailbox()})
	}
	return d
}

// Shards is how many machines there are.
func (d *Driver) Shards() int { return len(d.shards) }

// Reroute replaces route: the nodes are others now.
func (d *Driver) Reroute(route func(engine.Event) int) { d.route.Store(&route) }

// Restore hands the stored records to the machines, and then makes the data
// plane hold what they call for and nothing else of this role. It is called
// once, before Run and before any socket is read.
func (d *Driver) Restore(ctx context.Context, mine func(forward.Entry) bool) error {
	now := d.world.Now()
	var persistent []engine.Persistent
	for _, s := range d.shards {
		if p, ok := s.machine.(engine.Persistent); ok {
			persistent = append(persistent, p)
		}
	}
	if err := d.load(now, persistent); err != nil {
		return err
	}
	return d.repair(ctx, persistent, mine)
}

// loadBatch is how many records go to the machines at a time.
const loadBatch = 1024

// load reads the records and has each machine find its own among them, while
// the next ones are being read.
func (d *Driver) load(now engine.Now, machines []engine.Persistent) error {
	var restoring sync.WaitGroup
	errs := make([]error, len(machines))
	boxes := make([]chan *records, len(machines))
	for i, m := range machines {
		boxes[i] = make(chan *records, 4)
		restoring.Go(func() {
			for batch := range boxes[i] {
				for _, r := range batch.all {
					if errs[i] != nil {
						break
					}
					if err := m.Restore(now, r); err != nil {
						errs[i] = fmt.Errorf("drive: %s: stored record %q: %w", d.role, r.Key, err)
					}
				}
				batch.readers.Done()
			}
		})
	}
	// Batches go round: when the one that comes next was read is waited for.
	round, at := make([]records, 6), 0
	flush := func() {
		batch := &round[at%len(round)]
		batch.readers.Add(len(boxes))
		for _, box := range boxes {
			box <- batch
		}
		at++
		next := &round[at%len(round)]
		next.readers.Wait()
		next.all, next.octets = next.all[:0], next.octets[:0]
	}
	err := d.world.Store.Load(d.role, func(r engine.Record) error {
		batch := &round[at%len(round)]
		if batch.put(r); len(batch.all) == loadBatch {
			flush()
		}
		return nil
	})
	flush()
	for _, box := range boxes {
		close(box)
	}
	restoring.Wait()
	return cmp.Or(err, cmp.Or(errs...))
}

// records are some on their way to the machines. Those of the store do not last.
type records struct {
	all     []engine.Record
	octets  []byte
	readers sync.WaitGroup // the machines that have not read them yet
}

func (r *records) put(one engine.Record) {
	keep := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		from := len(r.octets)
		r.octets = append(r.octets, b...)
		return r.octets[from:len(r.octets):len(r.octets)]
	}
	r.all = append(r.all, engine.Record{Key: keep(one.Key), Value: keep(one.Value)})
}

// repairBatch is how many entries are applied at a time at a start.
const repairBatch = 4096

// repair makes the plane hold what the machines call for. Of a million entries
// none is kept here: what the plane has is mostly nothing, or what it itself
// finds to be the same.
func (d *Driver) repair(ctx context.Context, machines []engine.Persistent, mine func(forward.Entry) bool) error {
	have := make(map[forward.Key]forward.Entry)
	if a, ok := d.world.Plane.(forward.Adopter); !ok || !a.Adopts() {
		for e := range d.world.Plane.List(ctx) {
			if mine(e) {
				have[e.Key] = e
			}
		}
	}
	if err := d.put(ctx, machines, have); err != nil {
		return err
	}
	var changes []forward.Change
	for _, key := range slices.Sorted(maps.Keys(have)) {
		changes = append(changes, forward.Change{Op: forward.Delete, Entry: have[key]})
	}
	return d.apply(ctx, changes)
}

func (d *Driver) apply(ctx context.Context, changes []forward.Change) error {
	if len(changes) == 0 {
		return nil
	}
	if err := d.world.Plane.Apply(ctx, changes); err != nil {
		return fmt.Errorf("drive: %s: repair forwarding: %w", d.role, err)
	}
	return nil
}

// put applies the machines' entries but for those that are among have, which
// is left with what nobody calls for. Entries are made while others are being
// applied: that is half of the work, and there may be a second processor.
func (d *Driver) put(ctx context.Context, machines []engine.Persistent, have map[forward.Key]forward.Entry) error {
	ctx, cancel := context.WithCancel(ctx)
	full, empty := make(chan *repairs), make(chan *repairs, 2)
	defer func() {
		cancel()
		for range full { // until the other goroutine has ended: have is the caller's again
		}
	}()
	for range cap(empty) {
		empty <- &repairs{changes: make([]forward.Change, 0, repairBatch), tunnels: make([]forward.Tunnel, 0, repairBatch)}
	}
	go func() {
		defer close(full)
		var batch *repairs
		for _, p := range machines {
			for e := range p.Entries() {
				old, there := have[e.Key]
				if delete(have, e.Key); there && old.Equal(e) {
					continue
				}
				if batch == nil {
					select {
					case batch = <-empty:
					case <-ctx.Done():
						return
					}
				}
				if batch.put(&e); len(batch.changes) < repairBatch {
					continue
				}
				select {
				case full <- batch:
					batch = nil
				case <-ctx.Done():
					return
				}
			}
		}
		if batch != nil {
			select {
			case full <- batch:
			case <-ctx.Done():
			}
		}
	}()
	for batch := range full {
		if err := d.apply(ctx, batch.changes); err != nil {
			return err
		}
		batch.changes, batch.tunnels = batch.changes[:0], batch.tunnels[:0]
		empty <- batch
	}
	return ctx.Err()
}

// repairs are entries on their way to the plane, and their tunnels, of which
// the machine has only the last.
type repairs struct {
	changes []forward.Change
	tunnels []forward.Tunnel
}

func (r *repairs) put(e *forward.Entry) {
	from := len(r.tunnels)
	r.tunnels = append(r.tunnels, e.Tunnels...)
	r.changes = append(r.changes, forward.Change{Op: forward.Put, Entry: *e})
	r.changes[len(r.changes)-1].Entry.Tunnels = r.tunnels[from:len(r.tunnels):len(r.tunnels)]
}

// Run drives the machines until ctx ends. Commits that were handed over by
// then are finished.
func (d *Driver) Run(ctx context.Context) {
	var shards sync.WaitGroup
	for _, s := range d.shards {
		shards.Add(1)
		go func() {
			defer shards.Done()
			s.run(ctx)
		}()
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		d.writer.run()
	}()
	shards.Wait()
	d.writer.close()
	<-written
	d.mu.Lock()
	defer d.mu.Unlock()
	for ticket, answer := range d.waiting {
		answer <- engine.Result{Ticket: ticket, Err: ErrStopped}
		delete(d.waiting, ticket)
	}
}

// ErrStopped answers a command that the driver did not live to see answered.
var ErrStopped = errors.New("drive: the daemon is stopping")

// shardOf says which shard an event concerns; -1 is all of them.
func (d *Driver) shardOf(ev engine.Event) int {
	if len(d.shards) == 1 {
		return 0
	}
	return (*d.route.Load())(ev)
}

// Packet delivers a signalling message; its buffer is copied. When the
// machine is behind by many messages it is dropped: the sender will repeat it.
func (d *Driver) Packet(p engine.Packet) { d.admit(p) }

// Link delivers the state of an interface to all machines; more says that
// another's follows at once.
func (d *Driver) Link(l engine.Link, more bool) {
	d.deliver(engine.LinkChanged{Link: l, More: more}, false)
}

// PlaneEvent delivers an event of the data plane.
func (d *Driver) PlaneEvent(ev forward.Event) { d.deliver(engine.Plane{Event: ev}, true) }

// Discovery delivers an ICMP router discovery message; its buffer is copied.
func (d *Driver) Discovery(ev engine.Discovery) {
	ev.Data = append([]byte(nil), ev.Data...)
	d.deliver(ev, true)
}

// Bounced delivers an ICMP error about a signalling datagram; its buffer is
// copied.
func (d *Driver) Bounced(ev engine.Bounced) {
	ev.Data = append([]byte(nil), ev.Data...)
	d.deliver(ev, true)
}

func (d *Driver) deliver(ev engine.Event, droppable bool) {
	d.deliverTo(d.shardOf(ev), ev, droppable)
}

// deliverTo delivers to one shard, or to all when i is negative.
func (d *Driver) deliverTo(i int, ev engine.Event, droppable bool) {
	if i >= 0 {
		d.shards[i].box.put(ev, droppable)
		return
	}
	for _, s := range d.shards {
		s.box.put(ev, droppable)
	}
}

// Dropped counts the messages that were dropped because a machine was behind.
func (d *Driver) Dropped() uint64 {
	a := d.Admission()
	return a.Dropped + a.Shed
}

// Command puts an order or a question to the machine that route names, or to
// all, and returns their answers in order of shards.
func (d *Driver) Command(ctx context.Context, value any) ([]any, error) {
	var answers []any
	for i, s := range d.shards {
		if to := d.shardOf(engine.Command{Value: value}); to >= 0 && to != i {
			continue
		}
		reply := make(chan engine.Result, 1)
		d.mu.Lock()
		d.commands++
		ticket := d.commands
		d.waiting[ticket] = reply
		d.mu.Unlock()
		if !s.box.put(engine.Command{Ticket: ticket, Value: value}, false) {
			d.forget(ticket)
			return nil, ErrStopped
		}
		select {
		case r := <-reply:
			if r.Err != nil {
				return nil, r.Err
			}
			answers = append(answers, r.Value)
		case <-ctx.Done():
			d.forget(ticket)
			return nil, ctx.Err()
		}
	}
	return answers, nil
}

func (d *Driver) forget(ticket engine.Ticket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waiting, ticket)
}

func (d *Driver) result(r engine.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if answer := d.waiting[r.Ticket]; answer != nil {
		answer <- r
		delete(d.waiting, r.Ticket)
	}
}

// An outbox gathers messages that leave together. What else a peer or a
// neighbour may see waits for them, so that order is kept.
type outbox struct{ messages []engine.Send }

// outboxSize is how many messages wait for others at most.
const outboxSize = 256

func (d *Driver) flush(out *outbox) {
	refused := func(m *engine.Send, err error) {
		d.tell(note.Note{Kind: note.Failed, Level: note.Debug, Role: d.role, Endpoint: m.Dst, Link: m.Link, Why: err.Error()})
	}
	if d.world.SendAll != nil {
		d.world.SendAll(out.messages, refused)
	} else {
		for i := range out.messages {
			if err := d.world.Send(out.messages[i]); err != nil {
				refused(&out.messages[i], err)
			}
		}
	}
	clear(out.messages)
	out.messages = out.messages[:0]
}

// act executes actions in order on behalf of a shard. Messages may stay in the
// outbox: the caller flushes it.
func (d *Driver) act(ctx context.Context, s *shard, actions []engine.Action, out *outbox) {
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Send:
			if out.messages = append(out.messages, a); len(out.messages) >= outboxSize {
				d.flush(out)
			}
		case engine.Commit:
			d.writer.put(commit{a, s})
		case engine.Ask:
			d.ask(ctx, s, a)
		case engine.Tell:
			if a.Note.Role == "" {
				a.Note.Role = d.role
			}
			d.tell(a.Note)
		case engine.Result:
			d.result(a)
		case engine.Announce:
			d.flush(out)
			if err := d.world.Announce(a); err != nil {
				d.tell(note.Note{Kind: note.Failed, Level: note.Warn, Role: d.role, Link: a.Link, HomeAddress: a.Address, Why: err.Error()})
			}
		case engine.Originate:
			if err := d.originate(a.Packet); err != nil {
				d.tell(note.Note{Kind: note.Failed, Level: note.Debug, Role: d.role, Why: err.Error()})
			}
		case engine.SendDiscovery:
			d.flush(out)
			if err := d.discover(a); err != nil {
				d.tell(note.Note{Kind: note.Failed, Level: note.Debug, Role: d.role, Link: a.Link, Why: err.Error()})
			}
		default:
			panic(fmt.Sprintf("drive: unknown action %T", a))
		}
	}
}

func (d *Driver) originate(packet []byte) error {
	if d.world.Originate == nil {
		return errors.New("drive: this host sends no packets of its own into the tunnel")
	}
	return d.world.Originate(packet)
}

func (d *Driver) discover(a engine.SendDiscovery) error {
	if d.world.Discover == nil {
		return errors.New("drive: this host sends no router discovery messages")
	}
	return d.world.Discover(a)
}

// ask answers a question without keeping anybody waiting.
func (d *Driver) ask(ctx context.Context, s *shard, a engine.Ask) {
	switch q := a.Question.(type) {
	case engine.LastUse:
		s.box.put(engine.Answer{Ticket: a.Ticket, Value: d.world.Plane.Use(q.Key)}, false)
	case engine.Traffic:
		s.box.put(engine.Answer{Ticket: a.Ticket, Value: d.world.Plane.Counters(q.Key)}, false)
	case forward.Carried:
		if p, learns := d.world.Plane.(forward.Learner); learns {
			p.Learn(q)
		}
		s.box.put(engine.Answer{Ticket: a.Ticket}, false)
	case aaa.Authenticate, aaa.Authorise, aaa.Account, realm.Forward:
		answer := func(value any, err error) {
			s.box.put(engine.Answer{Ticket: a.Ticket, Value: value, Err: err}, false)
		}
		if d.world.AAA == nil {
			answer(nil, aaa.ErrUnavailable)
			return
		}
		d.world.AAA(ctx, q, answer)
	case engine.Resolve:
		go func() {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			addrs, err := d.world.Resolve(ctx, q.Name)
			s.box.put(engine.Answer{Ticket: a.Ticket, Value: addrs, Err: err}, false)
		}()
	default:
		s.box.put(engine.Answer{Ticket: a.Ticket, Err: fmt.Errorf("drive: nobody answers %T", q)}, false)
	}
}

func (d *Driver) tell(n note.Note) {
	if d.world.Note != nil {
		d.world.Note(n)
	}
}
