package live

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/core/note"
	"careof/internal/lab/netns"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// A modem's link has two ends and no gateway: an address at each, a default route
// to the device (as pppd and ModemManager make them, and pppd only where there is
// none yet), no link-layer addresses. The node takes what is configured there,
// registers over it, comes back to it from a Wi-Fi, and a connection survives both
// moves. Nothing is wrong with such a link.
func TestAModemHasNoGateway(t *testing.T) {
	t.Parallel()
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("there is no ip: apt-get install iproute2")
	}
	top := topology.Default()
	mn := top.Node("mn")
	mn.Config = strings.Replace(mn.Config, "interface = \"wwan0\"", "interface = \"ppp0\"", 1)
	l := build(t, top, Options{Kernel: true})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	node, provider := l.Network.Node("mn"), l.Network.Node("gate")
	near, far := pointToPoint(t, node, "ppp0"), pointToPoint(t, provider, "ppp7")
	go carryFrames(near, far)
	go carryFrames(far, near)
	for _, command := range []string{"address add 10.64.64.64 peer 10.64.1.2 dev ppp7", "link set ppp7 up"} {
		inside(t, provider, exec.Command(ip, strings.Fields(command)...))
	}
	dial := func(and ...string) {
		t.Helper()
		for _, command := range append([]string{"address add 10.64.1.2 peer 10.64.64.64 dev ppp0", "link set ppp0 up"}, and...) {
			inside(t, node, exec.Command(ip, strings.Fields(command)...))
		}
	}
	err = scene.Perform(&scene.Scene{Name: "modem", Play: func(scene.Lab) {
		dial("route add default dev ppp0 metric 700")
		over := func(link string) func() bool {
			return func() bool { b := s.Binding("mn"); return b.Registered && b.Link == link }
		}
		s.Until("the node is registered over the modem", 30*time.Second, over("ppp0"))
		stream := s.Stream("mn", "cn", 200_000)
		flows := func(where string) {
			t.Helper()
			before := stream.Progress()
			s.Until("the connection goes on "+where, 30*time.Second, func() bool { return stream.Progress() > before || stream.Done() })
		}
		flows("over the modem")
		s.Plug("mn", "wlan0", "access1")
		s.Until("the node is registered over the Wi-Fi", 30*time.Second, over("wlan0"))
		flows("over the Wi-Fi")
		s.Unplug("mn", "wlan0")
		s.Until("the node is registered over the modem again", 30*time.Second, over("ppp0"))
		flows("over the modem again")
		hangUp := func() {
			inside(t, node, exec.Command(ip, "link", "set", "ppp0", "down"))
			inside(t, node, exec.Command(ip, "address", "flush", "dev", "ppp0"))
		}
		hangUp()
		dial("route add default dev ppp0 metric 700")
		flows("after another call")
		// Another one is made while the Wi-Fi has the default route.
		s.Plug("mn", "wlan0", "access1")
		s.Until("the node is registered over the Wi-Fi", 30*time.Second, over("wlan0"))
		hangUp()
		dial()
		s.Unplug("mn", "wlan0")
		s.Until("the node is registered over the modem once more", 30*time.Second, over("ppp0"))
		flows("over a modem without a default route")
		for _, e := range l.Events("mn") {
			if e.Kind == note.Failed && strings.HasPrefix(e.Why, "discovery: ") {
				s.Fatalf("%v", e.Note)
			}
		}
		if stream.Broken() != "" {
			s.Fatalf("the stream is dead: %s", stream.Broken())
		}
	}}, s)
	if err != nil {
		t.Error(err)
	}
}

// pointToPoint makes a link of a node without link-layer addresses; the other
// end is the file.
func pointToPoint(t *testing.T, node *netns.Node, name string) *os.File {
	t.Helper()
	var f *os.File
	if err := node.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return os.NewSyscallError("open", err)
		}
		request, err := unix.NewIfreq(name)
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return errors.Join(os.NewSyscallError("ioctl", err), unix.Close(fd))
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// carryFrames takes packets from one end of a line to the other, until one of
// them is closed. While an interface is down nothing is taken there.
func carryFrames(to, from *os.File) {
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // the interface is down: tuntap says EIO
			continue
		}
		if _, err := to.Write(b[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}
