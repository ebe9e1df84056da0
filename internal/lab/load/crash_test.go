package load

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/core/assoc"
	"careof/internal/lab/labtest"
	"careof/wire/mip4"
)

var (
	crashes = flag.Int("crashes", 10, "how often TestKill kills the daemon")
	seed    = flag.Uint64("seed", 1, "chooses when")
)

// crashNodes is how many nodes register while the daemon is being killed.
const crashNodes = 40

// A fleetState is what the nodes know: which care-of address was accepted
// last, and which ones were asked for since.
type fleetState struct {
	accepted map[int]netip.Addr
	asked    map[int][]netip.Addr
	requests map[int][]byte // the one that was accepted last
}

// register lets nodes register and move, as fast as they are answered, until
// the daemon is gone.
func (s *fleetState) register(t *testing.T, g *generator, luck *rand.Rand, until <-chan struct{}) {
	t.Helper()
	sent := make(map[int]struct {
		request []byte
		careOf  netip.Addr
	})
	wall := time.Now()
	for {
		select {
		case <-until:
			return
		default:
		}
		i := luck.IntN(crashNodes)
		if _, waits := sent[i]; !waits {
			careOf := careOfOf(i + crashNodes*luck.IntN(3))
			wall = wall.Add(time.Microsecond)
			d := mip4.NewRequest(mip4.RegistrationRequest{
				Flags: mip4.FlagD | mip4.FlagT, Lifetime: lifetime,
				HomeAddress: homeOf(i), HomeAgent: homeAgent, CareOfAddress: careOf, Identification: assoc.Timestamp(wall),
			})
			b, err := d.Authenticate(mip4.ExtMobileHome, g.fleet.keys[i]).Seal()
			if err != nil {
				t.Fatal(err)
			}
			s.asked[i] = append(s.asked[i], careOf)
			sent[i] = struct {
				request []byte
				careOf  netip.Addr
			}{b, careOf}
			if g.out.Add(b, g.to, careOf) != nil || g.out.Flush() != nil {
				continue // it is dead already
			}
		}
		g.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, err := g.in.Read()
		if err != nil {
			continue
		}
		for k := range n {
			b := g.in.Payload(k)
			i := nodeOf(b[4:8])
			one, mine := sent[i]
			if !mine || string(b[12:20]) != string(one.request[16:24]) {
				continue
			}
			if !mip4.Code(b[1]).Accepted() {
				t.Fatalf("node %d: %v", i, mip4.Code(b[1]))
			}
			s.accepted[i], s.asked[i], s.requests[i] = one.careOf, nil, one.request
			delete(sent, i)
		}
	}
}

// state is everything of ours in the kernel, and what the daemon says that is
// bound and forwards.
func state(t *testing.T, b *bench) (kernel []string, bound map[int]netip.Addr) {
	t.Helper()
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		kernel = append(kernel, fmt.Sprintf("link %s mtu %d up %v", l.Attrs().Name, l.Attrs().MTU, l.Attrs().Flags&net.FlagUp != 0))
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			kernel = append(kernel, fmt.Sprintf("address %v on %s", a.IPNet, l.Attrs().Name))
		}
	}
	for _, r := range routes {
		kernel = append(kernel, fmt.Sprintf("route %v on %s table %d type %d protocol %d", r.Dst, names[r.LinkIndex], r.Table, r.Type, r.Protocol))
	}
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		kernel = append(kernel, "rule "+r.String())
	}
	nft, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	chains, err := nft.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chains {
		rules, err := nft.GetRules(c.Table, c)
		if err != nil {
			t.Fatal(err)
		}
		kernel = append(kernel, fmt.Sprintf("nftables %s %s: %d rules", c.Table.Name, c.Name, len(rules)))
	}
	client := control.NewClient(filepath.Join(b.dir, "careof.sock"))
	show := func(what string, v any) {
		if err := client.Show(t.Context(), what, "", v); err != nil {
			t.Fatal(err)
		}
	}
	var entries []struct {
		Key     string
		Tunnels []map[string]any
	}
	show("plane", &entries)
	for _, e := range entries {
		for _, tunnel := range e.Tunnels {
			delete(tunnel, "remaining")
			text, err := json.Marshal(tunnel)
			if err != nil {
				t.Fatal(err)
			}
			kernel = append(kernel, fmt.Sprintf("entry %s %s", e.Key, text))
		}
	}
	var bindings []control.Binding
	show("bindings", &bindings)
	bound = make(map[int]netip.Addr)
	for _, one := range bindings {
		home, careOf := one.HomeAddress, one.CareOfAddress
		b := home.As4()
		bound[nodeOf(b[:])] = careOf
	}
	slices.Sort(kernel)
	return kernel, bound
}

