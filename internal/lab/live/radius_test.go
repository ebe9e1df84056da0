package live

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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// wire is what a segment has carried of the tunnel of one agent, in octets of
// inner packets.
type wire struct{ sent, received atomic.Uint64 }

const (
	registrations = 434
	radiusPort    = 1812
	accessRequest = 1
	accessAccept  = 2
	disconnect    = 40
	disconnectACK = 41
)

// watch counts what goes into and comes out of the tunnel at an address.
func (w *wire) watch(s *Stage, segment string, agent netip.Addr) {
	s.atEnd(s.segment(segment).Tap(func(f netns.Frame) {
		ip, err := encap.ParseIPv4(f.Data[min(len(f.Data), ethernetHeader):])
		if err != nil || ip.Protocol != 4 {
			return
		}
		switch n := uint64(ip.TotalLen - ip.HeaderLen); agent {
		case ip.Src:
			w.sent.Add(n)
		case ip.Dst:
			w.received.Add(n)
		}
	}))
}

// datagrams has see called for every UDP datagram that a segment carries.
func (s *Stage) datagrams(segment string, see func(at time.Time, d encap.UDPDatagram)) {
	s.atEnd(s.segment(segment).Tap(func(f netns.Frame) {
		if _, d, err := encap.ParseUDP(f.Data[min(len(f.Data), ethernetHeader):]); err == nil {
			see(f.Time, d)
		}
	}))
}

// The word for RADIUS, against a stock FreeRADIUS: a node that is known
// there and nowhere else registers through a foreign agent that challenges it,
// and gets its home agent, key and home address; it moves twice, with TCP open;
// neither a challenge that was used nor a forged Access-Accept helps anybody; the
// accounting records have what the wire has carried; a Disconnect ejects it.
//
//rfc:5030#3.1
//rfc:5030#3.1-2
//rfc:5030#3.1-3
//rfc:4721#3.2
//rfc:4433#6
func TestANodeOfFreeRADIUSMovesIsCountedAndEjected(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"freeradius", "radclient"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("there is no %s: apt-get install freeradius freeradius-utils", name)
		}
	}
	top, err := topology.Load("radius")
	if err != nil {
		t.Fatal(err)
	}
	l := build(t, top, Options{})
	stage := NewStage(t.Context(), l, t.Logf)
	defer stage.Close()
	var carried wire
	home := netip.MustParseAddr("10.10.0.1")
	carried.watch(stage, "home", home)
	var mu sync.Mutex
	var request []byte // of the node, as a frame: the last one with a challenge
	stage.atEnd(stage.segment("visited1").Tap(func(f netns.Frame) {
		_, d, err := encap.ParseUDP(f.Data[min(len(f.Data), ethernetHeader):])
		if err != nil || d.Dst.Port() != registrations {
			return
		}
		if m, err := mip4.Parse(d.Payload); err == nil {
			if _, n := m.Find(mip4.ExtChallenge); n == 1 {
				mu.Lock()
				defer mu.Unlock()
				request = f.Data
			}
		}
	}))

	arrive := func(segment string, careOf string) {
		t.Helper()
		if err := l.Plug("mn", "wlan0", segment); err != nil {
			t.Fatal(err)
		}
		took := stage.Until("the node is registered on "+segment, 20*time.Second, func() bool {
			b := stage.Binding("mn")
			return b.Registered && b.CareOf == netip.MustParseAddr(careOf)
		})
		t.Logf("registered on %s after %v", segment, took.Round(time.Millisecond))
	}
	bindings := func() (list []control.Binding) {
		t.Helper()
		if err := l.Daemon("ha").Show("bindings", "", &list); err != nil {
			t.Fatal(err)
		}
		return list
	}

	arrive("visited1", "100.65.0.11")
	if b := stage.Binding("mn"); b.HomeAddress != netip.MustParseAddr("10.10.0.5") || b.HomeAgent != home {
		t.Errorf("the server gave home address and home agent, the node has %+v", b)
	}
	stream := stage.Stream("mn", "cn", 100_000)
	stage.Until("the connection carries octets", 10*time.Second, func() bool { return stream.Progress() > 0 })
	if !stream.Done() && !connected(t, l.Network.Node("mn")) {
		t.Error("the connection of the stream is not seen")
	}

	mu.Lock()
	first := request
	mu.Unlock()
	replayed(t, stage, first)
	forged(t, stage)

	arrive("visited2", "100.65.0.12")
	arrive("visited1", "100.65.0.11")
	stage.Until("the stream has arrived whole, or is broken", 40*time.Second, func() bool { return stream.Done() || stream.Broken() != "" })
	if why := stream.Broken(); why != "" {
		t.Errorf("the connection did not survive: %s", why)
	}

	// An acknowledgment that meets the end of the binding on its way is on the
	// wire and not in the record: the connection is closed at both ends first.
	stage.Until("the connection is closed at both ends", 20*time.Second, func() bool {
		return !connected(t, l.Network.Node("mn")) && !connected(t, l.Network.Node("cn"))
	})
	stage.Until("the data plane has counted what the wire has carried", 20*time.Second, func() bool {
		b := bindings()
		return len(b) == 1 && b[0].Counters.SentBytes == carried.sent.Load() && b[0].Counters.ReceivedBytes == carried.received.Load()
	})
	eject(t, stage)
	record := stage.accounted(t, "ha", "Stop")
	for attribute, want := range map[string]uint64{"Acct-Input-Octets": carried.received.Load(), "Acct-Output-Octets": carried.sent.Load()} {
		m := regexp.MustCompile(attribute + ` = (\d+)`).FindStringSubmatch(record)
		if m == nil {
			t.Fatalf("no %s in\n%s", attribute, record)
		}
		if got, _ := strconv.ParseUint(m[1], 10, 64); got != want || want == 0 {
			t.Errorf("%s is %d, the wire has carried %d", attribute, got, want)
		}
	}
	if !strings.Contains(record, "Framed-IP-Address = 10.10.0.5") || !strings.Contains(record, "Class = 0x666c656574") || !strings.Contains(record, "Acct-Terminate-Cause = Admin-Reset") {
		t.Errorf("the record is\n%s", record)
	}
	for _, d := range l.Daemons() {
		log, err := os.ReadFile(d.Log)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"a-long-secret-for-agents", "van7-password", "00112233445566778899aabbccddeeff"} {
			if bytes.Contains(log, []byte(secret)) {
				t.Errorf("the log of %s has the secret %q", d.Node, secret)
			}
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.process.Pid()))
		if err != nil || !regexp.MustCompile(`Max core file size +[01] +[01] `).Match(limits) {
			t.Errorf("the daemon of %s may leave a core file: %v\n%s", d.Node, err, limits)
		}
	}
	for _, agent := range []string{"fa1", "fa2"} {
		stage.accounted(t, agent, "Start")
		stage.accounted(t, agent, "Stop")
	}
}

