package dhcp

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/host/lease"
)

func TestLeasesAreRememberedAndBounded(t *testing.T) {
	path := t.TempDir() + "/leases.json"
	b := openBook(path)
	var m lease.Memory
	for i := range 2 * lease.MostPast {
		m = m.With(lease.Lease{
			Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 5}), 24), Gateway: netip.AddrFrom4([4]byte{10, byte(i), 0, 1}),
			Server: netip.MustParseAddr("192.168.8.1"), GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, 0xfe}, Until: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		})
	}
	if err := b.keep("wwan0", m, []string{"wwan0"}); err != nil {
		t.Fatal(err)
	}
	read := openBook(path).links["wwan0"]
	if len(read) != lease.MostPast || !reflect.DeepEqual(read, m) {
		t.Errorf("%d leases of %d: %+v", len(read), lease.MostPast, read)
	}
	if err := b.keep("wlan0", m[:1], []string{"wlan0"}); err != nil {
		t.Fatal(err)
	}
	if links := openBook(path).links; len(links) != 1 {
		t.Errorf("an uplink that is no more is remembered: %v", links)
	}
}
