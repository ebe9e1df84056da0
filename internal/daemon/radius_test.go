package daemon

import (
	"bytes"
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

const radiusHomeText = `version = 1
state-directory = "%[1]s/ha-state"
[control]
socket = "%[1]s/ha.sock"
[aaa]
nas-identifier = "ha1.test"
dynamic-authorisation = "198.51.100.1:3799"
[[aaa.server]]
address = "192.0.2.9"
secret = "a-long-secret-for-agents"
[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
[[home-agent.foreign-agent]]
address = "203.0.113.1"
spi = 300
key = "hex:f0112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`

const radiusForeignText = `version = 1
state-directory = "%[1]s/fa-state"
[control]
socket = "%[1]s/fa.sock"
[aaa]
nas-identifier = "fa1.test"
[[aaa.server]]
address = "192.0.2.9"
secret = "a-long-secret-for-agents"
[foreign-agent]
interfaces = ["lan0"]
care-of-address = "203.0.113.1"
advertise-interval = "3s"
challenge-window = 2
[[foreign-agent.home-agent]]
address = "198.51.100.1"
spi = 300
key = "hex:f0112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`

const radiusNodeText = `version = 1
state-directory = "%[1]s/mn-state"
[control]
socket = "%[1]s/mn.sock"
[mobile-node]
nai = "van7@fleet.example"
home-agent = "198.51.100.1"
spi = 256
key = "hex:00112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
[mobile-node.aaa]
secret = "van7-password"
[[mobile-node.uplink]]
interface = "eth0"
`

// A node that is known to a stock FreeRADIUS and to nobody else, as docs/aaa.md
// has it: it answers the foreign agent's challenge with its password, gets its
// address and key, sends and receives, and is ejected by a Disconnect; the server
// has written down what the data plane counted.
//
//rfc:5030#4.1
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
	home := n.daemon(n.ha, "ha", radiusHomeText)
	n.control = n.daemon(n.fa, "fa", radiusForeignText)
	n.daemon(n.mn, "mn", radiusNodeText)
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

	echoed := n.echoes(address, 50)
	if echoed != 50 {
		t.Errorf("%d of 50 datagrams came back", echoed)
	}
	counted := bindings()[0].Counters
	if counted.SentPackets < 50 || counted.ReceivedPackets < 50 {
		t.Errorf("counted %+v", counted)
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
// are sent back, and says how many came back.
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
	b := make([]byte, 1500)
	for i := range count {
		// The first ones may be lost while neighbours are found.
		for try := 0; try < 20; try++ {
			fmt.Fprintf(conn, "%04d %s", i, strings.Repeat("x", 300))
			_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
			if c, err := conn.Read(b); err == nil && string(b[:min(c, 4)]) == fmt.Sprintf("%04d", i) {
				back++
				break
			}
		}
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
