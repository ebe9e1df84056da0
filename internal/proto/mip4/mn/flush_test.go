package mn_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"careof/internal/core/note"
)

// With a slow disk several commits wait: a retransmission does not overtake
// the change of the home link either, nor does gratuitous ARP.
//
//rfc:5944#4.6
func TestSlowDiskKeepsTheOrderOfReturning(t *testing.T) {
	r := newRig(t, homeConfig(t))
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	before := len(r.requests)
	r.other, r.stalled = granting(0), true
	r.up("eth0", atHome)
	r.run(20 * time.Second) // time for several retransmissions
	if len(r.requests) != before || len(r.arp) != 0 {
		t.Fatalf("%d requests and %d gratuitous ARPs before the home link is in place", len(r.requests)-before, len(r.arp))
	}
	for len(r.held) > 0 {
		sent := len(r.requests) - before
		r.release()
		if n := len(r.requests) - before; n > 0 && r.entry().HomeLink != "eth0" {
			t.Fatalf("%d requests leave, the entry is %+v", n, r.entry())
		}
		if sent == 0 && len(r.requests) > before && len(r.arp) != 1 {
			t.Errorf("%d gratuitous ARPs before the request", len(r.arp))
		}
	}
	r.stalled = false
	r.run(2 * time.Second)
	if r.status().State != "home" {
		t.Errorf("state %s", r.status().State)
	}
}

// Home and away again while the disk is slow: in the end the entry is right,
// and no request over the visited link leaves while the node still defends its
// home address.
//
//rfc:5944#4.6
func TestSlowDiskKeepsTheOrderOfLeaving(t *testing.T) {
	r := newRig(t, homeConfig(t))
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	before := len(r.requests)
	r.stalled = true
	r.up("eth0", atHome)
	r.run(3 * time.Second)
	r.lose("eth0")
	r.run(3 * time.Second)
	if len(r.requests) != before {
		t.Fatalf("%d requests before anything is in place", len(r.requests)-before)
	}
	for len(r.held) > 0 {
		r.release()
		for _, q := range r.requests[before:] {
			if q.Link == "wlan0" && r.entry().HomeLink != "" {
				t.Fatal("a request left from away while the home link was in place")
			}
		}
	}
	r.stalled = false
	r.run(time.Minute)
	if r.tunnels() != "wlan0 ipip both" {
		t.Errorf("away again: %s", r.tunnels())
	}
}

// Over a short way the first packets by a new path come as soon as the request has
// left: while the old path works, the data plane has the tunnel before. When it
// does not, nothing waits.
func TestAPathIsMadeBeforeItsRequestLeaves(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		r := newRig(t, config(t))
		r.other = granting(-1)
		r.up("lte0", lteAddress)
		r.run(10 * time.Second)
		before := len(r.requests)
		r.stalled = true
		if breaks {
			r.lose("lte0")
		}
		r.up("wlan0", wifiAddress)
		if left := len(r.requests) > before; left != breaks {
			t.Errorf("the old path is gone: %v; the request has left: %v", breaks, left)
		}
		for len(r.held) > 0 {
			r.release()
			if len(r.requests) > before && !breaks && !strings.Contains(r.tunnels(), "wlan0") {
				t.Errorf("the request has left, and the data plane has %s", r.tunnels())
			}
		}
		r.stalled = false
		r.run(2 * time.Second)
		if !strings.HasPrefix(r.tunnels(), "wlan0 ipip both") {
			t.Errorf("in the end: %s", r.tunnels())
		}
	}
}

// Who hears "registered" dials from the home address at once: the note waits
// until the data plane has the address, also when it refuses at first.
func TestRegisteredIsToldWhenTheAddressIsThere(t *testing.T) {
	cfg := config(t)
	cfg.NAI = "node@example.org"
	r := newRig(t, cfg)
	r.other, r.stalled = granting(-1), true
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	if n := r.count(note.Registered); n != 0 || len(r.entry().Tunnels) != 0 {
		t.Fatalf("%d times registered, without an entry %+v", n, r.entry())
	}
	for len(r.held) > 0 {
		r.release()
		if r.count(note.Registered) > 0 && len(r.entry().Tunnels) == 0 {
			t.Fatal("registered before the data plane has the tunnel")
		}
	}
	r.stalled = false
	r.run(time.Second)
	if n := r.count(note.Registered); n != 1 {
		t.Errorf("%d times registered", n)
	}

	r = newRig(t, cfg)
	r.other, r.refuse = granting(-1), errors.New("no")
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	if n := r.count(note.Registered); n != 0 {
		t.Errorf("%d times registered while the data plane refuses", n)
	}
	r.refuse = nil
	r.run(2 * time.Second)
	if n := r.count(note.Registered); n != 1 {
		t.Errorf("%d times registered once the data plane takes it", n)
	}
}
