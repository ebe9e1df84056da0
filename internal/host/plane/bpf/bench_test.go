package bpf_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/plane/planetest"
	"careof/internal/host/plane/tun"
	"careof/wire/encap"
)

// The benchmarks compare ways through the same network: plain forwarding by
// the kernel, this plane, and the user-space plane. One iteration is one round
// in which each way is measured once, in turn, so that whatever else the
// machine does meets all of them; what is reported is the median of the
// rounds. Run them with -benchtime=9x or so.

// way is one way through a scene.
type way struct {
	name  string
	s     *planetest.Scene
	dst   netip.Addr // of packets from the correspondent node
	shape forward.Tunnel
}

type slowEnd struct{ *tun.Plane }

func (e slowEnd) Strangers() uint64 { return e.Totals().Strangers }

func openSlow(_ testing.TB, c planetest.Config) (planetest.Plane, error) {
	dev, err := tun.OpenDevice(planetest.Device, c.MTU, false)
	if err != nil {
		return nil, err
	}
	p, err := tun.New(tun.Config{Device: dev, Datagrams: c.Datagrams, HomeNetworks: c.HomeNetworks})
	return slowEnd{p}, err
}

// ways builds the networks. wire makes every device cut trains into packets.
func ways(b *testing.B, wire bool) []way {
	b.Helper()
	fast, slow := planetest.NewScene(b, opener(false, nil), 1420), planetest.NewScene(b, openSlow, 1420)
	for _, s := range []*planetest.Scene{fast, slow} {
		s.MN.Route("10.9.0.2/32", "198.51.100.2", "", "198.51.100.10") // of the plain way; the tunnel's is wider
		if err := s.MN.H.RouteDel(s.MN.HostRoute("10.9.0.2/32")); err != nil {
			b.Fatal(err)
		}
		if !wire {
			continue
		}
		for _, at := range []struct {
			n    *nstest.Node
			link string
		}{{s.CN, "eth0"}, {s.HA, "lan0"}, {s.HA, "wan0"}, {s.R, "eth0"}, {s.R, "eth1"}, {s.MN, "eth0"}} {
			at.n.Do(func() {
				if err := planetest.Segment(at.link); err != nil {
					b.Error(err)
				}
			})
		}
	}
	shape := func(i int) forward.Tunnel { return planetest.Shapes[i].T }
	return []way{
		{"plain", fast, planetest.CareOf, forward.Tunnel{}},
		{"bpf-ipip", fast, planetest.Home, shape(0)},
		{"bpf-gre-key", fast, planetest.Home, shape(2)},
		{"bpf-udp", fast, planetest.Home, shape(4)},
		{"tun-ipip", slow, planetest.Home, shape(0)},
		{"tun-udp", slow, planetest.Home, shape(4)},
	}
}

// ready binds the way's tunnel. Plain packets come back plainly.
func (w *way) ready(b *testing.B) {
	plain := w.s.MN.HostRoute("10.9.0.2/32")
	plain.Gw, plain.Src = net.ParseIP("198.51.100.2"), net.ParseIP("198.51.100.10")
	if w.name == "plain" {
		if err := w.s.MN.H.RouteReplace(plain); err != nil {
			b.Fatal(err)
		}
		return
	}
	w.s.MN.H.RouteDel(plain)
	w.s.Bind(b, w.shape)
}

// results gathers a measure by way.
type results map[string][]float64

func (r results) add(name string, v float64) { r[name] = append(r[name], v) }

