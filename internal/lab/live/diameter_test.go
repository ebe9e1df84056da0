package live

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/host/diameter/diametertest"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// relayed puts a relay between the two realms' AAA servers.
func relayed(t *testing.T, relay string, at netip.AddrPort) *topology.Topology {
	t.Helper()
	top, err := topology.Load("diameter-two-realms")
	if err != nil {
		t.Fatal(err)
	}
	peer := "[[aaa.diameter.peer]]\nidentity = \"" + relay + "\"\naddress = \"" + at.String() + "\"\nrealms = [\"*\"]\n"
	for node, was := range map[string]string{
		"aaah": "[[aaa.diameter.peer]]\nidentity = \"aaa.visited.example\"\nfrom = [\"203.0.113.20\"]\nrealms = [\"visited.example\"]\n",
		"aaaf": "[[aaa.diameter.peer]]\nidentity = \"aaa.home.example\"\naddress = \"198.51.100.20:3868\"\nrealms = [\"*\"]\n",
	} {
		n := top.Node(node)
		if !strings.Contains(n.Config, was) {
			t.Fatalf("%s has another peer by now:\n%s", node, n.Config)
		}
		n.Config = strings.Replace(n.Config, was, peer, 1)
	}
	return top
}

// A node visits a realm that never heard of it. Its home realm's AAA server stands behind freeDiameter, which relays; the keys of all
// three parties are made on the way, and tshark reads every message.
//
//rfc:4004#3.1
//rfc:6733#2.8.1
func TestTwoRealmsWithFreeDiameterBetweenThem(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort("192.0.2.10:3868")
	file := filepath.Join(t.TempDir(), "realms.pcapng")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	l := build(t, relayed(t, "relay.between.example", at), Options{})
	relay := diametertest.FreeDiameter(t, diametertest.Relay{
		Host: "relay.between.example", Realm: "between.example", Allow: []string{"*.visited.example", "*.home.example"}, Address: at,
		In: func(f func()) {
			if err := l.Network.Node("cn").Do(func() error { f(); return nil }); err != nil {
				t.Fatal(err)
			}
		},
	})
	capture, err := l.StartCapture(out, CaptureConfig{})
	if err != nil {
		t.Fatal(err)
	}
	stage := NewStage(l, t.Logf)
	defer stage.Close()
	defer func() {
		if t.Failed() {
			t.Logf("freeDiameter:\n%s", relay.Log())
		}
	}()
	connected := func(node string) bool {
		var shown control.AAA
		if err := l.Daemon(node).Show("aaa", "", &shown); err != nil {
			return false
		}
		return len(shown.Peers) > 0 && !slices.ContainsFunc(shown.Peers, func(p control.AAAPeer) bool { return !strings.HasSuffix(p.State, "-open") })
	}
	play := func(scene.Lab) {
		stage.Until("all peers are connected", time.Minute, func() bool {
			return connected("aaah") && connected("aaaf") && connected("fa") && connected("ha")
		})
		stage.Plug("mn", "wlan0", "visited")
		stage.Until("registered through the foreign agent", time.Minute, func() bool {
			b := stage.Binding("mn")
			return b.Registered && b.CareOf == netip.MustParseAddr("203.0.113.1")
		})
		if !stage.Reaches("cn", "mn") {
			t.Error("nothing passes")
		}
	}
	if err := scene.Perform(&scene.Scene{Name: "realms", Play: play}, stage); err != nil {
		t.Fatal(err)
	}
	if err := capture.Close(); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Log("tshark is not installed: nobody else has read the messages")
		return
	}
	read, err := exec.Command(program, "-n", "-r", file, "-Y", "diameter", "-T", "fields", "-e", "diameter.cmd.code", "-e", "diameter.flags.request",
		"-e", "diameter.Result-Code", "-e", "_ws.malformed", "-e", "diameter.Route-Record").Output()
	if err != nil {
		t.Fatal(err)
	}
	text := string(read)
	for _, want := range []string{
		"260\t1\t\t\t\n",                 // AMR of the foreign agent
		"260\t1\t\t\tfa.visited.example", // on its way
		"262\t1\t\t\t\n",                 // HAR
		"262\t0\t2001\t\t\n",             // HAA
		"260\t0\t2001\t\t\n",             // AMA
	} {
		if !strings.Contains(text, want) {
			t.Errorf("tshark sees no %q in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if f := strings.Split(line, "\t"); len(f) > 3 && f[3] != "" {
			t.Errorf("malformed, says tshark: %q", line)
		}
	}
}