// connected reports whether a host has a connection of which an end still waits
// for a segment: one that is only remembered (TIME_WAIT) has seen the last.
func connected(t *testing.T, n *netns.Node) bool {
	t.Helper()
	const timeWait, listen = "06", "0A" // include/net/tcp_states.h
	var table []byte
	if err := n.Do(func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/tcp")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_, entries, _ := strings.Cut(string(table), "\n")
	for line := range strings.Lines(entries) {
		if f := strings.Fields(line); len(f) > 3 && f[3] != timeWait && f[3] != listen {
			return true
		}
	}
	return false
}

// replayed sends the node's first request once more, as it was and with another
// Identification, from the node's own host: the challenge in it was used. Nobody
// is asked about it.
func replayed(t *testing.T, s *Stage, first []byte) {
	t.Helper()
	_, d, err := encap.ParseUDP(first[ethernetHeader:])
	if err != nil {
		t.Fatal(err)
	}
	m, err := mip4.Parse(d.Payload)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Request()
	if err != nil {
		t.Fatal(err)
	}
	value, _, err := mip4.Get[mip4.Challenge](m)
	if err != nil {
		t.Fatal(err)
	}
	r.Identification += 1 << 32
	again, err := proven(r, value.Value, "van7@fleet.example", "van7-password").Seal()
	if err != nil {
		t.Fatal(err)
	}
	replies := s.replies("visited1")
	before := s.asked(t, "fa1")
	for what, payload := range map[string][]byte{"as it was": d.Payload, "with another Identification": again} {
		packet, err := encap.AppendUDP(append([]byte(nil), first[:ethernetHeader]...), encap.IPv4{ID: 9, TTL: 255}, d.Src, d.Dst, payload)
		if err != nil {
			t.Fatal(err)
		}
		send := func() { sendFrame(t, s.Network.Node("mn"), "wlan0", packet) }
		if code := replies(t, payload, send).Code; code != mip4.CodeFAStaleChallenge {
			t.Errorf("a replayed challenge, %s: code %d", what, code)
		}
	}
	if after := s.asked(t, "fa1"); after != before {
		t.Errorf("the server was asked %d times about a challenge that was used", after-before)
	}
}

// proven is a request of a node that the home agent does not know: what the
// foreign agent has verified is its Mobile-AAA authenticator.
func proven(r mip4.RegistrationRequest, challenge []byte, nai, password string) *mip4.Draft {
	d := mip4.NewRequest(r)
	d.Add(mip4.ZoneHome, &mip4.NAI{Value: nai})
	d.Add(mip4.ZoneAuthorizing, &mip4.Challenge{Value: challenge})
	d.Authenticate(mip4.ExtGeneralizedAuth, aaa.Signer{Secret: aaa.CHAP(assoc.NewKey([]byte(password))), Challenge: challenge})
	return d
}

// replies has a request sent until there is a reply to it on the segment: a
// foreign agent denies a node once a second.
func (s *Stage) replies(segment string) func(t *testing.T, request []byte, send func()) mip4.RegistrationReply {
	heard := make(chan mip4.RegistrationReply, 100)
	s.datagrams(segment, func(_ time.Time, d encap.UDPDatagram) {
		if m, err := mip4.Parse(d.Payload); err == nil && d.Src.Port() == registrations {
			if r, err := m.Reply(); err == nil {
				heard <- r
			}
		}
	})
	return func(t *testing.T, request []byte, send func()) mip4.RegistrationReply {
		t.Helper()
		m, err := mip4.Parse(request)
		if err != nil {
			t.Fatal(err)
		}
		asked, err := m.Request()
		if err != nil {
			t.Fatal(err)
		}
		send()
		again := time.NewTicker(time.Second)
		defer again.Stop()
		for end := time.After(20 * time.Second); ; {
			select {
			case r := <-heard:
				if r.Identification == asked.Identification {
					return r
				}
			case <-again.C:
				send()
			case <-end:
				t.Fatal("no reply")
			}
		}
	}
}

// asked is how many questions an agent has put.
func (s *Stage) asked(t *testing.T, agent string) uint64 {
	t.Helper()
	var shown control.AAA
	if err := s.daemon(agent).Show("aaa", "", &shown); err != nil {
		t.Fatal(err)
	}
	return shown.Questions.Asked
}

// forged has a stranger register while another one, who sees what the foreign
// agent asks the server, is the first to answer: Access-Accept.
func forged(t *testing.T, s *Stage) {
	t.Helper()
	server, agent := netip.MustParseAddr("192.0.2.20"), netip.MustParseAddr("100.65.0.11")
	forger := s.intruder("isp1")
	requests := make(chan encap.UDPDatagram, 10)
	s.datagrams("isp1", func(_ time.Time, d encap.UDPDatagram) {
		if d.Dst == netip.AddrPortFrom(server, radiusPort) && d.Src.Addr() == agent && len(d.Payload) > 20 && d.Payload[0] == accessRequest {
			d.Payload = append([]byte(nil), d.Payload...)
			select {
			case requests <- d:
			default:
			}
		}
	})
	// It knows the foreign agent's link-layer address, so as to be the first one.
	s.sure(forger.inject(datagram(t, netip.AddrPortFrom(forger.address, 9), netip.AddrPortFrom(agent, 9), nil)))
	s.Until("the forger knows the foreign agent's link-layer address", 10*time.Second, func() bool {
		_, known, err := s.Network.Node("intruder-isp1").Neighbour("eth0", agent)
		return err == nil && known
	})
	var forgeries atomic.Int64
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			select {
			case <-done:
				return
			case d := <-requests:
				// An Access-Accept with a Session-Timeout, and no way to sign it.
				answer := append([]byte{accessAccept, d.Payload[1], 0, 26}, make([]byte, 16)...)
				answer = append(answer, 27, 6, 0, 0, 14, 16)
				if forger.inject(datagram(t, d.Dst, d.Src, answer)) == nil {
					forgeries.Add(1)
				}
			}
		}
	})
	defer ended.Wait()
	defer close(done)

	s.intruder("visited1")
	conn, err := s.Network.Node("intruder-visited1").DialUDP(netip.AddrPort{}, netip.MustParseAddrPort("198.18.1.1:434"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	offers := make(chan []byte, 10)
	s.atEnd(s.segment("visited1").Tap(func(f netns.Frame) {
		ip, err := encap.ParseIPv4(f.Data[min(len(f.Data), ethernetHeader):])
		if err != nil || ip.Protocol != protocolICMP || ip.Dst.Is4() && !ip.Dst.IsMulticast() && ip.Dst != netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return
		}
		m, err := adv4.Parse(f.Data[ethernetHeader+ip.HeaderLen : ethernetHeader+ip.TotalLen])
		if err != nil {
			return
		}
		if c, n, err := adv4.Get[adv4.Challenge](m); err == nil && n == 1 {
			select {
			case offers <- append([]byte(nil), c.Value...):
			default:
			}
		}
	}))
	var offer []byte
	select {
	case offer = <-offers:
	case <-time.After(20 * time.Second):
		t.Fatal("no challenge is advertised")
	}
	request, err := proven(mip4.RegistrationRequest{
		Lifetime: 600, HomeAgent: netip.MustParseAddr("10.10.0.1"), HomeAddress: netip.IPv4Unspecified(), CareOfAddress: agent,
		Identification: assoc.Timestamp(time.Now()),
	}, offer, "van9@fleet.example", "a guess").Seal()
	if err != nil {
		t.Fatal(err)
	}
	replies := s.replies("visited1")
	send := func() {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
	}
	if code := replies(t, request, send).Code; code != mip4.CodeFABadAAAAuth {
		t.Errorf("a stranger whose Access-Accept is forged gets code %d", code)
	}
	var shown control.AAA
	// One may be on its way still, if the server was slow and has been asked twice.
	s.Until("the foreign agent has counted the forged answers", 10*time.Second, func() bool {
		shown = control.AAA{}
		n := forgeries.Load()
		return s.daemon("fa1").Show("aaa", "", &shown) == nil && len(shown.Servers) == 1 && n > 0 && shown.Servers[0].Forged == uint64(n)
	})
	if shown.Servers[0].State != "alive" {
		t.Errorf("the foreign agent shows %+v", shown.Servers)
	}
}

