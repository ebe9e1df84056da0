package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/lab/median"
	"careof/internal/lab/netns"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// SoakOptions say what a home agent has to endure, and for how long. Rates are
// a second.
type SoakOptions struct {
	For           time.Duration
	Nodes         int    // that are bound all the time
	Registrations int    // of theirs, which renew their bindings
	Packets       int    // real ones, in each direction
	Forged        int    // forged and malformed messages, and as many forged tunnel packets
	Plane         string // plane.kind
	Shards        int    // of the home agent; 0: one for each processor
	Command       func(config string) *exec.Cmd
	Progress      func(string)
}

// A SoakReport is what came of it.
type SoakReport struct {
	Seconds       float64 `json:"seconds"`
	Load          string  `json:"load_average"`
	Registrations Traffic `json:"registrations"`
	P50           float64 `json:"registration_p50_milliseconds"`
	P99           float64 `json:"registration_p99_milliseconds"`
	Slowest       float64 `json:"registration_longest_milliseconds"`
	ToNodes       Traffic `json:"packets_to_nodes"`
	FromNodes     Traffic `json:"packets_from_nodes"`

	ForgedMessages int `json:"forged_messages"`
	ForgedAnswered int `json:"forged_messages_answered"` // with a code that refuses
	ForgedAccepted int `json:"forged_messages_accepted"`
	ForgedPackets  int `json:"forged_packets"`
	ForgedPassed   int `json:"forged_packets_forwarded"`

	Sung        int `json:"canary_well"`
	Missed      int `json:"canary_missed"`
	MissedTwice int `json:"canary_missed_twice"`

	Bindings int     `json:"bindings_after"`
	Memory   []int64 `json:"resident_octets"` // in each tenth of the time, its median
	CPU      float64 `json:"daemon_cpu_share"`
}

// Traffic is real traffic: what was sent, and of it what arrived.
type Traffic struct {
	Sent    int `json:"sent"`
	Arrived int `json:"arrived"`
}

// lost is the share that did not arrive.
func (t Traffic) lost() float64 {
	if t.Sent == 0 {
		return 1
	}
	return 1 - float64(t.Arrived)/float64(t.Sent)
}

// What a soak allows: real traffic shares two processors and finite buffers
// with the forged one, so now and then something is lost and repeated. Memory
// may breathe as the collector does.
const (
	soakLoss   = 0.01
	soakGrowth = 1.15
	soakSlack  = 24 << 20
)

// Verdict lists what was not as it must be; none is well.
func (r *SoakReport) Verdict() (wrong []string) {
	add := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	add(r.ForgedAccepted > 0, "%d forged messages were accepted", r.ForgedAccepted)
	add(r.ForgedPassed > 0, "%d forged packets were forwarded", r.ForgedPassed)
	add(r.MissedTwice > 0, "the canary missed twice in a row, %d times", r.MissedTwice)
	add(r.Sung == 0, "the canary never sang")
	add(r.Registrations.lost() > soakLoss, "%d of %d registrations were not answered", r.Registrations.Sent-r.Registrations.Arrived, r.Registrations.Sent)
	add(r.ToNodes.lost() > soakLoss, "%d of %d packets to nodes were lost", r.ToNodes.Sent-r.ToNodes.Arrived, r.ToNodes.Sent)
	add(r.FromNodes.lost() > soakLoss, "%d of %d packets from nodes were lost", r.FromNodes.Sent-r.FromNodes.Arrived, r.FromNodes.Sent)
	if n := len(r.Memory); n >= 4 {
		// The first tenth is still warming up.
		before, after := r.Memory[1], slices.Max(r.Memory[n-2:])
		add(float64(after) > soakGrowth*float64(before)+soakSlack, "memory has grown from %d to %d MiB", before>>20, after>>20)
	}
	return wrong
}

