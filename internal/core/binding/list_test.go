package binding_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/binding"
	"careof/internal/core/forward"
	"careof/wire/encap"
)

var start = time.Unix(1000, 0)

func at(host byte, lifetime time.Duration, now time.Time) binding.Binding {
	careOf := netip.AddrFrom4([4]byte{192, 0, 2, host})
	b := binding.Binding{
		ID: binding.ByCareOf(careOf), CareOfAddress: careOf, Since: now,
		Tunnel: forward.Tunnel{Peer: netip.AddrPortFrom(careOf, 0), Encap: encap.IPIP},
	}
	b.Grant(now, lifetime)
	return b
}

func tunnels(t *testing.T, l *binding.List, now time.Time) (live, draining []byte) {
	t.Helper()
	e, ok := l.Entry("k", netip.MustParsePrefix("10.10.0.5/32"), "", now)
	if !ok {
		return nil, nil
	}
	for _, tn := range e.Tunnels {
		host := tn.Peer.Addr().As4()[3]
		if tn.Mode == forward.Receive {
			draining = append(draining, host)
		} else {
			live = append(live, host)
		}
	}
	return live, draining
}

func TestPut(t *testing.T) {
	type step struct {
		host byte
		keep bool
		wait time.Duration // before it
	}
	for _, c := range []struct {
		name           string
		steps          []step
		change         binding.Change
		live, draining []byte
	}{
		{"first", []step{{host: 1}}, binding.Added, []byte{1}, nil},
		{"refresh", []step{{host: 1}, {host: 1}}, binding.Same, []byte{1}, nil},
		{"move", []step{{host: 1}, {host: 2}}, binding.Altered, []byte{2}, []byte{1}},
		{"move and back", []step{{host: 1}, {host: 2}, {host: 1}}, binding.Altered, []byte{1}, []byte{2}},
		{"drained", []step{{host: 1}, {host: 2}, {host: 2, wait: 2 * time.Second}}, binding.Same, []byte{2}, nil},
		{"still draining", []step{{host: 1}, {host: 2}, {host: 2, wait: 1999 * time.Millisecond}}, binding.Same, []byte{2}, []byte{1}},
		{"kept", []step{{host: 2}, {host: 1, keep: true}}, binding.Altered, []byte{1, 2}, nil},
		{"refresh of a kept one", []step{{host: 2}, {host: 1, keep: true}, {host: 2, keep: true}}, binding.Same, []byte{1, 2}, nil},
		{"at most two drain", []step{{host: 1}, {host: 2}, {host: 3}, {host: 4}}, binding.Altered, []byte{4}, []byte{2, 3}},
		{"a refresh without keep ends the others", []step{{host: 1}, {host: 2, keep: true}, {host: 1}}, binding.Altered, []byte{1}, []byte{2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l binding.List
			var change binding.Change
			now := start
			for _, s := range c.steps {
				now = now.Add(s.wait)
				change, _ = l.Put(at(s.host, time.Minute, now), s.keep, now)
			}
			live, draining := tunnels(t, &l, now)
			if change != c.change || !slices.Equal(live, c.live) || !slices.Equal(draining, c.draining) {
				t.Errorf("change %d live %v draining %v, want %d %v %v", change, live, draining, c.change, c.live, c.draining)
			}
		})
	}
}

// The same care-of address from a new outer endpoint replaces the binding, and
// keeps when it began.
func TestSameIDFromAnotherEndpoint(t *testing.T) {
	var l binding.List
	l.Put(at(1, time.Minute, start), false, start)
	later := start.Add(10 * time.Second)
	b := at(1, time.Minute, later)
	b.Tunnel.Peer = netip.MustParseAddrPort("203.0.113.5:4000")
	change, removed := l.Put(b, true, later)
	if change != binding.Altered || len(removed) != 0 || l.Len() != 1 {
		t.Fatalf("change %d, removed %v, %d left", change, removed, l.Len())
	}
	if got, _ := l.Get(b.ID); !got.Since.Equal(start) || got.Tunnel.Peer != b.Tunnel.Peer {
		t.Errorf("binding %+v", got)
	}
	if d := l.Draining(later); len(d) != 1 || d[0].Peer.Addr() != b.CareOfAddress {
		t.Errorf("draining %+v", d)
	}
}