// wipe takes away what a daemon leaves in the kernel, as a boot would.
func wipe(t *testing.T) {
	t.Helper()
	device, err := netlink.LinkByName("careof0")
	if err == nil {
		err = netlink.LinkDel(device)
	}
	if err != nil {
		t.Fatal(err)
	}
	nft, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	nft.FlushRuleset()
	if err := nft.Flush(); err != nil {
		t.Fatal(err)
	}
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.Priority > 0 && r.Priority < 32000 {
			if err := netlink.RuleDel(&r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestKillAtRandomPointsLeavesTheStateOfAFreshStart kills the daemon with
// SIGKILL while nodes register and move, and while it starts. Afterwards
// everything that was answered is bound and forwards, nothing is bound that
// nobody asked for, no request is accepted a second time, and the kernel has
// exactly what a first start with the same records gives it. Each life has
// another number of shards than the one before.
//
// `make soak` kills it a thousand times.
func TestKillAtRandomPointsLeavesTheStateOfAFreshStart(t *testing.T) {
	labtest.Need(t)
	luck := rand.New(rand.NewPCG(*seed, 9))
	b := &bench{report: new(Report), Options: Options{Nodes: crashNodes, Plane: "auto", Keep: t.TempDir(), Command: labtest.Command, Progress: func(string) {}}}
	defer b.close()
	if err := b.prepare(); err != nil {
		t.Fatal(err)
	}
	known := &fleetState{accepted: make(map[int]netip.Addr), asked: make(map[int][]netip.Addr), requests: make(map[int][]byte)}
	answered, shards := 0, 0
	next := func() *exec.Cmd {
		t.Helper()
		shards = shards%3 + 1
		file := filepath.Join(b.dir, "careof.toml")
		if err := os.WriteFile(file, []byte(configuration(b.dir, b.Plane, shards)), 0o600); err != nil {
			t.Fatal(err)
		}
		return labtest.Command(file)
	}
	start := func() {
		t.Helper()
		next()
		if err := b.start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	start()
	began := time.Now()
	for k := range *crashes {
		wait := time.Duration(luck.IntN(60000)) * time.Microsecond
		daemon := b.daemon
		time.AfterFunc(wait, daemon.kill)
		known.register(t, b.generator, luck, daemon.ended)
		answered += len(known.accepted)

		if k%4 == 3 {
			// While it starts, of what the kill has left.
			cmd := next()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(luck.Int64N(int64(max(daemon.took, time.Millisecond)))))
			cmd.Process.Kill()
			_ = cmd.Wait()
		}
		start()
		after, bound := state(t, b)
		for i, careOf := range known.accepted {
			if bound[i] != careOf && !slices.Contains(known.asked[i], bound[i]) {
				t.Errorf("crash %d: node %d was told that it is bound to %v, and is bound to %v", k, i, careOf, bound[i])
			}
		}
		for i, careOf := range bound {
			if known.accepted[i] != careOf && !slices.Contains(known.asked[i], careOf) {
				t.Errorf("crash %d: node %d is bound to %v, which it did not ask for", k, i, careOf)
			}
			known.accepted[i], known.asked[i] = careOf, nil
		}
		replayed(t, b, known, k)

		// The same records in a kernel that has nothing of ours. It is this
		// daemon that the next crash meets.
		b.daemon.kill()
		wipe(t)
		start()
		fresh, again := state(t, b)
		if !slices.Equal(after, fresh) || !maps.Equal(bound, again) {
			t.Errorf("crash %d: after a kill there is\n%s\nand after a first start\n%s", k, only(after, fresh), only(fresh, after))
		}
		if t.Failed() {
			t.Fatalf("after %d crashes, -seed %d\n%s", k+1, *seed, b.tail())
		}
		if k%100 == 99 {
			t.Logf("%d crashes, %v each", k+1, (time.Since(began) / time.Duration(k+1)).Round(time.Millisecond))
		}
	}
	if answered == 0 {
		t.Error("no node was ever answered: nothing was tested")
	}
	t.Logf("%d crashes, %d bindings that had been answered", *crashes, answered)
}

// replayed sends a request that was accepted before the crash, from elsewhere:
// it must not be accepted again.
func replayed(t *testing.T, b *bench, known *fleetState, k int) {
	t.Helper()
	for i, request := range known.requests {
		conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: careOfOf(9999).AsSlice()}, net.UDPAddrFromAddrPort(b.generator.to))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		reply, n := make([]byte, 2048), 0
		for end := time.Now().Add(30 * time.Second); n == 0 && time.Now().Before(end); {
			if _, err := conn.Write(request); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(time.Second))
			n, err = conn.Read(reply)
		}
		if err != nil || n < 2 {
			t.Errorf("crash %d: node %d: a replay is not refused: %v", k, i, err)
		} else if code := mip4.Code(reply[1]); code != mip4.CodeIdentificationMismatch {
			t.Errorf("crash %d: node %d: a request from before the crash is answered with %v", k, i, code)
		}
		return // one a crash
	}
}

// only lists what is in one and not in the other.
func only(one, other []string) (out []string) {
	for _, s := range one {
		if !slices.Contains(other, s) {
			out = append(out, s)
		}
	}
	return out
}