// report prints medians and their ratio to the plain way's, round by round.
func (r results) report(b *testing.B, unit string, lessIsBetter bool) {
	names := make([]string, 0, len(r))
	for n := range r {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		v := slices.Sorted(slices.Values(r[n]))
		fmt.Printf("%s %-12s %8.3f %s (%.3f to %.3f)", b.Name(), n, v[len(v)/2], unit, v[0], v[len(v)-1])
		b.ReportMetric(v[len(v)/2], n+"-"+strings.ReplaceAll(unit, " ", "-"))
		plain := r["plain"]
		if len(plain) == len(r[n]) {
			ratios := make([]float64, len(plain))
			for i := range plain {
				ratios[i] = r[n][i] / plain[i]
				if lessIsBetter {
					ratios[i] = plain[i] / r[n][i]
				}
			}
			slices.Sort(ratios)
			fmt.Printf(", of plain %.2f (%.2f to %.2f)", ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
			b.ReportMetric(ratios[len(ratios)/2], n+"/plain")
		}
		fmt.Println()
	}
	b.ReportMetric(0, "ns/op") // a round has no meaning
}

// cpu is what the process has used, the kernel's work for it included: sender,
// forwarding in its softirqs, planes, receiver.
func cpu() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const measured = 500 * time.Millisecond

// tcp sends for a while over n connections and returns octets and processor
// time.
func tcp(b *testing.B, w *way, n int) (octets int64, took, used time.Duration) {
	b.Helper()
	var l net.Listener
	w.s.MN.Do(func() {
		var err error
		if l, err = net.Listen("tcp4", netip.AddrPortFrom(w.dst, 0).String()); err != nil {
			b.Error(err)
		}
	})
	defer l.Close()
	got := make(chan int64, n)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				k, _ := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c})
				got <- k
			}()
		}
	}()
	conns := make([]net.Conn, n)
	w.s.CN.Do(func() {
		for i := range conns {
			var err error
			if conns[i], err = net.DialTimeout("tcp4", l.Addr().String(), 5*time.Second); err != nil {
				b.Error(err)
				return
			}
		}
	})
	buf := make([]byte, 256<<10)
	start, before := time.Now(), cpu()
	var running sync.WaitGroup
	for _, c := range conns {
		running.Add(1)
		go func() {
			defer running.Done()
			defer c.Close()
			c.SetDeadline(start.Add(10 * time.Second))
			for time.Since(start) < measured {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		}()
	}
	running.Wait()
	for range conns {
		octets += <-got
	}
	return octets, time.Since(start), cpu() - before
}

func benchTCP(b *testing.B, wire bool, n int) {
	all := ways(b, wire)
	rate, cost := results{}, results{}
	for b.Loop() {
		for i := range all {
			w := &all[i]
			w.ready(b)
			octets, took, used := tcp(b, w, n)
			rate.add(w.name, float64(octets)*8/took.Seconds()/1e9)
			cost.add(w.name, used.Seconds()*8e9/float64(octets)/8)
		}
	}
	rate.report(b, "Gbit/s", false)
	cost.report(b, "CPU s/GB", true)
}

// Trains of 64 KiB, as virtual interfaces pass them.
func BenchmarkTCP1(b *testing.B) { benchTCP(b, false, 1) }
func BenchmarkTCP4(b *testing.B) { benchTCP(b, false, 4) }

// Packets of wire size: every device cuts.
func BenchmarkWireTCP1(b *testing.B) { benchTCP(b, true, 1) }
func BenchmarkWireTCP4(b *testing.B) { benchTCP(b, true, 4) }

// datagrams is how many have reached UDP in a node, whether a socket had room
// for them or not.
func datagrams(b *testing.B, n *nstest.Node) (sum float64) {
	n.Do(func() {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			b.Error(err)
			return
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if f[0] != "Udp:" {
				continue
			}
			if names == nil {
				names = f
				continue
			}
			for i, name := range names {
				if slices.Contains([]string{"InDatagrams", "NoPorts", "RcvbufErrors"}, name) {
					v, _ := strconv.ParseFloat(f[i], 64)
					sum += v
				}
			}
		}
	})
	return sum
}

// flood sends datagrams of 64 octets (with headers) as fast as one thread can.
func flood(b *testing.B, n *nstest.Node, to func(i int) netip.Addr, d time.Duration) (sent int) {
	n.Do(func() {
		c, err := net.ListenPacket("udp4", netip.AddrPortFrom(planetest.Correspondent, 0).String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		p := ipv4.NewPacketConn(c)
		m := make([]ipv4.Message, 64)
		payload := make([]byte, 64-28)
		for i := range m {
			m[i].Buffers = [][]byte{payload}
		}
		for end := time.Now().Add(d); time.Now().Before(end); {
			for i := range m {
				m[i].Addr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(to(sent+i), 2000))
			}
			k, err := p.WriteBatch(m, 0)
			if err != nil {
				continue
			}
			sent += k
		}
	})
	return sent
}