// datagram is a packet as forgers make it.
func datagram(t *testing.T, from, to netip.AddrPort, payload []byte) []byte {
	p, err := encap.AppendUDP(nil, encap.IPv4{ID: 8}, from, to, payload)
	if err != nil {
		t.Error(err)
	}
	return p
}

// eject sends a Disconnect from the server, and prints how long it took.
func eject(t *testing.T, s *Stage) {
	t.Helper()
	var mu sync.Mutex
	var sent, answered time.Time
	s.datagrams("site", func(at time.Time, d encap.UDPDatagram) {
		mu.Lock()
		defer mu.Unlock()
		if len(d.Payload) < 20 {
			return
		}
		switch d.Payload[0] {
		case disconnect:
			sent = at
		case disconnectACK:
			answered = at
		}
	})
	ended := make(chan control.Event, 1)
	before := len(s.Events("ha"))
	cmd := exec.Command("radclient", "-r", "3", "-t", "5", "10.10.0.1:3799", "disconnect", "a-long-secret-for-agents")
	cmd.Stdin = strings.NewReader("User-Name = \"van7@fleet.example\"\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := s.Network.Node("radius").Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil || !strings.Contains(out.String(), "Disconnect-ACK") {
		t.Fatalf("radclient: %v\n%s", err, out.String())
	}
	s.Until("the binding has gone", 10*time.Second, func() bool {
		for _, e := range s.Events("ha")[before:] {
			if e.Kind == "unbound" && e.HomeAddress == netip.MustParseAddr("10.10.0.5") {
				select {
				case ended <- e:
				default:
				}
				return true
			}
		}
		return false
	})
	mu.Lock()
	defer mu.Unlock()
	roundTrip := 2 * (s.Lab.Topology.Segment("site").Delay.Duration + s.Lab.Topology.Segment("home").Delay.Duration)
	t.Logf("Disconnect: answered after %v, with a round trip of %v; the binding went %v after the order", answered.Sub(sent).Round(10*time.Microsecond), roundTrip, (<-ended).Time.Sub(sent).Round(10*time.Microsecond))
}

// accounted waits for an agent's record of a kind.
func (s *Stage) accounted(t *testing.T, agent, status string) (record string) {
	t.Helper()
	s.Until("the server has a record "+status+" of "+agent, 20*time.Second, func() bool {
		b, _ := os.ReadFile(filepath.Join(s.Directory, "radius", "careof.accounting"))
		for _, r := range strings.Split(string(b), "\n\n") {
			if strings.Contains(r, "Acct-Status-Type = "+status) && strings.Contains(r, `NAS-Identifier = "`+agent+`"`) {
				record = r
				return true
			}
		}
		return false
	})
	return record
}

// sendFrame has a node put an Ethernet frame on the link of an interface.
func sendFrame(t *testing.T, node *netns.Node, iface string, frame []byte) {
	t.Helper()
	err := node.Do(func() error {
		link, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
}
