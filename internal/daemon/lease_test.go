package daemon

import (
	"strings"
	"syscall"
	"testing"

	"careof/internal/control"
	"careof/internal/host/dhcp/stock"
)

// A host on which nobody configures the uplink: the mobile node gets its
// address by DHCP, registers with it and is reached; after kill -9 the next
// start has the same one; and when the configuration says that others are to
// configure the link, it is left without.
func TestAMobileNodeGetsItsAddressByDHCP(t *testing.T) {
	stock.Need(t, "dnsmasq")
	n := wirePair(t)
	stock.Run(t, n.r.Do, stock.Dnsmasq(n.dir, "tomn", "--dhcp-range=203.0.113.100,203.0.113.150,2m"))
	stock.Show(t, n.dir)
	text := strings.Replace(pairMobileText, `interface = "eth0"`, "interface = \"eth0\"\naddress = \"dhcp\"", 1)
	n.home = n.daemon(n.ha, "ha", pairHomeText)
	n.mobile = n.daemon(n.mn, "mn", text)
	n.registered()
	n.says("by the address of a lease")
	lease := func() *control.Lease {
		var list []control.Uplink
		if err := n.mobile.Show(t.Context(), "uplinks", "", &list); err != nil || len(list) != 1 {
			t.Fatalf("the uplinks are %+v, %v", list, err)
		}
		return list[0].Lease
	}
	first := lease()
	if first == nil || first.State != "bound" || first.Address.Addr() != n.bindings()[0].CareOfAddress {
		t.Fatalf("the lease is %+v, the binding %+v", first, n.bindings())
	}
	n.end("mn", syscall.SIGKILL)
	n.start(n.mn, "mn", "/proc/self/exe")
	n.answers("mn")
	n.says("after a restart")
	n.until("the lease is renewed", func() bool { l := lease(); return l != nil && l.State == "bound" })
	if l := lease(); l.Address != first.Address {
		t.Errorf("the lease is of %v, before the restart it was of %v", l.Address, first.Address)
	}
	n.write("mn", pairMobileText)
	if done := n.reload(n.mobile, control.ReloadOrder{}); done.Restart != "" || len(done.Problems) > 0 {
		t.Fatalf("the reload: %+v", done)
	}
	n.until("the link is left to others", func() bool {
		list, err := n.mn.H.AddrList(n.mn.Link("eth0"), 2)
		return err == nil && len(list) == 0
	})
	if l := lease(); l != nil {
		t.Errorf("the lease is still shown: %+v", l)
	}
}
