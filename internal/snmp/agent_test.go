package snmp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/wire/agentx"
)

// A fake daemon with all three roles.
type fake struct {
	answers map[string]any
	events  chan control.Event
}

func (f *fake) Show(_ context.Context, what, _ string) (any, error) {
	if v, ok := f.answers[what]; ok {
		return v, nil
	}
	return nil, control.ErrNotFound
}

func (f *fake) Subscribe(*uint64) ([]control.Event, <-chan control.Event, func()) {
	return nil, f.events, func() {}
}

func newFake() *fake {
	addr := netip.MustParseAddr
	return &fake{events: make(chan control.Event, 8), answers: map[string]any{
		"status": control.Status{Roles: []control.RoleStatus{{Role: "home-agent", State: "serving"}, {Role: "foreign-agent", State: "serving"}, {Role: "mobile-node", State: "registered"}}},
		"counters": []control.Counter{
			{Name: "home-agent.registrations_bound", Value: 3}, {Name: "home-agent.registrations_refreshed", Value: 4}, {Name: "home-agent.denied_133", Value: 7},
			{Name: "foreign-agent.denied_66", Value: 2}, {Name: "mobile-node.refused-133", Value: 1}, {Name: "mobile-node.refused-66", Value: 5},
		},
		"associations": []control.Association{
			{Role: "home-agent", Peer: "10.10.0.5", SPI: 256, Algorithm: "keyed-md5", Replay: "nonce"},
			{Role: "home-agent", Peer: "van7@fleet.example", SPI: 257, Algorithm: "hmac-sha256", Replay: "timestamp"},
		},
		"registrations": []control.Registration{{
			Role: "mobile-node", HomeAgent: addr("198.51.100.1"), CareOfAddress: addr("203.0.113.7"), HomeAddress: addr("10.10.0.9"), Active: true, State: "registered",
			Granted: control.Seconds(10 * time.Minute), Remaining: control.Seconds(9 * time.Minute),
		}},
		"visitors": []control.Visitor{{HomeAddress: addr("10.20.0.1"), HomeAgent: addr("198.51.100.2"), CareOfAddress: addr("203.0.113.1"), State: "pending", Identification: "00000001ffffffff"}},
		"bindings": []control.Binding{
			{HomeAddress: addr("10.10.0.5"), CareOfAddress: addr("203.0.113.50"), Endpoint: control.Endpoint(netip.MustParseAddrPort("198.18.0.1:434")),
				Granted: control.Seconds(10 * time.Minute), Remaining: control.Seconds(5 * time.Minute), Identification: "0123456789abcdef"},
			{HomeAddress: addr("10.10.0.200"), CareOfAddress: addr("203.0.113.9"), Granted: control.Seconds(1000 * time.Hour)},
		},
	}}
}

// master starts net-snmp's agent, and gives the address for snmpwalk and for
// sub-agents, and the file of its log.
func master(t *testing.T, extra string) (address, socket, log string) {
	t.Helper()
	address, socket, log, _ = mortalMaster(t, extra)
	return address, socket, log
}

// mortalMaster is a master that can be ended before the test.
func mortalMaster(t *testing.T, extra string) (address, socket, log string, end func()) {
	t.Helper()
	for _, program := range []string{"snmpd", "snmpwalk", "snmpset"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program, " is not installed")
		}
	}
	dir := t.TempDir()
	port := freePort(t)
	address, socket, log = fmt.Sprintf("udp:127.0.0.1:%d", port), filepath.Join(dir, "master"), filepath.Join(dir, "log")
	conf := filepath.Join(dir, "snmpd.conf")
	text := fmt.Sprintf("agentaddress %s\nrwcommunity public 127.0.0.1\nmaster agentx\nagentXSocket unix:%s\n%s", address, socket, extra)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("snmpd", "-f", "-Lf", log, "-C", "-c", conf, "-p", filepath.Join(dir, "pid"))
	cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	t.Cleanup(end)
	return address, "unix:" + socket, log, end
}

