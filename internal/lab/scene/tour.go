package scene

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"careof/internal/lab/topology"
	"careof/wire/encap"
)

// tour is a scene that goes the long way with one encapsulation. What is seen
// on all links on the way is held against a golden story, hop by hop.
func tour(form encap.Kind) *Scene {
	return &Scene{
		Name:     "tour-" + form.String(),
		Doc:      "From home to one foreign agent, to another, behind a translator and home again, by " + form.String() + ": the stream survives, and every hop does to each message what it may.",
		Topology: "home-link",
		Edit: func(t *topology.Topology) {
			AddForeignAgents(t)
			edit(t, mobile, "home-agent = ", "encapsulation = \""+form.String()+"\"\nhome-agent = ")
			// The first foreign agent and the home agent sign for each other.
			key := "spi = 300\nkey = \"hex:99112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"\nalgorithm = \"hmac-sha256\"\n"
			t.Node(agent).Config += "\n[[home-agent.foreign-agent]]\naddress = \"" + CareOf1.String() + "\"\n" + key
			t.Node(foreign1).Config += "\n[[foreign-agent.home-agent]]\naddress = \"10.10.0.1\"\n" + key
		},
		//rfc:5944#2.4.2
		//rfc:5944#3.1
		//rfc:5944#3.7.2.2
		//rfc:5944#3.7.3.2
		//rfc:5944#4.2.2
		//rfc:3024#5.1
		//rfc:3519#4
		Play: func(l Lab) {
			hops := recordAll(l)
			var story strings.Builder
			var stream Stream
			var down, up Flow
			for i, leg := range []struct {
				segment string
				careOf  netip.Addr
				path    []string // of links, to the home agent
			}{
				{"home", netip.Addr{}, []string{"home"}},
				{visited1, CareOf1, []string{visited1, "isp1", "home"}},
				{visited2, CareOf2, []string{visited2, "isp1", "home"}},
				{access2, netip.Addr{}, []string{access2, "isp2", "home"}},
				{"home", netip.Addr{}, []string{"home"}},
			} {
				hops.skip()
				began := l.Now()
				l.Plug(mobile, wlan, leg.segment)
				l.Until("the node is registered on "+leg.segment, 15*time.Second, func() bool {
					b := l.Binding(mobile)
					switch {
					case leg.segment == "home":
						// Where it has never been away, there is nothing to register.
						return b.AtHome && b.Tunnels == 0 && (b.Registered || i == 0)
					case leg.careOf.IsValid():
						return b.Registered && b.CareOf == leg.careOf
					}
					return b.Registered && b.UDP
				})
				if stream == nil {
					stream = l.Stream(mobile, peer, 400_000)
					down, up = l.Flow(peer, mobile, 5*time.Millisecond), l.Flow(mobile, peer, 5*time.Millisecond)
				}
				l.Wait(1500 * time.Millisecond)
				if d, u := down.Report(began, began+time.Second), up.Report(began, began+time.Second); leg.careOf.IsValid() {
					outage(l, leg.segment, d, u, i == 1)
				}
				signals, err := hops.signalling(leg.path)
				if err != nil {
					l.Fatalf("%v", err)
				}
				// What was on its way over the old links has arrived.
				hops.skip()
				l.Wait(time.Second)
				fmt.Fprintf(&story, "# %d: %s\n", i, leg.segment)
				for _, line := range append(signals, hops.data(append(leg.path, "site"))...) {
					fmt.Fprintln(&story, line)
				}
			}
			well(l, stream, time.Minute)
			if err := golden("tour-"+form.String(), story.String(), l.Can(Exact)); err != nil {
				l.Fatalf("%v", err)
			}
		},
	}
}

// outage judges what an announced move between foreign agents costs:
// registration time, not advertisement time. From home the way itself becomes
// half a round trip longer.
func outage(l Lab, segment string, down, up Report, fromHome bool) {
	limit := PathRTT + 20*time.Millisecond
	if fromHome {
		limit += PathRTT / 2
	}
	l.Logf("to %s: downlink gap %v, uplink gap %v", segment, down.Gap, up.Gap)
	if l.Can(Exact) && (down.Gap > limit || up.Gap > limit) {
		l.Fatalf("to %s: gaps of %v and %v, more than %v", segment, down.Gap, up.Gap, limit)
	}
	if down.Duplicates+up.Duplicates > 0 {
		l.Fatalf("to %s: %d and %d packets came twice", segment, down.Duplicates, up.Duplicates)
	}
}

//go:embed testdata/*.golden
var goldens embed.FS

// rewrite is a folder where stories go instead of being compared; empty but in
// a test that was asked for it.
var rewrite string

// golden compares a story with the one that a reviewer has read.
func golden(name, story string, exact bool) error {
	file := "testdata/" + name + ".golden"
	if rewrite != "" && exact {
		return os.WriteFile(filepath.Join(rewrite, file), []byte(story), 0o644)
	}
	want, err := goldens.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if d := difference(string(want), story); d != "" {
		return fmt.Errorf("the links tell another story than %s:\n%s", file, d)
	}
	return nil
}

// difference shows the lines that only one of two texts has.
func difference(want, got string) string {
	var b strings.Builder
	only := func(sign, text, other string) {
		for line := range strings.Lines(text) {
			if !strings.Contains("\n"+other, "\n"+line) {
				b.WriteString(sign + line)
			}
		}
	}
	only("- ", want, got)
	only("+ ", got, want)
	if want != got {
		return cmp.Or(b.String(), "the same lines in another order:\n"+got)
	}
	return ""
}
