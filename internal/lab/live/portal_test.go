package live

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"careof/internal/core/note"
	"careof/internal/lab/topology"
)

// A network that wants its guests to sign in first is found, and said where;
// when it has opened, the node registers over it without waiting for its next
// retransmission, which may be a minute away.
func TestACaptivePortalIsFoundAndPassed(t *testing.T) {
	t.Parallel()
	plan := topology.Default()
	mn := plan.Node("mn")
	server := address(t, plan.Node("cn"))
	mn.Config = strings.Replace(mn.Config, "[mobile-node]\n", "[mobile-node]\nportal-check = \"http://"+server+":8080/empty\"\n", 1)
	l := build(t, plan, Options{})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	var open atomic.Bool
	var listener net.Listener
	if err := l.Network.Node("cn").Do(func() (err error) {
		listener, err = net.Listen("tcp4", server+":8080")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	portal := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open.Load() {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		http.Redirect(w, r, "http://login.hotel.example/", http.StatusFound)
	})}
	go portal.Serve(listener)
	defer portal.Close()
	s.Kill("ha") // nothing but the portal answers
	s.Plug("mn", "wlan0", "access1")
	told := func(kind note.Kind) func() bool {
		return func() bool {
			for _, e := range l.Events("mn") {
				if e.Kind == kind && e.Link == "wlan0" {
					return kind != "captive-portal" || strings.Contains(e.Why, "http://login.hotel.example/")
				}
			}
			return false
		}
	}
	s.Until("the portal is found", 30*time.Second, told("captive-portal"))
	s.Start("ha")
	open.Store(true)
	s.Until("the node knows that the network is open", 30*time.Second, told("captive-portal-passed"))
	s.Until("the node is registered", 10*time.Second, func() bool { return s.Binding("mn").Registered })
}

// address is the first of a node's.
func address(t *testing.T, n *topology.Node) string {
	t.Helper()
	for _, i := range n.Interfaces {
		if i.Address != (netip.Prefix{}) {
			return i.Address.Addr().String()
		}
	}
	t.Fatal("no address")
	return ""
}
