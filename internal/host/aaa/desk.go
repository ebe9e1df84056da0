package aaa

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/ident"
)

// An Answerer answers an [aaa.Authenticate] or an [aaa.Authorise]. It may take
// its time, and is asked many things at once.
type Answerer interface {
	Answer(ctx context.Context, question any) (aaa.Grant, error)
}

// Limits bound what strangers can ask for. Zero fields mean the defaults.
type Limits struct {
	Questions int // a second, with a burst of twice as many: 50
	PerSource int // open at a time: 16
	PerNAI    int // open at a time: 4
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		p *int
		v int
	}{{&l.Questions, 50}, {&l.PerSource, 16}, {&l.PerNAI, 4}} {
		if *d.p == 0 {
			*d.p = d.v
		}
	}
	return l
}

// Remembered answers to [aaa.Authorise]: many wrong requests under one name cost
// one question. Answers to [aaa.Authenticate] are never used twice.
const (
	goodFor   = time.Minute
	badFor    = 30 * time.Second
	mostKnown = 1 << 16
)

// A Desk puts questions to an [Answerer]. It is safe for concurrent use.
type Desk struct {
	now func() time.Time

	mu       sync.Mutex
	answerer Answerer
	limits   Limits
	tokens   float64
	filled   time.Time
	bySource map[netip.Addr]int
	byNAI    map[ident.NAI]int
	open     map[asked][]func(any, error) // who waits for the same answer
	known    map[asked]remembered
	counters Counters
}

// An asked is what an [aaa.Authorise] asks.
type asked struct {
	nai ident.NAI
	spi uint32
}

type remembered struct {
	grant aaa.Grant
	err   error
	until time.Time
}

// Counters count questions by what became of them.
type Counters struct {
	Asked       uint64 `json:"asked"`
	Granted     uint64 `json:"granted"`
	Rejected    uint64 `json:"rejected"`
	Unavailable uint64 `json:"unavailable"`
	Limited     uint64 `json:"limited"`    // not asked: too many
	Remembered  uint64 `json:"remembered"` // answered without asking
}

// New makes a desk.
func New(a Answerer, l Limits) *Desk {
	l = l.withDefaults()
	return &Desk{
		answerer: a, limits: l, now: time.Now, tokens: float64(2 * l.Questions),
		bySource: make(map[netip.Addr]int), byNAI: make(map[ident.NAI]int),
		open: make(map[asked][]func(any, error)), known: make(map[asked]remembered),
	}
}

// Reconfigure has questions put to another answerer from now on, and within other
// limits. Those that are open get their answers from the one that they were put
// to, and what is remembered stays.
func (d *Desk) Reconfigure(a Answerer, l Limits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answerer, d.limits = a, l.withDefaults()
}

// Answerer is to whom questions are put.
func (d *Desk) Answerer() Answerer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answerer
}

// Counters are the present counts.
func (d *Desk) Counters() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counters
}

// Ask puts a question; answer is called once, at once or from another
// goroutine. A question that is beyond the limits is answered with
// [aaa.ErrLimited].
func (d *Desk) Ask(ctx context.Context, question any, answer func(any, error)) {
	var who aaa.Subject
	switch q := question.(type) {
	case aaa.Authenticate:
		who = q.Subject
	case aaa.Authorise:
		who = q.Subject
		if d.answered(asked{q.NAI, q.SPI}, answer) {
			return
		}
	default:
		answer(nil, fmt.Errorf("aaa: no such question: %T", question))
		return
	}
	leave, err := d.enter(who)
	if err != nil {
		if q, ok := question.(aaa.Authorise); ok {
			d.settle(asked{q.NAI, q.SPI}, aaa.Grant{}, err)
		}
		answer(nil, err)
		return
	}
	answerer := d.Answerer()
	go func() {
		grant, err := answerer.Answer(ctx, question)
		leave()
		d.count(err)
		if q, ok := question.(aaa.Authorise); ok {
			d.settle(asked{q.NAI, q.SPI}, grant, err)
		}
		if err != nil {
			answer(nil, err)
			return
		}
		answer(grant, nil)
	}()
}

