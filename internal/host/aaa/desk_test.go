package aaa_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	question "careof/internal/core/aaa"
	"careof/internal/host/aaa"
)

// A question waits for its answer and nobody else does; beyond the limits it is
// refused without being asked, unless the node is registered.
func TestADeskBoundsWhatStrangersAsk(t *testing.T) {
	release := make(chan struct{})
	var asked atomic.Int64
	d := aaa.New(answerer(func(ctx context.Context, q any) (question.Grant, error) {
		asked.Add(1)
		<-release
		return question.Grant{}, nil
	}), aaa.Limits{Questions: 10, PerSource: 1000, PerNAI: 2})
	answers := make(chan error, 100000)
	const strangers = 5000
	for i := range strangers {
		q := question.Authorise{SPI: 300}
		q.NAI, q.Source = identNAI(i), netip.MustParseAddr("192.0.2.1")
		d.Ask(t.Context(), q, func(_ any, err error) { answers <- err })
	}
	known := question.Authorise{SPI: 300}
	known.NAI, known.Registered = "van7@fleet.example", true
	d.Ask(t.Context(), known, func(_ any, err error) {
		if err != nil {
			t.Errorf("a registered node's question: %v", err)
		}
		answers <- err
	})
	close(release)
	limited := 0
	for range strangers + 1 {
		select {
		case err := <-answers:
			if errors.Is(err, question.ErrLimited) {
				limited++
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a question was never answered")
		}
	}
	if n := int(asked.Load()); n < 20 || n > 60 || limited != strangers+1-n {
		t.Errorf("%d of %d questions were asked, %d refused", n, strangers, limited)
	}
}

// Wrong requests under one name cost one question.
func TestADeskRemembers(t *testing.T) {
	var asked atomic.Int64
	d := aaa.New(answerer(func(context.Context, any) (question.Grant, error) {
		asked.Add(1)
		return question.Grant{}, fmt.Errorf("no: %w", question.ErrRejected)
	}), aaa.Limits{})
	ask := func() {
		done := make(chan error, 1)
		q := question.Authorise{SPI: 300}
		q.NAI = "nobody@fleet.example"
		d.Ask(t.Context(), q, func(_ any, err error) { done <- err })
		if err := <-done; !errors.Is(err, question.ErrRejected) {
			t.Errorf("%v", err)
		}
	}
	for range 100 {
		ask()
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	d.Forget("nobody@fleet.example")
	ask()
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times after being told to forget", n)
	}
}
