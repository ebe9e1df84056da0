package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAnAgendaComesInOrderOfTimeAndThenOfKey(t *testing.T) {
	start := time.Unix(1000, 0)
	rapid.Check(t, func(t *rapid.T) {
		var a Agenda[string]
		model := make(map[string]time.Time)
		for range rapid.IntRange(0, 50).Draw(t, "operations") {
			key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "key")
			if rapid.Bool().Draw(t, "clear") {
				a.Clear(key)
				delete(model, key)
			} else {
				at := start.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "at")) * time.Second)
				a.Set(key, at)
				model[key] = at
			}
		}
		var want []string
		for key, at := range model {
			want = append(want, fmt.Sprintf("%d %s", at.Unix(), key))
		}
		slices.Sort(want)
		var got []string
		for {
			look := a.Next()
			key, ok := a.Due(start.Add(time.Hour))
			if !ok {
				break
			}
			if look.IsZero() || look.After(model[key]) {
				t.Fatalf("the next look is at %v, and %s is due at %v", look, key, model[key])
			}
			got = append(got, fmt.Sprintf("%d %s", model[key].Unix(), key))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("came out as %v, want %v", got, want)
		}
	})
}

func TestNothingIsDueBeforeItsTime(t *testing.T) {
	start := time.Unix(1000, 0)
	var a Agenda[int]
	a.Set(1, start)
	if _, ok := a.Due(start.Add(-1)); ok {
		t.Error("due a nanosecond early")
	}
	if key, ok := a.Due(start); !ok || key != 1 {
		t.Error("not due at its time")
	}
	a.Set(2, start)
	a.Set(2, time.Time{})
	if !a.Next().IsZero() {
		t.Error("the zero time did not clear")
	}
}

type talk struct {
	said   []string
	answer any
}

func (x *talk) say(s string) Verdict { x.said = append(x.said, s); return Next() }

func TestHooksRunInOrderAndTheJudgeLast(t *testing.T) {
	first, second := &Stage[*talk]{Name: "First"}, &Stage[*talk]{Name: "Second"}
	first.Judge(func(x *talk) Verdict { return x.say("judge") })
	first.Add("base", "one", func(x *talk) Verdict { return x.say("one") })
	first.Add("feature", "two", func(x *talk) Verdict { return x.say("two") })
	second.Add("base", "three", func(x *talk) Verdict { return x.say("three") })
	p := Pipeline[*talk]{first, second}
	var x talk
	var at Position
	if v := p.Run(&x, &at); !v.IsNext() {
		t.Errorf("verdict %v", v)
	}
	if want := []string{"one", "two", "judge", "three"}; !slices.Equal(x.said, want) {
		t.Errorf("said %v, want %v", x.said, want)
	}
	if got := p.Describe("talker")[0].Hooks; !slices.Equal(got, []string{"base/one", "feature/two", "base/judge"}) {
		t.Errorf("described as %v", got)
	}
}

func TestAParkedExchangeResumesAtTheSameHook(t *testing.T) {
	s := &Stage[*talk]{Name: "Only"}
	s.Add("base", "before", func(x *talk) Verdict { return x.say("before") })
	s.Add("feature", "asks", func(x *talk) Verdict {
		if x.answer == nil {
			return Await("who?")
		}
		return x.say(fmt.Sprint("answer ", x.answer))
	})
	s.Add("base", "after", func(x *talk) Verdict { return Deny(7, "enough") })
	p := Pipeline[*talk]{s}
	var x talk
	var at Position
	if v := p.Run(&x, &at); !v.IsAwait() || v.Question != "who?" {
		t.Fatalf("verdict %v, want a question", v)
	}
	x.answer = 42
	v := p.Run(&x, &at)
	if !v.IsDeny() || v.Code != 7 || v.Why != "enough" {
		t.Errorf("verdict %v, want the denial", v)
	}
	if want := []string{"before", "answer 42"}; !slices.Equal(x.said, want) {
		t.Errorf("said %v, want %v: no hook runs twice", x.said, want)
	}
}

