package aaa_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	question "careof/internal/core/aaa"
	"careof/internal/core/ident"
	"careof/internal/host/aaa"
)

// A million answers to a foreign agent's challenges under ever other names, ten
// thousand a second and all without an address yet, reach the server no faster
// than the cap; each visitor that is registered is asked about whenever it renews,
// with the server half a second away.
func TestAMillionVisitorsReachTheServerNoFasterThanTheCap(t *testing.T) {
	strangers, perMillisecond := 1_000_000, 10
	if testing.Short() {
		strangers = 100_000
	}
	synctest.Test(t, func(t *testing.T) {
		const perSecond, visitors = 50, 50
		var mu sync.Mutex
		var about []time.Time
		served := make(map[ident.NAI]int)
		d := aaa.New(answerer(func(_ context.Context, q any) (question.Grant, error) {
			a := q.(question.Authenticate)
			mu.Lock()
			if !a.Registered {
				about = append(about, time.Now())
			}
			mu.Unlock()
			time.Sleep(500 * time.Millisecond) // virtual
			if !a.Registered {
				return question.Grant{}, question.ErrRejected
			}
			return question.Grant{}, nil
		}), aaa.Limits{Questions: perSecond, PerSource: 100})
		ask := func(nai ident.NAI, registered bool) {
			q := asking()
			q.NAI, q.Registered, q.Source = nai, registered, netip.IPv4Unspecified()
			d.Ask(t.Context(), q, func(_ any, err error) {
				switch {
				case registered && err != nil:
					t.Errorf("%s, which is registered: %v", nai, err)
				case registered:
					mu.Lock()
					served[nai]++
					mu.Unlock()
				case !errors.Is(err, question.ErrLimited) && !errors.Is(err, question.ErrRejected):
					t.Errorf("a stranger: %v", err)
				}
			})
		}
		began := time.Now()
		renewals := 0
		for ms := 0; ms*perMillisecond < strangers; ms++ {
			for i := range perMillisecond {
				ask(identNAI(ms*perMillisecond+i), false)
			}
			if ms%2000 == 0 {
				renewals++
				for v := range visitors {
					ask(identNAI(-1-v), true)
				}
			}
			time.Sleep(time.Millisecond)
		}
		took := time.Since(began)
		synctest.Wait()
		time.Sleep(time.Second)
		level, last := 0.0, began
		for _, at := range about {
			level = max(0, level-at.Sub(last).Seconds()*perSecond) + 1
			last = at
			if level > 2*perSecond+1 {
				t.Fatalf("%v into the flood the server is asked faster than %d a second", at.Sub(began), perSecond)
			}
		}
		if len(about) < int(took.Seconds())*perSecond/2 {
			t.Errorf("the server was asked about %d strangers in %v: the flood did not arrive", len(about), took)
		}
		for v := range visitors {
			if n := served[identNAI(-1-v)]; n != renewals {
				t.Errorf("visitor %d was answered %d times, of %d", v, n, renewals)
			}
		}
		t.Logf("%d strangers in %v of virtual time: %d questions about them; each of %d visitors was answered %d times", strangers, took, len(about), visitors, renewals)
	})
}