// Soak lets a home agent live among real and forged traffic at a fixed load.
// It must run in namespaces of its own.
func Soak(ctx context.Context, o SoakOptions) (*SoakReport, error) {
	if o.Nodes < 2*talkers || o.Nodes > maxNodes {
		return nil, fmt.Errorf("load: %d nodes: %d to %d", o.Nodes, 2*talkers, maxNodes)
	}
	if o.For < 2*time.Second || o.Registrations < 1 || o.Packets < 1 || o.Forged < 1 {
		return nil, errors.New("load: a soak takes two seconds at least, and some of every traffic")
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Command == nil {
		o.Command = func(config string) *exec.Cmd { return netns.Self("run", "-c", config) }
	}
	sing := min(max(o.For/100, 500*time.Millisecond), 5*time.Second)
	s := &soak{SoakOptions: o, bench: &bench{report: new(Report), Options: Options{
		Nodes: o.Nodes, Round: o.Nodes, Plane: o.Plane, Shards: o.Shards, Progress: o.Progress,
		Command: func(config string) *exec.Cmd {
			cmd := o.Command(config)
			if cmd.Env == nil {
				cmd.Env = os.Environ()
			}
			// The canary sings twice as often as the watchdog wants to be fed.
			cmd.Env = append(cmd.Env, fmt.Sprintf("WATCHDOG_USEC=%d", (2*sing).Microseconds()))
			return cmd
		},
	}}}
	defer s.bench.close()
	if err := s.bench.prepare(); err != nil {
		return nil, err
	}
	if err := s.bench.start(ctx); err != nil {
		return nil, err
	}
	if err := s.bench.measure(ctx, "new bindings", 1); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	defer s.close()
	return s.run(ctx, sing)
}

// talkers are the nodes that packets go to and come from.
const talkers = 8

// correspondent is who talks to them.
var correspondent = netip.MustParseAddr("192.0.2.99")

type soak struct {
	SoakOptions
	bench *bench

	peer    *net.UDPConn         // the correspondent node
	tunnels [talkers]*net.IPConn // the talkers' care-of addresses
	raw     int                  // sends whole packets
	forger  *net.UDPConn         // hears what forged messages are answered with

	toNodes, fromNodes struct{ sent, arrived atomic.Int64 }
	forged             struct{ messages, answered, accepted, packets, passed atomic.Int64 }

	mu       sync.Mutex
	waiting  map[int]asked // by node
	answered int
	took     []time.Duration
}

// asked is a registration on its way.
type asked struct {
	first, last time.Time
	octets      []byte
}

// open makes the sockets of everybody but the daemon.
func (s *soak) open() (err error) {
	s.raw = -1
	if err := own(correspondent); err != nil {
		return err
	}
	if s.peer, err = net.ListenUDP("udp4", &net.UDPAddr{IP: correspondent.AsSlice()}); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if s.forger, err = net.ListenUDP("udp4", &net.UDPAddr{}); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	buffers(s.peer)
	buffers(s.forger)
	for i := range s.tunnels {
		c, err := net.ListenPacket("ip4:4", careOfOf(i).String())
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		s.tunnels[i] = c.(*net.IPConn)
	}
	if s.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		return fmt.Errorf("load: raw socket: %w", err)
	}
	return nil
}

func (s *soak) close() {
	s.peer.Close()
	s.forger.Close()
	for _, c := range s.tunnels {
		c.Close()
	}
	unix.Close(s.raw)
}

// run is the soak itself.
func (s *soak) run(ctx context.Context, sing time.Duration) (*SoakReport, error) {
	s.waiting = make(map[int]asked)
	forged, err := s.forge()
	if err != nil {
		return nil, err
	}
	var readers sync.WaitGroup
	readers.Go(s.hearCorrespondent)
	readers.Go(s.hearForger)
	readers.Go(s.hearReplies)
	for i := range s.tunnels {
		readers.Go(func() { s.hearTunnel(i) })
	}
	began, cpu := time.Now(), s.bench.daemon.cpu()
	timed, cancel := context.WithTimeout(ctx, s.For)
	var senders sync.WaitGroup
	senders.Go(func() { pace(timed, s.Registrations, s.register) })
	senders.Go(func() { pace(timed, s.Packets, s.packetToNode) })
	senders.Go(func() { pace(timed, s.Packets, s.packetFromNode) })
	senders.Go(func() {
		pace(timed, s.Forged, func(i int) {
			s.forged.messages.Add(1)
			s.inject(forged.messages[i%len(forged.messages)])
		})
	})
	senders.Go(func() {
		pace(timed, s.Forged, func(i int) {
			s.forged.packets.Add(1)
			s.inject(forged.packets[i%len(forged.packets)])
		})
	})
	r := new(SoakReport)
	err = s.watch(timed, r, sing)
	senders.Wait()
	cancel()
	r.Seconds = s.For.Seconds()
	r.CPU = (s.bench.daemon.cpu() - cpu).Seconds() / time.Since(began).Seconds()
	s.last()
	past := time.Unix(1, 0)
	for _, c := range s.tunnels {
		c.SetReadDeadline(past)
	}
	s.peer.SetReadDeadline(past)
	s.forger.SetReadDeadline(past)
	s.bench.generator.conn.SetReadDeadline(past)
	readers.Wait()
	if err := errors.Join(ctx.Err(), err); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, s.bench.tail())
	}
	s.sum(r)
	return r, nil
}