// answered says whether the question needs not be asked: its answer is known,
// or is on its way.
func (d *Desk) answered(a asked, answer func(any, error)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k, ok := d.known[a]; ok && d.now().Before(k.until) {
		d.counters.Remembered++
		go give(answer, k.grant, k.err)
		return true
	}
	if waiting, ok := d.open[a]; ok {
		if len(waiting) >= d.limits.PerNAI {
			d.counters.Limited++
			go answer(nil, fmt.Errorf("aaa: %s: %w", a.nai, aaa.ErrLimited))
			return true
		}
		d.open[a] = append(waiting, answer)
		return true
	}
	d.open[a] = nil
	return false
}

func give(answer func(any, error), g aaa.Grant, err error) {
	if err != nil {
		answer(nil, err)
		return
	}
	answer(g, nil)
}

// settle answers those who waited for the same, and remembers a server's word.
func (d *Desk) settle(a asked, g aaa.Grant, err error) {
	d.mu.Lock()
	waiting := d.open[a]
	delete(d.open, a)
	now := d.now()
	if err == nil || errors.Is(err, aaa.ErrRejected) {
		for k, r := range d.known {
			if len(d.known) < mostKnown {
				break
			}
			if !now.Before(r.until) || len(d.known) >= mostKnown {
				delete(d.known, k)
			}
		}
		lasts := goodFor
		if err != nil {
			lasts = badFor
		} else if g.Lifetime > 0 {
			lasts = min(lasts, g.Lifetime)
		}
		d.known[a] = remembered{g, err, now.Add(lasts)}
	}
	d.mu.Unlock()
	for _, answer := range waiting {
		give(answer, g, err)
	}
}

// Forget forgets what is remembered of a node, or of all when nai is empty: AAA
// has said something else.
func (d *Desk) Forget(nai ident.NAI) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a := range d.known {
		if nai == "" || a.nai == nai {
			delete(d.known, a)
		}
	}
}

// ForgetRefusals forgets whom AAA has refused: somebody else is asked now.
func (d *Desk) ForgetRefusals() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a, k := range d.known {
		if k.err != nil {
			delete(d.known, a)
		}
	}
}

// enter takes a question within the limits; leave is to be called when it has
// been answered. Nodes that are registered are not held back by the rate.
func (d *Desk) enter(who aaa.Subject) (leave func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if !d.filled.IsZero() {
		d.tokens = min(float64(2*d.limits.Questions), d.tokens+now.Sub(d.filled).Seconds()*float64(d.limits.Questions))
	}
	d.filled = now
	source, name := who.Source, who.NAI
	over := d.byNAI[name] >= d.limits.PerNAI
	if !who.Registered {
		over = over || d.tokens < 1 || d.bySource[source] >= d.limits.PerSource
	}
	if over {
		d.counters.Limited++
		return nil, fmt.Errorf("aaa: %s: %w", name, aaa.ErrLimited)
	}
	if !who.Registered {
		d.tokens--
	}
	d.counters.Asked++
	d.bySource[source]++
	d.byNAI[name]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		less(d.bySource, source)
		less(d.byNAI, name)
	}, nil
}

func less[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

func (d *Desk) count(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.counters.Granted++
	case errors.Is(err, aaa.ErrRejected):
		d.counters.Rejected++
	default:
		d.counters.Unavailable++
	}
}

// First answers about whom a book knows from there, and asks another about
// everybody else.
type First struct {
	Book aaa.Book
	Then Answerer
}

// Answer implements [Answerer].
func (f First) Answer(ctx context.Context, question any) (aaa.Grant, error) {
	var who ident.NAI
	switch q := question.(type) {
	case aaa.Authenticate:
		who = q.NAI
	case aaa.Authorise:
		who = q.NAI
	}
	if _, known := f.Book[who]; known {
		return f.Book.Answer(question, rand.Reader)
	}
	return f.Then.Answer(ctx, question)
}

// ByProof asks one about requests with a Mobile-AAA authenticator, and another
// about everything else.
type ByProof struct{ Proven, Others Answerer }

// Answer implements [Answerer].
func (b ByProof) Answer(ctx context.Context, question any) (aaa.Grant, error) {
	if _, ok := question.(aaa.Authenticate); ok {
		return b.Proven.Answer(ctx, question)
	}
	return b.Others.Answer(ctx, question)
}

// Book answers from the configuration.
type Book struct{ aaa.Book }

// Answer implements [Answerer].
func (b Book) Answer(_ context.Context, question any) (aaa.Grant, error) {
	return b.Book.Answer(question, rand.Reader)
}