// A tunnel does not drain beyond its own lifetime, and never when it could not
// receive.
func TestDrainIsBounded(t *testing.T) {
	var l binding.List
	l.Put(at(1, time.Second, start), false, start)
	l.Put(at(2, time.Minute, start), false, start)
	if d := l.Draining(start); len(d) != 1 || !d[0].Until.Equal(start.Add(time.Second)) {
		t.Errorf("draining %+v", d)
	}
	l = binding.List{}
	b := at(1, time.Minute, start)
	b.Tunnel.Mode = forward.Send
	l.Put(b, false, start)
	b = at(2, time.Minute, start)
	b.Tunnel.AnyPort = true
	l.Put(b, false, start)
	l.Put(at(3, time.Minute, start), false, start)
	if d := l.Draining(start); len(d) != 0 {
		t.Errorf("draining %+v", d)
	}
}

// Deregistration never drains; expiry takes what is due and nothing else.
func TestRemoveAndExpire(t *testing.T) {
	var l binding.List
	l.Put(at(1, time.Minute, start), false, start)
	l.Put(at(2, time.Minute, start), false, start)
	if b, ok := l.Remove(at(2, 0, start).ID); !ok || b.CareOfAddress.As4()[3] != 2 {
		t.Fatal("not removed")
	}
	if live, draining := tunnels(t, &l, start); live != nil || draining != nil {
		t.Errorf("left %v %v", live, draining)
	}
	l.Put(at(1, time.Minute, start), true, start)
	l.Put(at(2, 2*time.Minute, start), true, start)
	l.Put(at(3, binding.Infinite, start), true, start)
	if !l.Next().Equal(start.Add(time.Minute)) {
		t.Errorf("next %v", l.Next())
	}
	if e := l.Expire(start.Add(time.Minute - 1)); len(e) != 0 {
		t.Errorf("expired early: %v", e)
	}
	if e := l.Expire(start.Add(time.Minute)); len(e) != 1 || e[0].CareOfAddress.As4()[3] != 1 {
		t.Errorf("expired %v", e)
	}
	l.Expire(start.Add(1000 * time.Hour))
	if l.Len() != 1 || !l.Next().IsZero() {
		t.Error("an infinite binding expired")
	}
	if len(l.Clear()) != 1 || l.Len() != 0 {
		t.Error("not cleared")
	}
}

// Numbers come before care-of addresses, and are other IDs.
func TestIDs(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	want := []binding.ID{binding.ByNumber(1), binding.ByNumber(2), binding.ByCareOf(a), binding.ByCareOf(b)}
	got := []binding.ID{want[3], want[1], want[2], want[0]}
	slices.SortFunc(got, binding.ID.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("order %v", got)
	}
	if want[0].String() != "#1" || want[2].String() != "192.0.2.1" {
		t.Errorf("%v %v", want[0], want[2])
	}
}

// To a node behind a translator to IPv6, which its care-of address tells, UDP goes
// with checksums: "IPv6 receivers MUST discard UDP packets containing a zero
// checksum" (RFC 8200 section 8.1), and a translator may not have one to put in.
func TestChecksumsThroughATranslator(t *testing.T) {
	for careOf, want := range map[string]bool{"192.0.0.1": true, "192.0.0.7": true, "192.0.0.8": false, "192.0.2.1": false} {
		for kind, udp := range map[encap.Kind]bool{encap.UDP: true, encap.IPIP: false} {
			var l binding.List
			b := at(1, time.Minute, start)
			b.CareOfAddress, b.Tunnel.Encap = netip.MustParseAddr(careOf), kind
			l.Put(b, false, start)
			e, ok := l.Entry("k", netip.MustParsePrefix("10.10.0.5/32"), "", start)
			if !ok || len(e.Tunnels) != 1 || e.Tunnels[0].Checksum != (want && udp) {
				t.Errorf("%s, %v: %+v", careOf, kind, e.Tunnels)
			}
		}
	}
}
