package engine

import "fmt"

// A Verdict is what a hook says about the exchange it was shown.
type Verdict struct {
	kind     verdictKind
	Code     uint8  // Deny: the reply code
	Why      string // Deny, Drop: one short clause for people
	Question any    // Await: what to ask
}

type verdictKind uint8

const (
	next verdictKind = iota
	deny
	drop
	await
	done
)

// Next lets the exchange go on to the next hook.
func Next() Verdict { return Verdict{} }

// Deny refuses the request with a reply code of the protocol.
func Deny(code uint8, why string) Verdict { return Verdict{kind: deny, Code: code, Why: why} }

// Drop discards the message without a reply.
func Drop(why string) Verdict { return Verdict{kind: drop, Why: why} }

// Await parks the exchange until question is answered; the same hook is then
// run again, and finds the answer in the exchange.
func Await(question any) Verdict { return Verdict{kind: await, Question: question} }

// Done says that the hook has dealt with the message completely.
func Done() Verdict { return Verdict{kind: done} }

// IsNext, IsDeny, IsDrop, IsAwait and IsDone tell verdicts apart.
func (v Verdict) IsNext() bool  { return v.kind == next }
func (v Verdict) IsDeny() bool  { return v.kind == deny }
func (v Verdict) IsDrop() bool  { return v.kind == drop }
func (v Verdict) IsAwait() bool { return v.kind == await }
func (v Verdict) IsDone() bool  { return v.kind == done }

func (v Verdict) String() string {
	switch v.kind {
	case deny:
		return fmt.Sprintf("deny %d: %s", v.Code, v.Why)
	case drop:
		return "drop: " + v.Why
	case await:
		return fmt.Sprintf("await %T", v.Question)
	case done:
		return "done"
	}
	return "next"
}

// A Stage is a named point in the processing of an exchange X, at which the
// base protocol and the features run their hooks in order. Names and order of
// stages are those of the RFC's own processing order, so that the printed
// list is documentation.
type Stage[X any] struct {
	Name    string
	Section string // of the RFC: "5944#3.8.2.1"
	Doc     string // when it runs and what a hook may change
	hooks   []hook[X]
	judge   func(X) Verdict
}

type hook[X any] struct {
	feature, name string
	run           func(X) Verdict
}

// Add appends a hook. feature is the name of the feature that owns it ("base"
// for the role itself), name says what the hook does in a word or two. A hook
// that is there already is a programmer's mistake.
func (s *Stage[X]) Add(feature, name string, run func(X) Verdict) {
	for _, h := range s.hooks {
		if h.feature == feature && h.name == name {
			panic(fmt.Sprintf("engine: stage %s has hook %s/%s twice", s.Name, feature, name))
		}
	}
	s.hooks = append(s.hooks, hook[X]{feature, name, run})
}

// Judge sets the base's last word of the stage: it runs after the last hook
// and judges the facts that hooks may have replaced, so that a feature can
// make legitimate what the base alone would refuse.
func (s *Stage[X]) Judge(run func(X) Verdict) { s.judge = run }

// Hooks lists "feature/name" of every hook in order.
func (s *Stage[X]) Hooks() []string {
	var names []string
	for _, h := range s.hooks {
		names = append(names, h.feature+"/"+h.name)
	}
	if s.judge != nil {
		names = append(names, "base/judge")
	}
	return names
}

// A Pipeline is the list of stages an exchange passes.
type Pipeline[X any] []*Stage[X]

// A Position is where in a pipeline an exchange stands. The zero value is the
// beginning.
type Position struct{ Stage, Hook int }

// Run runs hooks from *at on, until one says something other than Next; *at
// is then that hook, so that a parked exchange resumes at the same place. A
// Next comes back when the pipeline has been passed.
func (p Pipeline[X]) Run(x X, at *Position) Verdict {
	for ; at.Stage < len(p); at.Stage, at.Hook = at.Stage+1, 0 {
		s := p[at.Stage]
		for ; at.Hook < len(s.hooks); at.Hook++ {
			if v := s.hooks[at.Hook].run(x); !v.IsNext() {
				return v
			}
		}
		if s.judge != nil {
			if v := s.judge(x); !v.IsNext() {
				return v
			}
		}
	}
	return Next()
}

// StageInfo describes a stage for `careof show stages`.
type StageInfo struct {
	Role    string   `json:"role"`
	Stage   string   `json:"stage"`
	Section string   `json:"section"`
	Doc     string   `json:"doc"`
	Hooks   []string `json:"hooks"`
}

// Describe lists the pipeline's stages.
func (p Pipeline[X]) Describe(role string) []StageInfo {
	var list []StageInfo
	for _, s := range p {
		list = append(list, StageInfo{role, s.Name, s.Section, s.Doc, s.Hooks()})
	}
	return list
}