func TestAHookThatIsThereAlreadyIsAMistake(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the second hook of one name was taken")
		}
	}()
	var s Stage[*talk]
	s.Add("base", "one", func(*talk) Verdict { return Next() })
	s.Add("base", "one", func(*talk) Verdict { return Next() })
}

func TestEarliestIgnoresZero(t *testing.T) {
	at := []time.Time{{}, time.Unix(9, 0), {}, time.Unix(3, 0), time.Unix(5, 0)}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
	if got := Earliest(at...); !got.Equal(time.Unix(3, 0)) {
		t.Errorf("earliest is %v", got)
	}
	if !Earliest().IsZero() || !Earliest(time.Time{}).IsZero() {
		t.Error("the earliest of nothing is something")
	}
}

func TestADeskHandsAnswersToWhoeverAsked(t *testing.T) {
	d := Desk{Role: "clerk"}
	d.Begin(Now{})
	var heard []string
	d.Ask("who?", func(a Answer) { heard = append(heard, fmt.Sprint(a.Value)) })
	d.Commit(Commit{}, func(err error) { heard = append(heard, fmt.Sprint(err)) })
	acts := d.End()
	if len(acts) != 2 {
		t.Fatalf("%d actions, want the question and the commit", len(acts))
	}
	ask, commit := acts[0].(Ask), acts[1].(Commit)
	for range 2 { // the second time nobody waits any more
		d.Answered(Answer{Ticket: commit.Ticket, Err: fmt.Errorf("full")})
		d.Answered(Answer{Ticket: ask.Ticket, Value: "me"})
	}
	if want := []string{"full", "me"}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
}

func TestADeskAnswersEveryCommandOnce(t *testing.T) {
	d := Desk{Role: "clerk"}
	AddCommand(&d, func(n int) (any, error) { return 2 * n, nil })
	for _, c := range []struct {
		command, want any
		err           string
	}{{command: 21, want: 42}, {command: "21", err: "clerk: unknown command string"}} {
		d.Begin(Now{})
		d.Command(Command{Ticket: 7, Value: c.command})
		acts := d.End()
		if len(acts) != 1 {
			t.Fatalf("%v gave %d actions", c.command, len(acts))
		}
		r := acts[0].(Result)
		if r.Ticket != 7 || r.Value != c.want || (r.Err == nil) != (c.err == "") || r.Err != nil && r.Err.Error() != c.err {
			t.Errorf("%v gave %+v", c.command, r)
		}
	}
}

func TestADeskMeetsDeadlinesWhenTheyHaveCome(t *testing.T) {
	var d Desk
	at, met := time.Unix(5, 0), 0
	d.AddTimer(func() time.Time { return at }, func() { met++; at = time.Time{} })
	d.AddTimer(func() time.Time { return time.Time{} }, func() { t.Error("a timer without a deadline was due") })
	for s := range int64(10) {
		d.Begin(Now{Mono: time.Unix(s, 0)})
		if d.Due(); (met == 1) != (s >= 5) {
			t.Fatalf("after %d s met %d times", s, met)
		}
	}
	if !d.Next().IsZero() {
		t.Error("a deadline is left")
	}
}

func TestARingRemembersTheLatest(t *testing.T) {
	r := Ring[int]{Limit: 3}
	for i := range 8 {
		r.Add(i)
	}
	if got := slices.Collect(r.All()); !slices.Equal(got, []int{7, 6, 5}) {
		t.Errorf("remembers %v", got)
	}
	(&Ring[int]{}).Add(1) // no room at all
}

func TestACopySharesTheFactsThatWereThere(t *testing.T) {
	type thing struct{ Slots }
	mine, other := new(Slot[int]), new(Slot[int])
	var x thing
	*mine.Of(&x) = 1
	y := thing{Slots: x.Slots}
	*mine.Of(&y)++
	if *mine.Of(&x) != 2 || *other.Of(&y) != 0 {
		t.Errorf("%d and %d, want 2 and 0", *mine.Of(&x), *other.Of(&y))
	}
}
