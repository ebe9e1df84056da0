package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"careof/internal/lab/netns"
)

// A measure is one thing that is measured of every way.
type measure struct {
	name  string
	about string
	unit  string
	cost  string // unit of processor time
	links links
	run   func(ctx context.Context, w *way, d time.Duration) (sample, error)
}

// links is what the networks' links do. Each state follows from the one before.
type links uint8

const (
	trains links = iota // packets of up to 64 KiB pass in one piece, without checksums
	wires               // packets are cut and summed by the processor before each link
	merged              // and merged again behind it, as drivers of network cards do
)

// A sample is what one measurement gave.
type sample struct {
	rate float64 // in the measure's unit
	cost float64 // processor time in the measure's unit of cost
}

// measures in the order in which they are taken.
func measures() []measure {
	tcp := func(n int) func(context.Context, *way, time.Duration) (sample, error) {
		return func(ctx context.Context, w *way, d time.Duration) (sample, error) { return tcp(ctx, w, n, d) }
	}
	return []measure{
		{"64", "datagrams of 64 octets", "kpps", "us/packet", trains, datagrams},
		{"tcp1", "1 TCP connection, in trains", "Gbit/s", "s/GB", trains, tcp(1)},
		{"tcp4", "4 TCP connections, in trains", "Gbit/s", "s/GB", trains, tcp(4)},
		{"wire1", "1 TCP connection, packets of wire size", "Gbit/s", "s/GB", wires, tcp(1)},
		{"wire4", "4 TCP connections, packets of wire size", "Gbit/s", "s/GB", wires, tcp(4)},
		{"gro1", "1 TCP connection, packets of wire size, merged by drivers", "Gbit/s", "s/GB", merged, tcp(1)},
		{"gro4", "4 TCP connections, packets of wire size, merged by drivers", "Gbit/s", "s/GB", merged, tcp(4)},
	}
}

// used is the processor time of this process, with the kernel's work for it:
// what the kernel's own threads for received packets take over when there is
// much of it counts too, whoever it was for.
func used() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	sum := u.Utime.Nano() + u.Stime.Nano()
	for _, file := range softirqThreads() {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		ran, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err == nil {
			sum += ns
		}
	}
	return time.Duration(sum)
}

// softirqThreads are the files that tell how long each of these threads ran.
var softirqThreads = sync.OnceValue(func() (files []string) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil
	}
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(comm), "ksoftirqd/") {
			files = append(files, filepath.Join(filepath.Dir(name), "schedstat"))
		}
	}
	return files
})

// patience bounds everything that waits for a peer.
const patience = 10 * time.Second

// tcp sends over n connections for a while.
func tcp(ctx context.Context, w *way, n int, d time.Duration) (s sample, err error) {
	l, err := w.network.mn.ListenTCP(netip.AddrPortFrom(w.dst, 0))
	if err != nil {
		return s, err
	}
	defer l.Close()
	l.SetDeadline(time.Now().Add(patience))
	type result struct {
		octets int64
		err    error
	}
	results := make(chan result, n)
	var receivers sync.WaitGroup
	defer receivers.Wait()
	for range n {
		receivers.Go(func() {
			c, err := l.Accept()
			if err != nil {
				results <- result{0, err}
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(d + patience))
			k, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
			results <- result{k, err}
		})
	}
	conns := make([]net.Conn, n)
	for i := range conns {
		dial, cancel := context.WithTimeout(ctx, patience)
		conns[i], err = w.network.cn.DialTCP(dial, netip.AddrPortFrom(correspondent, 0), l.Addr().(*net.TCPAddr).AddrPort())
		cancel()
		if err != nil {
			l.Close()
			return s, err
		}
		defer conns[i].Close()
	}
	start, before := time.Now(), used()
	var senders sync.WaitGroup
	for _, c := range conns {
		senders.Go(func() {
			defer c.Close()
			c.SetDeadline(start.Add(d + patience))
			// Once at least: a busy machine may have come here late.
			for buf := make([]byte, 256<<10); ; {
				if _, err := c.Write(buf); err != nil || time.Since(start) >= d || ctx.Err() != nil {
					return
				}
			}
		})
	}
	senders.Wait()
	var octets int64
	for range n {
		r := <-results
		octets += r.octets
		err = errors.Join(err, r.err)
	}
	took, spent := time.Since(start), used()-before
	if err == nil && octets == 0 {
		err = errors.New("bench: nothing arrived")
	}
	if err != nil {
		return s, err
	}
	return sample{
		rate: float64(octets) * 8 / took.Seconds() / 1e9,
		cost: spent.Seconds() * 1e9 / float64(octets),
	}, nil
}