// grace is how long nothing may come at the end before the rest is lost.
const grace = 10 * time.Second

// last waits until everything that was sent has arrived, or nothing more comes.
// Nodes repeat what is not answered.
func (s *soak) last() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	before := int64(-1)
	for end := time.Now().Add(grace); time.Now().Before(end); <-tick.C {
		s.mu.Lock()
		waiting, answered := len(s.waiting), s.answered
		s.mu.Unlock()
		to, from := s.toNodes.arrived.Load(), s.fromNodes.arrived.Load()
		if waiting == 0 && to == s.toNodes.sent.Load() && from == s.fromNodes.sent.Load() {
			return
		}
		if all := int64(answered) + to + from; all != before {
			before, end = all, time.Now().Add(grace)
		}
		s.repeat(time.Now())
	}
}

func (s *soak) sum(r *SoakReport) {
	load, _ := os.ReadFile("/proc/loadavg")
	r.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Registrations = Traffic{s.answered + len(s.waiting), s.answered}
	slices.Sort(s.took)
	if n := len(s.took); n > 0 {
		ms := func(i int) float64 { return float64(s.took[i].Microseconds()) / 1000 }
		r.P50, r.P99, r.Slowest = ms(n/2), ms(n*99/100), ms(n-1)
	}
	r.ToNodes = Traffic{int(s.toNodes.sent.Load()), int(s.toNodes.arrived.Load())}
	r.FromNodes = Traffic{int(s.fromNodes.sent.Load()), int(s.fromNodes.arrived.Load())}
	r.ForgedMessages, r.ForgedAnswered, r.ForgedAccepted = int(s.forged.messages.Load()), int(s.forged.answered.Load()), int(s.forged.accepted.Load())
	r.ForgedPackets, r.ForgedPassed = int(s.forged.packets.Load()), int(s.forged.passed.Load())
}

// pace calls do so many times a second, in small bursts, until ctx ends.
func pace(ctx context.Context, rate int, do func(i int)) {
	const bursts = 100 // a second
	tick := time.NewTicker(time.Second / bursts)
	defer tick.Stop()
	began := time.Now()
	for done := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// What a busy machine was late with is made up for, but not more than
		// a burst of a tenth of a second at once.
		due := int(time.Since(began).Seconds() * float64(rate))
		for n := min(due-done, max(rate/10, 1)); n > 0; n-- {
			do(done)
			done++
		}
	}
}

// register sends the next node's renewal, or once more one that has waited.
func (s *soak) register(k int) {
	i := k % s.Nodes
	now := time.Now()
	s.mu.Lock()
	one, waits := s.waiting[i]
	s.mu.Unlock()
	if !waits {
		octets, err := s.bench.fleet.request(nil, i, now)
		if err != nil {
			return
		}
		one = asked{first: now, octets: octets}
	}
	one.last = now
	s.mu.Lock()
	s.waiting[i] = one
	s.mu.Unlock()
	g := s.bench.generator
	_ = g.out.Add(one.octets, g.to, careOfOf(i))
	_ = g.out.Flush()
	if k%64 == 0 {
		s.repeat(now)
	}
}

// repeat sends again what has not been answered for a second, as mobile nodes
// do.
func (s *soak) repeat(now time.Time) {
	g := s.bench.generator
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, one := range s.waiting {
		if now.Sub(one.last) < time.Second {
			continue
		}
		one.last = now
		s.waiting[i] = one
		_ = g.out.Add(one.octets, g.to, careOfOf(i))
	}
	_ = g.out.Flush()
}

func (s *soak) hearReplies() {
	g := s.bench.generator
	g.conn.SetReadDeadline(time.Time{})
	for {
		n, err := g.in.Read()
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return
		}
		now := time.Now()
		s.mu.Lock()
		for k := range n {
			b := g.in.Payload(k)
			if len(b) < 20 || mip4.MessageType(b[0]) != mip4.TypeRegistrationReply || !mip4.Code(b[1]).Accepted() {
				continue
			}
			i := nodeOf(b[4:8])
			one, waits := s.waiting[i]
			if !waits || string(b[16:20]) != string(one.octets[20:24]) {
				continue
			}
			delete(s.waiting, i)
			s.answered++
			s.took = append(s.took, now.Sub(one.first))
		}
		s.mu.Unlock()
	}
}

// The payloads of packets say what they are.
const (
	realPayload   = "careof soak"
	forgedPayload = "careof forged"
)

