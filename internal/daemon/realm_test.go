package daemon

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"careof/internal/control"
)

// Two realms: a node of home.example, which shares a secret with its AAA server and
// with nobody else, registers through a foreign agent of visited.example, with a
// home agent there that it asks for, or that its home realm assigns. Keys come to
// all three, the packets flow, the server ends the session.
//
//rfc:4004#3.2
//rfc:4004#3.4
//rfc:4004#4.1.3
func TestANodeRoamsBetweenTwoRealms(t *testing.T) {
	t.Run("with a home agent that it names", func(t *testing.T) {
		roams(t, "visited-allowed", `home-agent = "198.51.100.1"`)
	})
	t.Run("with a home agent that is assigned", func(t *testing.T) {
		roams(t, "visited-preferred", `assignment = "any"`)
	})
}

func roams(t *testing.T, policy, agent string) {
	n := wireForeignNet(t)
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	if err := n.mn.H.AddrDel(n.mn.Link("eth0"), &netlink.Addr{IPNet: &net.IPNet{IP: visitorHome.AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(n.dir, "keys.d", "aaa")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("a secret that nobody guesses\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	aaah := n.daemon(n.cn, "aaah", strings.Replace(guide(t, "home realm's server"), "visited-preferred", policy, 1))
	n.daemon(n.r, "aaaf", guide(t, "visited realm's server"))
	home := n.daemon(n.ha, "ha", guide(t, "visited realm's home agent"))
	n.control = n.daemon(n.fa, "fa", guide(t, "visited realm's foreign agent"))
	n.daemon(n.mn, "mn", strings.Replace(guide(t, "roaming node"), `assignment = "any"`, agent, 1))
	address := netip.MustParseAddr("10.10.0.77")
	bindings := func() []control.Binding {
		var shown struct{ Bindings []control.Binding }
		n.shownBy(home, "bindings", &shown)
		return shown.Bindings
	}
	n.until("the node is bound", func() bool {
		b := bindings()
		return len(b) == 1 && b[0].HomeAddress == address && b[0].CareOfAddress == visitorCoA
	})
	n.until("the visit is accepted", func() bool {
		list := n.listed()
		return len(list) == 1 && list[0].State == "accepted"
	})
	if echoed := n.echoes(address, 20); echoed != 20 {
		t.Errorf("%d of 20 datagrams came back", echoed)
	}
	var shown struct{ AAA control.AAA }
	n.shownBy(aaah, "aaa", &shown)
	if s := shown.AAA.Realm; s == nil || len(s.Sessions) != 1 || s.Sessions[0].NAI != "van7@home.example" || s.Sessions[0].HomeAgent.String() != "198.51.100.1" {
		t.Errorf("the home realm's server has %+v", s)
	}
	for secret, granted := range map[string]bool{"a secret that nobody guesses": true, "a guess of a stranger": false} {
		for what, at := range map[string]*control.Client{"foreign agent": n.control, "home realm's server": aaah} {
			v, err := at.TestAAA(t.Context(), control.AAATestOrder{NAI: "van7@home.example", SPI: 512, Secret: secret})
			if err != nil || v.Key.Granted != granted {
				t.Errorf("aaa test with %q at the %s: %+v, %v", secret, what, v, err)
			}
		}
	}
	session := shown.AAA.Realm.Sessions[0].ID
	if _, err := aaah.EndAAA(t.Context(), control.AAAEndOrder{NAI: "van7@home.example"}); err != nil {
		t.Fatal(err)
	}
	// The node comes back at once, with a session of its own: the home agent's STR
	// has ended the one before.
	n.until("the session is another one", func() bool {
		n.shownBy(aaah, "aaa", &shown)
		s := shown.AAA.Realm
		return s != nil && (len(s.Sessions) == 0 || s.Sessions[0].ID != session)
	})
}

// An AAA server alone moves no packets: it runs as anybody, without a device, and
// answers who asks it.
func TestAnAAAServerAloneNeedsNoPrivilege(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can take its privileges away and show that they are not missed")
	}
	// A folder that everybody can reach: the test's own ones are root's.
	dir, err := os.MkdirTemp("/tmp", "careof-aaa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const nobody = 65534
	file, socket, self := filepath.Join(dir, "careof.toml"), filepath.Join(dir, "careof.sock"), filepath.Join(dir, "careof")
	text := "version = 1\nstate-directory = \"" + dir + "/state\"\n[control]\nsocket = \"" + socket + "\"\n" + `
[aaa.serve]
[[aaa.subscriber]]
nai = "van7@home.example"
spi = 512
secret = "a secret that nobody guesses"
[aaa.diameter]
identity = "aaa.home.example"
realm = "home.example"
[[aaa.diameter.peer]]
identity = "aaa.visited.example"
address = "192.0.2.1:3868"
`
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.WriteFile(self, program, 0o755), os.Chmod(dir, 0o755),
		os.Chown(dir, nobody, nobody), os.Chown(file, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	told := filepath.Join(dir, "notify")
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: told, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	if err := os.Chmod(told, 0o666); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(self)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = append(os.Environ(), daemonVariable+"="+file, "NOTIFY_SOCKET="+told), "/", &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		ready.Close()
	}()
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("it ends with %v:\n%s", err, said.String())
			}
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
			t.Error("it does not end")
		}
	}()
	client := control.NewClient(socket)
	var status control.Status
	ready.SetReadDeadline(time.Now().Add(30 * time.Second))
	for b := make([]byte, 1000); ; {
		n, err := ready.Read(b)
		if errors.Is(err, net.ErrClosed) {
			err = <-ended
			ended <- err
			t.Fatalf("it has ended: %v\n%s", err, said.String())
		}
		if err != nil {
			t.Fatal("it is not ready: ", err)
		}
		if bytes.Contains(b[:n], []byte("READY=1")) {
			break
		}
	}
	if err := client.Show(t.Context(), "status", "", &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Roles) != 1 || status.Roles[0].Role != "aaa" || status.Device != "" {
		t.Errorf("status %+v", status)
	}
	granted := func(nai, secret string) bool {
		t.Helper()
		v, err := client.TestAAA(t.Context(), control.AAATestOrder{NAI: nai, SPI: 512, Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		return v.Key.Granted
	}
	if !granted("van7@home.example", "a secret that nobody guesses") {
		t.Error("the subscriber is refused")
	}
	// Subscribers come and go while it runs, and so does what it serves.
	text = strings.NewReplacer("van7@home.example", "van8@home.example", "nobody guesses", "van 8 has alone", "[aaa.serve]", "[aaa.serve]\nauthorisation = \"2h\"").Replace(text)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	done, err := client.Reload(t.Context(), control.ReloadOrder{})
	if err != nil || !done.Applied {
		t.Fatalf("reload: %+v, %v", done, err)
	}
	if granted("van7@home.example", "a secret that nobody guesses") || !granted("van8@home.example", "a secret that van 8 has alone") {
		t.Error("the subscribers are not those of the file")
	}
	if err := client.Show(t.Context(), "status", "", &status); err != nil || !strings.Contains(status.Roles[0].Summary, "1 subscribers") {
		t.Errorf("status %+v, %v", status, err)
	}
}