// dataPort is where nobody listens but the kernel counts.
const dataPort = 2000

// datagrams sends packets of 64 octets, headers included, one by one, as fast
// as one thread can, and counts what reaches UDP in the mobile node.
func datagrams(ctx context.Context, w *way, d time.Duration) (s sample, err error) {
	// Somebody takes them, or the kernel would answer each.
	sink, err := w.network.mn.ListenUDP(netip.AddrPortFrom(w.dst, dataPort))
	if err != nil {
		return s, err
	}
	defer sink.Close()
	had, err := arrived(w.network.mn)
	if err != nil {
		return s, err
	}
	start, before := time.Now(), used()
	if err := flood(ctx, w.network.cn, func(int) netip.Addr { return w.dst }, d); err != nil {
		return s, err
	}
	got, err := arrived(w.network.mn)
	for again := 1; err == nil && got == had && time.Since(start) < d+patience; again++ {
		<-time.After(time.Millisecond) // a busy machine is not through with any of them yet
		if again%100 == 0 {            // or all were lost before a neighbour had answered
			err = flood(ctx, w.network.cn, func(int) netip.Addr { return w.dst }, 0)
		}
		if err == nil {
			got, err = arrived(w.network.mn)
		}
	}
	if err != nil {
		return s, err
	}
	took, spent := time.Since(start), used()-before
	if got == had {
		return s, errors.New("bench: nothing arrived")
	}
	n := float64(got - had)
	return sample{rate: n / took.Seconds() / 1e3, cost: float64(spent.Nanoseconds()) / 1e3 / n}, nil
}

// flood sends datagrams to addresses by number.
func flood(ctx context.Context, n *netns.Node, to func(i int) netip.Addr, d time.Duration) error {
	c, err := n.ListenUDP(netip.AddrPortFrom(correspondent, 0))
	if err != nil {
		return err
	}
	defer c.Close()
	p := ipv4.NewPacketConn(c)
	messages := make([]ipv4.Message, 64)
	payload := make([]byte, 64-28)
	addrs := make([]net.UDPAddr, len(messages))
	for i := range messages {
		messages[i].Buffers = [][]byte{payload}
		addrs[i] = net.UDPAddr{IP: make(net.IP, 4), Port: dataPort}
		messages[i].Addr = &addrs[i]
	}
	sent := 0
	for end := time.Now().Add(d); sent == 0 || time.Now().Before(end) && ctx.Err() == nil; {
		for i := range messages {
			a := to(sent + i).As4()
			copy(addrs[i].IP, a[:])
		}
		k, err := p.WriteBatch(messages, 0)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("bench: send: %w", err)
		}
		sent += max(k, 1)
	}
	return nil
}

// arrived is how many datagrams have reached UDP in a node, whether a socket
// had room for them or not.
func arrived(n *netns.Node) (sum uint64, err error) {
	var text []byte
	err = n.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if slices.Contains([]string{"InDatagrams", "NoPorts", "RcvbufErrors"}, name) {
				v, err := strconv.ParseUint(f[i], 10, 64)
				if err != nil {
					return 0, fmt.Errorf("bench: UDP counters: %w", err)
				}
				sum += v
			}
		}
	}
	return sum, nil
}
