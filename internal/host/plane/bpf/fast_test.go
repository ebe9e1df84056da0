package bpf_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"careof/internal/core/forward"
	"careof/internal/host/offload"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/planetest"
	"careof/wire/encap"
)

// share is how much of what an entry sent and received went past user space.
func share(p planetest.Plane, k forward.Key) (sent, received float64) {
	all, slow := p.Counters(k), p.(end).slow.Counters(k)
	return 1 - float64(slow.SentBytes)/float64(all.SentBytes), 1 - float64(slow.ReceivedBytes)/float64(all.ReceivedBytes)
}

// Bulk traffic of every encapsulation but the minimal one never meets the
// daemon, whether it comes in trains or in packets.
func TestBulkStaysInTheKernel(t *testing.T) {
	for _, wire := range []bool{false, true} {
		s := planetest.NewScene(t, opener(false, nil), 1420)
		if wire {
			s.HA.Do(func() {
				if err := errors.Join(offload.Segment("wan0"), offload.Segment("lan0")); err != nil {
					t.Error(err)
				}
			})
		}
		for _, shape := range planetest.Shapes {
			minimal := shape.T.Encap == encap.Minimal || shape.T.Inside == encap.Minimal
			t.Run(fmt.Sprintf("wire=%v/%s", wire, shape.Name), func(t *testing.T) {
				// The address is new, and so are the counters.
				planetest.Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: planetest.AgentEntry()})
				planetest.Apply(t, s.Mobile, forward.Change{Op: forward.Delete, Entry: planetest.MobileEntry()})
				s.Bind(t, shape.T)
				planetest.Transfer(t, s.CN, planetest.Correspondent, s.MN, planetest.Home, 4<<20)
				planetest.Transfer(t, s.MN, planetest.Home, s.CN, planetest.Correspondent, 4<<20)
				for _, e := range []struct {
					name string
					p    planetest.Plane
					k    forward.Key
				}{{"home agent", s.Agent, planetest.AgentKey}, {"mobile node", s.Mobile, planetest.MobileKey}} {
					sent, received := share(e.p, e.k)
					if minimal {
						if sent > 0.01 || received > 0.01 { // what comes in between the two is user space's
							t.Errorf("%s: programs took minimal encapsulation", e.name)
						}
						continue
					}
					if sent < 0.99 || received < 0.99 {
						t.Errorf("%s: %.3f of what was sent and %.3f of what was received went past user space", e.name, sent, received)
					}
				}
			})
		}
	}
}

// Where there is no TCX the programs are classic filters, and do the same.
func TestClassicFilters(t *testing.T) {
	s := planetest.NewScene(t, opener(false, func(c *bpf.Config) { c.Classic = true }), 1420)
	if got := s.Agent.(end).Status().Attach; got != "clsact" {
		t.Fatalf("attached by %q", got)
	}
	for _, shape := range planetest.Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			planetest.Transfer(t, s.CN, planetest.Correspondent, s.MN, planetest.Home, 1<<20)
			planetest.Transfer(t, s.MN, planetest.Home, s.CN, planetest.Correspondent, 1<<20)
		})
	}
	if sent, _ := share(s.Agent, planetest.AgentKey); sent < 0.5 {
		t.Errorf("only %.2f went past user space", sent)
	}
}

// More entries than there is room for: user space has those beyond it, and no
// shorter prefix takes their packets.
func TestMoreEntriesThanRoom(t *testing.T) {
	s := planetest.NewScene(t, opener(false, func(c *bpf.Config) { c.Capacity = 4 }), 1420)
	wide := planetest.AtAgent(forward.Tunnel{Encap: encap.IPIP})
	wide.Peer = netip.MustParseAddrPort("198.51.100.77:0")
	planetest.Put(t, s.Agent, forward.Entry{Key: "network", Role: forward.HomeAgent, Inner: planetest.HomeNetwork, Tunnels: []forward.Tunnel{wide}})
	var changes []forward.Change
	for i := range 20 {
		e := planetest.AgentEntry(planetest.AtAgent(forward.Tunnel{Encap: encap.IPIP}))
		e.Key = forward.Key(fmt.Sprint("mn", i))
		e.Inner = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 10, 0, byte(100 + i)}), 32)
		changes = append(changes, forward.Change{Op: forward.Put, Entry: e})
	}
	planetest.Apply(t, s.Agent, changes...)
	wire := s.R.Packets("eth0")
	for i := range 20 {
		planetest.SendRaw(t, s.CN, planetest.UDPPacket(planetest.Correspondent, changes[i].Entry.Inner.Addr(), 10))
	}
	n := 0
	for p := wire(); p != nil; p = wire() {
		if p[0]>>4 == 4 && p[9] == uint8(encap.IPIP) {
			n++
			if got := netip.AddrFrom4([4]byte(p[16:20])); got != planetest.CareOf {
				t.Errorf("a packet went to %v", got)
			}
		}
	}
	if n != 20 {
		t.Errorf("%d of 20 packets were tunnelled", n)
	}
	for i := range changes {
		changes[i].Op = forward.Delete
	}
	planetest.Apply(t, s.Agent, changes...)
	s.Bind(t, forward.Tunnel{Encap: encap.IPIP})
	planetest.Transfer(t, s.CN, planetest.Correspondent, s.MN, planetest.Home, 1<<20)
}

// Without a BPF file system nothing can be pinned, and Open says so.
func TestPinsNeedABPFFileSystem(t *testing.T) {
	if _, err := bpf.Open(bpf.Config{Device: planetest.Device, Pins: t.TempDir()}); !errors.Is(err, bpf.ErrNoBPFFS) {
		t.Errorf("error %v", err)
	}
}

// The committed objects are what the sources make. Another compiler than the
// one that made them may make others; the sources' hashes tell always.
func TestObjectsAreNotStale(t *testing.T) {
	text, err := os.ReadFile("prog/built.txt")
	if err != nil {
		t.Fatal(err)
	}
	built := strings.Split(strings.TrimSpace(string(text)), "\n")
	hashes, compiler := built[:len(built)-1], built[len(built)-1]
	sources, err := filepath.Glob("prog/*.[ch]")
	if err != nil || len(sources) != len(hashes) {
		t.Fatalf("%d sources, and the objects were made from %d (error %v)", len(sources), len(hashes), err)
	}
	for i, name := range sources {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(source); hashes[i] != hex.EncodeToString(sum[:])+"  "+filepath.Base(name) {
			t.Fatalf("%s is not what the objects were made from: run prog/build.sh", name)
		}
	}
	have, err := exec.Command("clang", "--version").Output()
	if first, _, _ := strings.Cut(string(have), "\n"); err != nil || first != compiler {
		return // the hash has told
	}
	dir := t.TempDir()
	if out, err := exec.Command("sh", "prog/build.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"careof_bpfel.o", "careof_bpfeb.o"} {
		want, err := os.ReadFile("prog/" + name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run prog/build.sh", name)
		}
	}
}