func (s *soak) packetToNode(k int) {
	s.toNodes.sent.Add(1)
	_, _ = s.peer.WriteToUDPAddrPort([]byte(realPayload), netip.AddrPortFrom(homeOf(k%talkers), 9))
}

// hearTunnel counts what comes out of a talker's tunnel.
func (s *soak) hearTunnel(i int) {
	home := homeOf(i).As4()
	for b := make([]byte, 2048); ; {
		n, _, err := s.tunnels[i].ReadFrom(b)
		if err != nil {
			return
		}
		if n == 28+len(realPayload) && [4]byte(b[16:20]) == home && string(b[28:n]) == realPayload {
			s.toNodes.arrived.Add(1)
		}
	}
}

func (s *soak) packetFromNode(k int) {
	i := k % talkers
	inner, err := encap.AppendUDP(nil, encap.IPv4{}, netip.AddrPortFrom(homeOf(i), 9), netip.AddrPortFrom(correspondent, s.peerPort()), []byte(realPayload))
	if err != nil {
		return
	}
	s.fromNodes.sent.Add(1)
	_, _ = s.tunnels[i].WriteTo(inner, &net.IPAddr{IP: homeAgent.AsSlice()})
}

// hearCorrespondent counts what comes from the nodes, and what must not come.
func (s *soak) hearCorrespondent() {
	for b := make([]byte, 2048); ; {
		n, err := s.peer.Read(b)
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return
		}
		switch string(b[:n]) {
		case realPayload:
			s.fromNodes.arrived.Add(1)
		case forgedPayload:
			s.forged.passed.Add(1)
		}
	}
}

// hearForger counts what forged messages are answered with.
func (s *soak) hearForger() {
	for b := make([]byte, 2048); ; {
		n, err := s.forger.Read(b)
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return
		}
		s.forged.answered.Add(1)
		if n > 1 && mip4.MessageType(b[0]) == mip4.TypeRegistrationReply && mip4.Code(b[1]).Accepted() {
			s.forged.accepted.Add(1)
		}
	}
}

// inject sends a whole packet.
func (s *soak) inject(packet []byte) {
	_ = unix.Sendto(s.raw, packet, unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: [4]byte(packet[16:20])})
}

// watch looks at the daemon until ctx ends.
func (s *soak) watch(ctx context.Context, r *SoakReport, sing time.Duration) error {
	client := control.NewClient(filepath.Join(s.bench.dir, "careof.sock"))
	var memory []int64
	began := time.Now()
	var well, missed, back uint64
	lastMissed := false
	tick := time.NewTicker(sing / 2)
	defer tick.Stop()
	said := began
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-s.bench.daemon.ended:
			return errors.New("load: the daemon has ended")
		case <-tick.C:
		}
		var all []control.Counter
		if err := client.Show(context.WithoutCancel(ctx), "counters", "", &all); err != nil {
			return err
		}
		count := make(map[string]uint64, len(all))
		for _, c := range all {
			count[c.Name] = c.Value
		}
		nowBack := count["host.canary-back"]
		nowWell := count["host.canary-well"] + nowBack
		nowMissed := count["host.canary-missed"]
		// It may have sung more than once since the last look, which a busy
		// machine has made late: between two misses it was back, or not.
		if nowMissed > missed {
			if nowBack == back && (lastMissed || nowMissed > missed+1) {
				r.MissedTwice++
			}
			lastMissed = true
		} else if nowWell > well {
			lastMissed = false
		}
		well, missed, back = nowWell, nowMissed, nowBack
		resident, _ := s.bench.daemon.memory()
		memory = append(memory, resident)
		if now := time.Now(); now.Sub(said) >= 10*time.Second {
			said = now
			s.Progress(fmt.Sprintf("%v: canary %d well, %d missed; %d MiB; %d registrations answered, %d packets passed, %d forged", now.Sub(began).Round(time.Second),
				well, missed, resident>>20, count["home-agent.registrations_refreshed"], s.toNodes.arrived.Load()+s.fromNodes.arrived.Load(), s.forged.messages.Load()+s.forged.packets.Load()))
		}
		if !ended {
			continue
		}
		r.Sung, r.Missed = int(well), int(missed)
		const parts = 10
		for i := range min(parts, len(memory)) {
			part := memory[i*len(memory)/parts : max((i+1)*len(memory)/parts, i*len(memory)/parts+1)]
			r.Memory = append(r.Memory, median.Of(part))
		}
		var bindings []control.Binding
		if err := client.Show(context.WithoutCancel(ctx), "bindings", "", &bindings); err != nil {
			return err
		}
		r.Bindings = len(bindings)
		return nil
	}
}
