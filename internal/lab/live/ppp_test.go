package live

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/host/dhcp/stock"
	"careof/internal/lab/netns"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// The modem of [TestAModemHasNoGateway], with two pppd and the kernel's ppp between
// them: the interface comes with the call and goes with it, has 1492 octets as
// behind PPPoE, and each call brings another address. The node says so, takes what
// is there, goes to a Wi-Fi when the line drops, and stays there while the modem
// dials; a connection survives all of it.
func TestAModemDials(t *testing.T) {
	t.Parallel()
	stock.Need(t, "pppd")
	if _, err := os.Stat("/dev/ppp"); err != nil {
		t.Skipf("this kernel has no ppp: %v", err)
	}
	top := topology.Default()
	mn := top.Node("mn")
	mn.Config = strings.Replace(mn.Config, "interface = \"wwan0\"", "interface = \"ppp0\"", 1)
	// A real address, so that what the provider gives is what the home agent hears.
	top.Node("gate").NAT = nil
	core := top.Node("core")
	core.Routes = append(core.Routes, topology.Route{Prefix: netip.MustParsePrefix("10.64.1.0/24"), Via: netip.MustParseAddr("100.64.0.2")})
	l := build(t, top, Options{Kernel: true})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	uplink := func() (u control.Uplink) {
		var uplinks []control.Uplink
		if err := l.Daemon("mn").Show("uplinks", "", &uplinks); err != nil {
			s.Fatalf("uplinks: %v", err)
		}
		for _, u := range uplinks {
			if u.Interface == "ppp0" {
				return u
			}
		}
		s.Fatalf("there is no uplink ppp0")
		return u
	}
	if err := scene.Perform(&scene.Scene{Name: "ppp", Play: func(scene.Lab) {
		over := func(link, careOf string) func() bool {
			return func() bool {
				b := s.Binding("mn")
				return b.Registered && b.Link == link && (careOf == "" || b.CareOf.String() == careOf)
			}
		}
		hangUp := dial(t, l.Network.Node("mn"), l.Network.Node("gate"), "10.64.1.2")
		s.Until("the node is registered over the modem", 60*time.Second, over("ppp0", "10.64.1.2"))
		if i, err := l.Network.Node("mn").Interface("ppp0"); err != nil || i.MTU != 1492 {
			s.Fatalf("ppp0 is %+v, %v", i, err)
		}
		stream := s.Stream("mn", "cn", 1<<20)
		flows := func(where string) {
			before := stream.Progress()
			s.Until("the connection goes on "+where, 60*time.Second, func() bool { return stream.Progress() > before || stream.Done() })
		}
		flows("over the modem")
		s.Plug("mn", "wlan0", "access1")
		s.Until("the node is registered over the Wi-Fi", 60*time.Second, over("wlan0", ""))
		flows("over the Wi-Fi")

		// Another call, and another address, while the Wi-Fi carries.
		hangUp()
		s.Until("the uplink is known to have no link", 60*time.Second, func() bool { return !uplink().Usable })
		hangUp = dial(t, l.Network.Node("mn"), l.Network.Node("gate"), "10.64.1.77")
		s.Until("the uplink has its new address", 60*time.Second, func() bool { u := uplink(); return u.Usable && u.CareOfAddress.String() == "10.64.1.77" })
		s.Unplug("mn", "wlan0")
		s.Until("the node is registered over the modem's other address", 60*time.Second, over("ppp0", "10.64.1.77"))
		flows("over the other call")

		// And one while nothing else carries.
		hangUp()
		s.Until("nothing carries", 60*time.Second, func() bool { return !uplink().Usable })
		dial(t, l.Network.Node("mn"), l.Network.Node("gate"), "10.64.1.5")
		s.Until("the node is registered over the third address", 60*time.Second, over("ppp0", "10.64.1.5"))
		flows("over the third call")
		if stream.Broken() != "" {
			s.Fatalf("the stream is dead: %s", stream.Broken())
		}
	}}, s); err != nil {
		t.Error(err)
	}
}

// dial has a pppd of the node call one of the provider, which gives it an address.
// hangUp ends the call, as a modem that loses its carrier does.
func dial(t *testing.T, node, provider *netns.Node, address string) (hangUp func()) {
	t.Helper()
	folder := t.TempDir()
	common := []string{"noauth", "local", "nodetach", "nocrtscts", "nopcomp", "noaccomp", "novj", "noccp", "noipv6", "mtu", "1492", "mru", "1492",
		"lcp-echo-interval", "0", "ip-up-script", "/bin/true", "ip-down-script", "/bin/true", "debug"}
	var lines [2]*os.File
	var ends [2]*netns.Process
	for i, end := range []struct {
		on      *netns.Node
		options []string
	}{
		{provider, []string{"10.64.64.64:" + address, "ifname", "ppp7", "nodefaultroute", "passive"}},
		{node, []string{"noipdefault", "ipcp-accept-local", "ipcp-accept-remote", "ifname", "ppp0", "defaultroute", "defaultroute-metric", "700"}},
	} {
		line, terminal, err := openPTY()
		if err != nil {
			t.Fatal(err)
		}
		lines[i] = line
		log := filepath.Join(folder, end.on.Name())
		c := exec.Command("pppd", append(append([]string{terminal}, common...), append(end.options, "logfile", log)...)...)
		if ends[i], err = end.on.Start(c); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if b, err := os.ReadFile(log); err == nil && t.Failed() {
				t.Logf("pppd on %s:\n%s", end.on.Name(), b)
			}
		})
	}
	go io.Copy(lines[0], lines[1])
	go io.Copy(lines[1], lines[0])
	hangUp = func() {
		for i := range ends {
			lines[i].Close()
		}
		for _, p := range ends {
			<-p.Done()
		}
	}
	t.Cleanup(hangUp)
	return hangUp
}

// openPTY opens a pseudoterminal: its line, and the name of the terminal. It echoes
// nothing, or the one whose pppd is late would look like a loop to the other.
func openPTY() (line *os.File, terminal string, err error) {
	line, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", err
	}
	raw, err := line.SyscallConn()
	if err != nil {
		return nil, "", errors.Join(err, line.Close())
	}
	if e := raw.Control(func(fd uintptr) {
		var n int
		var mode *unix.Termios
		if n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err != nil {
			return
		}
		terminal = fmt.Sprintf("/dev/pts/%d", n)
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		if mode, err = unix.IoctlGetTermios(int(fd), unix.TCGETS); err == nil {
			mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
			err = unix.IoctlSetTermios(int(fd), unix.TCSETS, mode)
		}
	}); e != nil || err != nil {
		return nil, "", errors.Join(e, err, line.Close())
	}
	return line, terminal, nil
}
