package live

import (
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// A node is revoked with one message: from the order on nothing reaches it,
// and it agrees. One that is blocked stays out while either end is started
// anew, and comes back when it is let in.
//
//rfc:3543#3.2
func TestARevokedNodeIsOffAndABlockedOneStaysOut(t *testing.T) {
	t.Parallel()
	l := build(t, topology.Default(), Options{})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	s.Plug("mn", "wlan0", "access1")
	in := func() bool { return s.Binding("mn").Registered }
	s.Until("the node is registered", 15*time.Second, in)
	down := s.Flow("cn", "mn", 5*time.Millisecond)
	s.Wait(time.Second)
	began := s.Now()
	done, err := l.Daemon("ha").client.Revoke(t.Context(), control.RevokeOrder{Node: "10.10.0.5", Block: true})
	took := s.Now() - began
	if err != nil {
		t.Fatal(err)
	}
	if done.Bindings != 1 || !done.Blocked || len(done.Peers) != 1 || !done.Peers[0].Acknowledged {
		t.Errorf("the order came to %+v", done)
	}
	s.Wait(500 * time.Millisecond)
	// The last datagram that got through was sent before the home agent obeyed.
	through := began
	for at := began; at < s.Now()-200*time.Millisecond; at += 5 * time.Millisecond {
		if down.Report(at, at+5*time.Millisecond).Received > 0 {
			through = at
		}
	}
	t.Logf("off %v after the order, agreed to %v after it; the round trip is %v", through-began, took.Round(time.Millisecond), scene.PathRTT)
	if through-began > 2*time.Second {
		t.Errorf("datagrams got through %v after the order", through-began)
	}
	out := func(when string) {
		t.Helper()
		began := s.Now()
		s.Wait(2 * time.Second)
		if r := down.Report(began, s.Now()-200*time.Millisecond); r.Received > 0 || r.Sent == 0 {
			t.Errorf("%s, %d of %d datagrams get through", when, r.Received, r.Sent)
		}
		if b := s.Binding("mn"); b.Registered {
			t.Errorf("%s, the node is registered: %+v", when, b)
		}
	}
	out("blocked")
	s.Kill("ha")
	s.Start("ha")
	out("after the home agent's restart")
	s.Kill("mn")
	s.Start("mn")
	out("after the node's restart")
	if _, err := l.Daemon("ha").client.Unblock(t.Context(), "10.10.0.5"); err != nil {
		t.Fatal(err)
	}
	s.Unplug("mn", "wlan0")
	s.Plug("mn", "wlan0", "access1")
	s.Until("the node is let in again", 30*time.Second, in)
	s.Until("it is reached", 10*time.Second, func() bool { return s.Reaches("cn", "mn") })
}