// freePort is a port that nobody has, and that the kernel gives to nobody who lets it
// choose: others test on this host meanwhile.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.IntN(20_000)
		if c, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return port
		}
	}
	t.Fatal("there is no free port")
	return 0
}

// snmp runs one of net-snmp's programs, and gives what it answers; when it fails, with
// what it complains of. One that runs for the first time on a machine says, beside its
// answer, that it has made a folder.
func snmp(address, program string, args ...string) (string, error) {
	args = append([]string{"-v2c", "-c", "public", "-On", "-t", "2", "-r", "1", address}, args...)
	out, err := exec.Command(program, args...).Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		out = append(out, failed.Stderr...)
	}
	return string(out), err
}

func serve(t *testing.T, source Source, socket string) *Agent {
	t.Helper()
	agent, err := New(socket, source, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { agent.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return agent
}

// eventually tries until what it tries succeeds.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// TestSnmpwalkReadsTheMIB walks the whole MIB by net-snmp.
//
//rfc:2006#3
//rfc:2741#7.2.3
func TestSnmpwalkReadsTheMIB(t *testing.T) {
	address, socket, _ := master(t, "")
	serve(t, newFake(), socket)
	const mib = ".1.3.6.1.2.1.44"
	var walk string
	eventually(t, func() (err error) {
		if walk, err = snmp(address, "snmpwalk", mib); err == nil && !strings.Contains(walk, mib+".1.6.3.13.0") {
			err = fmt.Errorf("the walk says:\n%s", walk)
		}
		return err
	})
	for _, want := range []string{
		".1.1.1.0 = Hex-STRING: E0 ", // mipEntities: all three
		".1.2.1.1.3.10.10.0.5.256 = INTEGER: 2",
		".1.2.1.1.4.10.10.0.5.256 = INTEGER: 2",
		`.1.2.1.1.5.10.10.0.5.256 = ""`, // a key is never told
		".1.2.1.1.6.10.10.0.5.256 = INTEGER: 3",
		".1.2.2.0 = Counter32: 7",
		".1.3.1.1.0 = INTEGER: 2",
		".1.3.1.2.0 = IpAddress: 10.10.0.9",
		".1.3.3.1.1.7.198.51.100.1.203.0.113.7 = INTEGER: 540",
		".1.3.3.15.0 = Counter32: 1",
		".1.3.3.16.0 = Counter32: 5",
		".1.5.1.1.1.2.203.0.113.1 = INTEGER: 1",
		".1.5.3.1.1.7.10.20.0.1 = INTEGER: -1",
		".1.5.3.1.1.8.10.20.0.1 = INTEGER: 1",
		".1.5.3.1.1.9.10.20.0.1 = INTEGER: 2", // not accepted yet
		".1.5.3.6.0 = Counter32: 2",
		".1.6.3.1.1.2.10.10.0.5.203.0.113.50 = IpAddress: 203.0.113.50",
		".1.6.3.1.1.3.10.10.0.5.203.0.113.50 = IpAddress: 198.18.0.1",
		".1.6.3.1.1.7.10.10.0.200.203.0.113.9 = INTEGER: 65535",
		".1.6.3.1.1.8.10.10.0.5.203.0.113.50 = INTEGER: 300",
		".1.6.3.3.0 = Counter32: 7",
	} {
		if !strings.Contains(walk, mib+want+"\n") {
			t.Errorf("no line %s%s in\n%s", mib, want, walk)
		}
	}
	if bulk, err := snmp(address, "snmpbulkwalk", mib); err != nil || bulk != walk {
		t.Errorf("by GetBulk it reads (%v):\n%s\nby GetNext:\n%s", err, bulk, walk)
	}
	for name, want := range map[string]string{".1.1.1.7.0": "No Such Object", ".1.6.3.1.1.2.9.9.9.9.1.1.1.1": "No Such Instance"} {
		if got, err := snmp(address, "snmpget", mib+name); err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %s, %v; want %s", name, got, err, want)
		}
	}
	if got, err := snmp(address, "snmpset", mib+".1.1.2.0", "i", "2"); err == nil || !strings.Contains(got, "notWritable") {
		t.Errorf("mipEnable can be set: %s", got)
	}
}

// TestAFailedAuthenticationIsATrap lets net-snmp send mipAuthFailure on, and
// reads the violation back.
//
//rfc:2006#3
func TestAFailedAuthenticationIsATrap(t *testing.T) {
	sink, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	address, socket, _ := master(t, fmt.Sprintf("trap2sink %s public\n", sink.LocalAddr()))
	source := newFake()
	serve(t, source, socket)
	eventually(t, func() error {
		_, err := snmp(address, "snmpget", ".1.3.6.1.2.1.44.1.1.1.0")
		return err
	})
	source.events <- control.Event{Time: time.Now(), Note: note.Note{
		Kind: note.Denied, Code: 133, SPI: 256, Identification: 5<<32 | 6, Endpoint: netip.MustParseAddrPort("192.0.2.66:434"),
	}}
	// 1.3.6.1.2.1.44.2.0.1 in BER, and the violator's address.
	trap, violator := []byte{0x2b, 6, 1, 2, 1, 44, 2, 0, 1}, []byte{0x40, 4, 192, 0, 2, 66}
	b := make([]byte, 4096)
	if err := sink.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		n, _, err := sink.ReadFrom(b)
		if err != nil {
			t.Fatal("no trap: ", err)
		}
		if bytes.Contains(b[:n], trap) && bytes.Contains(b[:n], violator) {
			break
		}
	}
	eventually(t, func() error {
		got, err := snmp(address, "snmpget", ".1.3.6.1.2.1.44.1.2.3.1.7.192.0.2.66")
		if err == nil && !strings.Contains(got, "INTEGER: 3") {
			err = fmt.Errorf("the reason reads %s, want badIdentifier(3)", got)
		}
		return err
	})
}

