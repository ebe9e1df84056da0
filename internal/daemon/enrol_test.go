package daemon

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/enrol"
	"careof/internal/host/plane/nstest"
)

// meetingText is a home agent that nodes can join, with a node of the file's.
var meetingText = with(with(pairHomeText, "home-agent", "shards = 3"), "[home-agent.network]",
	"pool = [\"10.10.0.200-10.10.0.220\"]\nrouter = \"10.10.0.254\"") + "[enrolment]\nlisten = \"127.0.0.1:4434\"\n"

// An operator who names an address that no node can have is told why, before the
// token is handed over; and none such is chosen for him.
func TestANodeIsInvitedToAnAddressThatItCanHave(t *testing.T) {
	n := wirePair(t)
	nstest.Join(t, n.ha, "home0", n.r, "tohome", 1500)
	n.ha.Address("home0", "10.10.0.2/24")
	n.ha.Route("192.0.2.0/24", "10.10.0.3", "", "")
	home := n.daemon(n.ha, "ha", with(meetingText, "home-agent", "interfaces = [\"home0\"]"))
	for _, c := range []struct{ address, why string }{
		{"10.10.0.0", "the address of the network 10.10.0.0/24 itself"},
		{"10.10.0.255", "the broadcast address of 10.10.0.0/24"},
		{"10.10.0.2", "this host's own address, on home0"},
		{"10.10.0.3", "this host's gateway"},
		{"10.10.0.254", "the router of 10.10.0.0/24"},
		{"10.10.0.201", "in the pool of 10.10.0.0/24"},
		{"10.10.0.5", "the home address of 10.10.0.5"},
		{"10.11.0.7", "in no home network: choose an address of 10.10.0.0/24"},
		{"198.51.100.1", "in no home network"},
	} {
		_, err := home.Enrol(t.Context(), control.EnrolOrder{HomeAddress: netip.MustParseAddr(c.address), For: control.Seconds(time.Hour)})
		if !errors.Is(err, control.ErrInvalid) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", c.address, err, c.why)
		}
	}
	// Two to five are somebody's, by now; the first one is a router's by custom.
	for _, want := range []string{"10.10.0.4", "10.10.0.6"} {
		made, err := home.Enrol(t.Context(), control.EnrolOrder{For: control.Seconds(time.Hour)})
		if err != nil || made.HomeAddress.String() != want {
			t.Errorf("%v was chosen (%v), want %s", made.HomeAddress, err, want)
		}
	}
	// One that has a token is not invited twice, and a mobile node invites nobody.
	_, err := home.Enrol(t.Context(), control.EnrolOrder{HomeAddress: netip.MustParseAddr("10.10.0.6"), For: control.Seconds(time.Hour)})
	if err == nil || !strings.Contains(err.Error(), "careof enrol remove takes a token back") {
		t.Errorf("invited twice: %v", err)
	}
	n.settle()
	_, err = n.daemon(n.mn, "mn", pairMobileText).Enrol(t.Context(), control.EnrolOrder{For: control.Seconds(time.Hour)})
	if err == nil || !strings.Contains(err.Error(), "this daemon is no home agent") {
		t.Errorf("a mobile node invites: %v", err)
	}
}

// A block outlives the node, and nobody is invited to what would be refused.
func TestABlockOutlivesTheNodeAndIsSaid(t *testing.T) {
	n := wirePair(t)
	home := n.daemon(n.ha, "ha", meetingText)
	invite := func(address, nai string) (control.Invitation, error) {
		order := control.EnrolOrder{NAI: nai, For: control.Seconds(time.Hour)}
		if address != "" {
			order.HomeAddress = netip.MustParseAddr(address)
		}
		return home.Enrol(t.Context(), order)
	}
	for _, who := range []struct{ address, nai, name string }{{"10.10.0.2", "", "10.10.0.2"}, {"10.10.0.9", "van@fleet.example", "van@fleet.example"}} {
		made, err := invite(who.address, who.nai)
		if err != nil {
			t.Fatal(err)
		}
		n.joins(made.Token)
		if _, err := home.Revoke(t.Context(), control.RevokeOrder{Node: who.name, Block: true}); err != nil {
			t.Fatal(err)
		}
		var list []control.Enrolled
		if err := home.Show(t.Context(), "enrolled", "", &list); err != nil || len(list) != 1 || !list[0].Blocked {
			t.Errorf("%s is shown as %+v, %v", who.name, list, err)
		}
		if gone, err := home.Unenrol(t.Context(), who.name); err != nil || !gone.Blocked {
			t.Errorf("removing %s says %+v, %v", who.name, gone, err)
		}
		if _, err := invite(who.address, who.nai); err == nil || !strings.Contains(err.Error(), "careof unblock "+who.name) {
			t.Errorf("%s is invited though it is blocked: %v", who.name, err)
		}
	}
	if made, err := invite("", ""); err != nil || made.HomeAddress.String() != "10.10.0.3" {
		t.Errorf("%v was chosen, %v", made.HomeAddress, err)
	}
	if _, err := home.Unblock(t.Context(), "10.10.0.2"); err != nil {
		t.Fatal(err)
	}
	if _, err := invite("10.10.0.2", ""); err != nil {
		t.Errorf("it may join again: %v", err)
	}
}

// joins takes a token to the home agent, on its own host.
func (n *pairNet) joins(text string) {
	n.t.Helper()
	token, err := enrol.ParseToken(text)
	if err != nil {
		n.t.Fatal(err)
	}
	claim, err := json.Marshal(enrol.Claim{Secret: token.Secret[:], Client: []byte("its own choice")})
	if err != nil {
		n.t.Fatal(err)
	}
	var conn net.Conn
	n.ha.Do(func() { conn, err = net.Dial("tcp4", "127.0.0.1:4434") })
	if err != nil {
		n.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	r, err := http.NewRequest(http.MethodPost, "https://127.0.0.1:4434"+enrol.Path, bytes.NewReader(claim))
	if err != nil {
		n.t.Fatal(err)
	}
	sealed := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) // who answers is not the question here
	if err := r.Write(sealed); err != nil {
		n.t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(sealed), r)
	if err != nil || answer.StatusCode != http.StatusOK {
		n.t.Fatalf("joining: %+v, %v", answer, err)
	}
	answer.Body.Close()
}