// Datagrams of 64 octets, one by one.
func Benchmark64Octets(b *testing.B) {
	all := ways(b, false)
	rate, cost := results{}, results{}
	for b.Loop() {
		for i := range all {
			w := &all[i]
			w.ready(b)
			had, start, before := datagrams(b, w.s.MN), time.Now(), cpu()
			flood(b, w.s.CN, func(int) netip.Addr { return w.dst }, measured)
			took := time.Since(start)
			got := datagrams(b, w.s.MN) - had
			rate.add(w.name, got/took.Seconds()/1000)
			cost.add(w.name, float64((cpu()-before).Microseconds())/got)
		}
	}
	rate.report(b, "kpps", false)
	cost.report(b, "CPU us/packet", true)
}

// runs is what the kernel has counted for a program.
type runs struct {
	ns time.Duration
	n  uint64
}

func runsOf(b *testing.B, p *ebpf.Program) runs {
	s, err := p.Stats()
	if err != nil {
		b.Fatal(err)
	}
	return runs{s.Runtime, s.RunCount}
}

func (r runs) since(old runs) float64 {
	return float64((r.ns - old.ns).Nanoseconds()) / float64(r.n-old.n)
}

// What one run of each program takes, by the kernel's own count, against the
// number of bindings among which the packets' are chosen at random.
func BenchmarkBindings(b *testing.B) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Skip(err)
	}
	defer stats.Close()
	const most = 1_000_000
	s := planetest.NewScene(b, opener(false, func(c *bpf.Config) { c.Capacity = most + 10 }), 1420)
	s.Bind(b, forward.Tunnel{Encap: encap.IPIP})
	s.HA.Route("10.128.0.0/9", "", planetest.Device, "")
	// Nobody reads what leaves the agent: the router drops it.
	r := s.R.HostRoute("100.0.0.0/8")
	r.Type = unix.RTN_BLACKHOLE
	home := func(i int) netip.Addr {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|128<<16+uint32(i))
		return netip.AddrFrom4(a)
	}
	agent := s.Agent.(end)
	programs := agent.Programs()
	planetest.Transfer(b, s.CN, planetest.Correspondent, s.MN, planetest.Home, 16<<20)
	if err := s.R.H.RouteAdd(r); err != nil {
		b.Fatal(err)
	}
	have := 0
	for b.Loop() {
		for _, n := range []int{1, 1000, 100_000, most} {
			if have > n {
				continue
			}
			var before runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start, added := time.Now(), n-have
			for have < n {
				var changes []forward.Change
				for ; have < n && len(changes) < 1000; have++ {
					e := planetest.AgentEntry(planetest.AtAgent(forward.Tunnel{Encap: encap.IPIP}))
					e.Key, e.Inner = forward.Key("ha/"+home(have).String()), netip.PrefixFrom(home(have), 32)
					// Each node has a care-of address of its own.
					at := home(have).As4()
					at[0] = 100
					e.Tunnels[0].Peer = netip.AddrPortFrom(netip.AddrFrom4(at), planetest.MobilePort)
					changes = append(changes, forward.Change{Op: forward.Put, Entry: e})
				}
				if err := agent.Apply(context.Background(), changes); err != nil {
					b.Fatal(err)
				}
			}
			took := time.Since(start)
			x := uint32(1)
			random := func(int) netip.Addr {
				x = x*1664525 + 1013904223
				return home(int(uint64(x) * uint64(n) >> 32))
			}
			was := runsOf(b, programs[0])
			flood(b, s.CN, random, measured)
			ns := runsOf(b, programs[0]).since(was)
			fmt.Printf("%8d bindings: encapsulate %6.0f ns a packet; %d entries in %v, %.0f a second\n", n, ns, added, took.Round(time.Millisecond), float64(added)/took.Seconds())
			b.ReportMetric(ns, fmt.Sprintf("ns/packet-at-%d", n))
		}
	}
	if err := s.R.H.RouteDel(&netlink.Route{Dst: r.Dst, Type: unix.RTN_BLACKHOLE}); err != nil {
		b.Fatal(err)
	}
	// The other program, with one binding's packets.
	was := runsOf(b, s.Mobile.(end).Programs()[1])
	flood(b, s.CN, func(int) netip.Addr { return planetest.Home }, measured)
	ns := runsOf(b, s.Mobile.(end).Programs()[1]).since(was)
	fmt.Printf("decapsulate %.0f ns a packet\n", ns)
	b.ReportMetric(ns, "ns/packet-decapsulate")
	b.ReportMetric(0, "ns/op")
}