// TestAFloodOfFailuresIsBounded keeps the latest violators only.
func TestAFloodOfFailuresIsBounded(t *testing.T) {
	v := violations{started: time.Now()}
	for i := range 10 * maxViolators {
		peer := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		if _, is := v.hear(control.Event{Note: note.Note{Kind: note.Denied, Code: 131, Endpoint: netip.AddrPortFrom(peer, 434)}}); !is {
			t.Fatal("a wrong authenticator is no violation")
		}
	}
	if len(v.rows) != maxViolators {
		t.Errorf("%d rows", len(v.rows))
	}
	if _, is := v.hear(control.Event{Note: note.Note{Kind: note.Denied, Code: 130}}); is {
		t.Error("a full pool is a violation")
	}
}

// TestAMasterThatComesLateIsFound starts the sub-agent first.
func TestAMasterThatComesLateIsFound(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "master")
	serve(t, newFake(), "unix:"+socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := listener.(*net.UnixListener).SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal("it did not come again: ", err)
	}
	defer conn.Close()
	var head [agentx.HeaderLen]byte
	if _, err := conn.Read(head[:]); err != nil {
		t.Fatal(err)
	}
	if h, err := agentx.ParseHeader(head[:]); err != nil || h.Type != agentx.Open {
		t.Errorf("it says %v, %v", h.Type, err)
	}
}

// What the daemon's status tells of a master: nothing while it serves, and
// which one is gone when it is.
func TestAMasterThatIsGoneIsTold(t *testing.T) {
	_, socket, _, end := mortalMaster(t, "")
	agent := serve(t, newFake(), socket)
	tells := func(want bool) {
		t.Helper()
		eventually(t, func() error {
			err := agent.Trouble()
			if (err != nil) != want || want && !strings.Contains(err.Error(), socket) {
				return fmt.Errorf("the trouble is %v, want some: %v", err, want)
			}
			return nil
		})
	}
	tells(false)
	end()
	tells(true)
}
