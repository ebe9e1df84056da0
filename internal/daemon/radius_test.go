package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"careof/internal/control"
	"careof/internal/host/aaa/aaatest"
	"careof/internal/host/plane/nstest"
)

// guide is the configuration of one machine as docs/aaa.md has it.
func guide(t *testing.T, machine string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/aaa.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```toml\n# " + machine + "\n(.*?)```").FindSubmatch(text)
	if m == nil {
		t.Fatalf("docs/aaa.md has no configuration of a %s", machine)
	}
	return strings.TrimPrefix(string(m[1]), "version = 1\n")
}

// A node that is known to a stock FreeRADIUS and to nobody else, as docs/aaa.md
// has it: it answers the foreign agent's challenge with its password, gets its
// address and key, sends and receives, and is ejected by a Disconnect; the server
// has written down what the data plane counted.
//
//rfc:5030#3.1
//rfc:4721#3.2
func TestANodeThatOnlyFreeRADIUSKnows(t *testing.T) {
	radclient, err := exec.LookPath("radclient")
	if err != nil {
		t.Skip("radclient is not installed")
	}
	n := wireForeignNet(t)
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	if err := n.mn.H.AddrDel(n.mn.Link("eth0"), &netlink.Addr{IPNet: &net.IPNet{IP: visitorHome.AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	dir := aaatest.FreeRADIUS(t, n.cn.Do)
	for name, secret := range map[string]string{
		"radius": aaatest.Secret, "fa1": "f0112233445566778899aabbccddeeff", "home": "00112233445566778899aabbccddeeff", "aaa": "van7-password",
	} {
		file := filepath.Join(n.dir, "keys.d", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(secret+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	home := n.daemon(n.ha, "ha", guide(t, "home agent"))
	n.control = n.daemon(n.fa, "fa", guide(t, "foreign agent"))
	n.daemon(n.mn, "mn", guide(t, "mobile node"))
	address := netip.MustParseAddr("10.10.0.77")
	bindings := func() []control.Binding {
		var shown struct{ Bindings []control.Binding }
		n.shownBy(home, "bindings", &shown)
		return shown.Bindings
	}
	n.until("the node is bound with the address that the server gave", func() bool {
		b := bindings()
		return len(b) == 1 && b[0].HomeAddress == address && b[0].CareOfAddress == visitorCoA
	})
	n.until("the visit is accepted", func() bool {
		list := n.listed()
		return len(list) == 1 && list[0].State == "accepted"
	})

	for secret, granted := range map[string]bool{"van7-password": true, "a guess": false} {
		v, err := home.TestAAA(t.Context(), control.AAATestOrder{NAI: "van7@fleet.example", Secret: secret})
		if err != nil || v.Challenge == nil || v.Challenge.Granted != granted || !v.Key.Granted || v.Key.HomeAddress != address {
			t.Errorf("aaa test with %q: %+v, %v", secret, v, err)
		}
	}
	var shown struct{ AAA control.AAA }
	n.shownBy(home, "aaa", &shown)
	if a := shown.AAA; len(a.Servers) != 1 || a.Servers[0].State != "alive" || a.Servers[0].Forged != 0 ||
		len(a.Sessions) != 1 || a.Sessions[0].NAI != "van7@fleet.example" || a.Questions.Granted == 0 {
		t.Errorf("shown %+v", a)
	}

	echoed := n.echoes(address, 50)
	if echoed != 50 {
		t.Errorf("%d of 50 datagrams came back", echoed)
	}
	counted := bindings()[0].Counters
	if counted.SentPackets < 50 || counted.ReceivedPackets < 50 {
		t.Errorf("counted %+v", counted)
	}

	var totals struct{ Counters []control.Counter }
	n.shownBy(home, "counters", &totals)
	counts := make(map[string]uint64)
	for _, c := range totals.Counters {
		counts[c.Name] = c.Value
		if strings.HasPrefix(c.Name, "aaa.") && len(control.ExplainName(c.Name)) == 0 {
			t.Errorf("careof explain does not know %s", c.Name)
		}
	}
	if counts["aaa.granted"] == 0 || counts["aaa.requests"] == 0 || counts["aaa.forged"] != 0 {
		t.Errorf("counted %v", counts)
	}
	var bundle bytes.Buffer
	if err := home.Bundle(t.Context(), &bundle); err != nil {
		t.Fatal(err)
	}
	for name, text := range unpack(t, bundle.Bytes()) {
		for _, secret := range []string{aaatest.Secret, "van7-password", "00112233445566778899aabbccddeeff", "\x00\x11\x22\x33\x44\x55\x66\x77"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s of the bundle has the secret %q", name, secret)
			}
		}
	}

	// The operator ejects it at the server. The secret of the listing is given
	// to radclient by a file, as an operator would.
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(aaatest.Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	order := exec.Command(radclient, "-r", "3", "-t", "5", "-S", filepath.Join(dir, "secret"), "198.51.100.1:3799", "disconnect")
	order.Stdin = strings.NewReader("User-Name = \"van7@fleet.example\"\n")
	var said bytes.Buffer
	order.Stdout, order.Stderr = &said, &said
	began := time.Now()
	n.cn.Do(func() { err = order.Run() })
	if err != nil || !strings.Contains(said.String(), "Disconnect-ACK") {
		t.Fatalf("radclient: %v\n%s", err, said.String())
	}
	t.Logf("ejected %v after radclient was started", time.Since(began).Round(time.Millisecond))

	var record string
	n.until("the end is written down", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "careof.accounting"))
		for _, r := range strings.Split(string(b), "\n\n") {
			if strings.Contains(r, "Acct-Status-Type = Stop") && strings.Contains(r, `NAS-Identifier = "ha1.test"`) {
				record = r
				return true
			}
		}
		return false
	})
	for attribute, want := range map[string]uint64{
		"Acct-Input-Octets": counted.ReceivedBytes, "Acct-Output-Octets": counted.SentBytes,
		"Acct-Input-Packets": counted.ReceivedPackets, "Acct-Output-Packets": counted.SentPackets,
	} {
		m := regexp.MustCompile(attribute + ` = (\d+)`).FindStringSubmatch(record)
		if m == nil {
			t.Fatalf("no %s in\n%s", attribute, record)
		}
		if got, _ := strconv.ParseUint(m[1], 10, 64); got != want {
			t.Errorf("%s is %d, the data plane has counted %d", attribute, got, want)
		}
	}
	for _, line := range []string{"Framed-IP-Address = 10.10.0.77", "Acct-Terminate-Cause = Admin-Reset", "Class = 0x666c656574"} {
		if !strings.Contains(record, line) {
			t.Errorf("no %s in\n%s", line, record)
		}
	}
}

// echoes sends datagrams from the correspondent to a node's address, where they
// are sent back, and says how many came back. Nothing is on its way after it.
func (n *foreignNet) echoes(to netip.Addr, count int) (back int) {
	n.t.Helper()
	at := netip.AddrPortFrom(to, 5007)
	var server *net.UDPConn
	n.until("the node has its home address", func() bool {
		var err error
		n.mn.Do(func() { server, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)) })
		return err == nil
	})
	defer server.Close()
	go func() {
		b := make([]byte, 1500)
		for {
			c, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDPAddrPort(b[:c], from)
		}
	}()
	var conn *net.UDPConn
	n.dial(n.cn, at, &conn)
	defer conn.Close()
	sent, came := 0, 0
	hear := func(wait time.Duration) (what string, err error) {
		b := make([]byte, 1500)
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		c, err := conn.Read(b)
		if err == nil {
			came++
		}
		return string(b[:min(c, 4)]), err
	}
	for i := range count {
		// The first ones may be lost while neighbours are found, and late ones
		// come twice.
		word, heard := fmt.Sprintf("%04d", i), false
		for end := time.Now().Add(patience); !heard && time.Now().Before(end); {
			if _, err := fmt.Fprintf(conn, "%s %s", word, strings.Repeat("x", 300)); err == nil {
				sent++
			}
			for what, err := hear(500 * time.Millisecond); err == nil && !heard; {
				if heard = what == word; !heard {
					what, err = hear(500 * time.Millisecond)
				}
			}
		}
		if heard {
			back++
		}
	}
	for err := error(nil); came < sent && err == nil; {
		_, err = hear(3 * time.Second)
	}
	return back
}

func (n *foreignNet) dial(from *nstest.Node, to netip.AddrPort, conn **net.UDPConn) {
	n.t.Helper()
	var err error
	from.Do(func() { *conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to)) })
	if err != nil {
		n.t.Fatal(err)
	}
}
