package homedhcp

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"careof/internal/host/lease"
)

// A lease is there for the next process, until it is none any more.
func TestALeaseOutlivesTheProcess(t *testing.T) {
	l := lease.Lease{
		Address: netip.MustParsePrefix("10.10.0.5/32"), Server: netip.MustParseAddr("10.10.0.67"), DNS: []netip.Addr{netip.MustParseAddr("10.10.0.53")},
		Domain: "fleet.example", Until: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
	}
	path := filepath.Join(t.TempDir(), "home-lease.json")
	if err := WriteLease(path, l); err != nil {
		t.Fatal(err)
	}
	if back := ReadLease(path); !reflect.DeepEqual(back, l) {
		t.Fatalf("came back as %+v", back)
	}
	for range 2 {
		if err := WriteLease(path, lease.Lease{}); err != nil || ReadLease(path).Server.IsValid() {
			t.Errorf("it is still there: %v", err)
		}
	}
}
