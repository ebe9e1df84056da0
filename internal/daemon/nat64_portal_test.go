package daemon

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/host/plane/nstest"
)

// A network with IPv6 and a NAT64 alone may want a sign-in too: the node asks for its
// page through the translator, and programs, which have IPv6 alone there, reach the
// portal, and nothing else, when they may.
func TestAPortalInANetworkWithIPv6Alone(t *testing.T) {
	n := newNAT64Net(t)
	n.nameServer()
	n.options.Store(slices.Concat(pref64(1800*time.Second), rdnss("2001:db8:6::1")))
	var open atomic.Bool
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open.Load() {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		http.Redirect(w, r, "http://login.example:8080/", http.StatusFound)
	})}
	var listener net.Listener
	n.cn.Do(func() {
		var err error
		if listener, err = net.Listen("tcp4", "192.0.2.9:8080"); err != nil {
			t.Error(err)
		}
	})
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })

	file := moving("auto", `portal-check = "http://192.0.2.9:8080/empty"`, "radio0")
	n.control = n.daemon(n.mn, "mn", file.Replace(nat64NodeText)) // and no home agent answers
	n.until("the portal is found", func() bool {
		u, _ := n.uplink("radio1")
		return strings.Contains(u.Why, "sign in at http://login.example:8080/")
	})
	portal, other := netip.MustParseAddrPort("[2001:db8:64::192.0.2.9]:8080"), netip.MustParseAddrPort("[2001:db8:64::203.0.113.254]:8080")
	program := nstest.Program{Network: "tcp6"}
	if err := program.Sends(n.mn, portal); err == nil {
		t.Error("a program reaches the portal unasked")
	}
	given, err := n.control.Portal(t.Context(), control.PortalOrder{Uplink: "radio1", For: control.Seconds(time.Minute)})
	if err != nil || !slices.Equal(given.Addresses, []netip.Addr{portal.Addr()}) {
		t.Fatalf("%+v, %v", given, err)
	}
	n.until("a program reaches the portal", func() bool { return program.Sends(n.mn, portal) == nil })
	datagram := nstest.Program{Network: "udp6"}
	if err := datagram.Sends(n.mn, portal); err == nil {
		t.Error("a program's datagram passes the tunnel")
	}
	if err := program.Sends(n.mn, other); err == nil || !strings.Contains(err.Error(), "unreachable") && !strings.Contains(err.Error(), "no route") {
		t.Errorf("to another address: %v", err)
	}

	open.Store(true)
	n.until("the network is open", func() bool {
		u, _ := n.uplink("radio1")
		return !strings.Contains(u.Why, "sign in")
	})
	n.until("the way past the tunnel is closed", func() bool { return program.Sends(n.mn, portal) != nil })
	n.haControl = n.daemon(n.ha, "ha", homeAgentText)
	n.via("radio1")
	n.exchange(n.dial(), 1<<16)
}
