// Package flood measures what forged Registration Requests do to a foreign
// agent and to a home agent: how long a good node takes to register meanwhile,
// and what the agents keep of the forgeries. Real daemons run in namespaces; the
// generator sends as many as one processor can.
//
// What must not go in here: what a forged request is answered with (the roles'
// own tests say that).
package flood

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/lab/live"
	"careof/internal/lab/median"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Options of a measurement.
type Options struct {
	Registrations int // of the good node, in each phase
	Seed          uint64
	// Command starts a daemon: see [live.Options].
	Command func(config string) *exec.Cmd
	Tell    io.Writer // what is going on
}

// A Phase is what was measured while one agent was flooded, or none.
type Phase struct {
	Flooded string        `json:"flooded"` // "nobody", or what, and by whom
	Rate    float64       `json:"rate"`    // forged requests a second that reached the agent's link
	Median  time.Duration `json:"median"`  // from plugging in to the registration
	P99     time.Duration `json:"p99"`
	// Asked is the p99 of the registration alone: from the first request to
	// the acceptance. What is before it is the wait for an advertisement.
	Asked    time.Duration `json:"asked_p99"`
	Grown    int64         `json:"grown"`    // octets of the flooded daemon's memory
	Visitors int           `json:"visitors"` // accepted at the foreign agent, afterwards
	Bindings int           `json:"bindings"` // at the home agent, afterwards
}

// names of the topology home-link and of [scene.AddForeignAgents].
const (
	mobile, uplink        = "mn", "wlan0"
	visited, home         = "visited1", "home"
	foreignAgent, homeBox = "fa1", "ha"
)

// registrationLimit bounds one registration.
const registrationLimit = 30 * time.Second

// Run measures. It must be called inside netns.Enter.
func Run(ctx context.Context, o Options) (phases []Phase, err error) {
	t := topology.HomeLink()
	scene.AddForeignAgents(t)
	if err := t.Check(); err != nil {
		return nil, err
	}
	l, err := live.Build(ctx, t, live.Options{Seed: o.Seed, Command: o.Command})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r := &run{Options: o, lab: l}
	for _, p := range []struct {
		flooded, segment, node, iface string
		stations                      int
		forge                         func(*rand.Rand) ([]byte, error)
	}{
		{flooded: "nobody"},
		{"foreign agent, by one station", visited, foreignAgent, "lan", 1, r.forgeVisitor},
		{"foreign agent, by ever other stations", visited, foreignAgent, "lan", variety, r.forgeVisitor},
		{"home agent", home, homeBox, "eth0", variety, r.forgeBinding},
	} {
		fmt.Fprintf(o.Tell, "flooding %s\n", p.flooded)
		var attack *attack
		if p.forge != nil {
			if attack, err = r.attack(p.segment, p.node, p.iface, p.stations, p.forge); err != nil {
				return phases, err
			}
		}
		phase, err := r.measure(ctx, p.flooded, p.node, attack)
		if err != nil {
			return phases, fmt.Errorf("flood: %s: %w", p.flooded, err)
		}
		phases = append(phases, phase)
	}
	return phases, nil
}

type run struct {
	Options
	lab     *live.Lab
	attacks int
}

// measure registers the good node again and again.
func (r *run) measure(ctx context.Context, flooded, victim string, a *attack) (p Phase, err error) {
	p.Flooded = flooded
	before := r.lab.Daemon(victim).Resident()
	if a != nil {
		a.start()
		defer func() {
			err = errors.Join(err, a.stop())
		}()
	}
	began := time.Now()
	var took, asked []time.Duration
	for range r.Registrations {
		t, of, err := r.register(ctx)
		if err != nil {
			return p, err
		}
		took, asked = append(took, t), append(asked, of)
	}
	if a != nil {
		p.Rate = float64(a.carried.Load()) / time.Since(began).Seconds()
		p.Grown = r.lab.Daemon(victim).Resident() - before
		if err := a.stop(); err != nil {
			return p, err
		}
	}
	slices.Sort(took)
	slices.Sort(asked)
	last := (len(took)*99+99)/100 - 1
	p.Median, p.P99, p.Asked = median.Of(took), took[last], asked[last]
	if p.Visitors, err = r.visitors(ctx); err != nil {
		return p, err
	}
	var bindings []control.Binding
	err = r.lab.Daemon(homeBox).Show("bindings", "", &bindings)
	p.Bindings = len(bindings)
	return p, err
}

// visitors counts them once no request is pending any more.
func (r *run) visitors(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, registrationLimit)
	defer cancel()
	var list []control.Visitor
	var failed error
	err := r.lab.Await(ctx, func() bool {
		failed = r.lab.Daemon(foreignAgent).Show("visitors", "", &list)
		return failed == nil && !slices.ContainsFunc(list, func(v control.Visitor) bool { return v.State != "accepted" })
	})
	if err != nil {
		return 0, errors.Join(fmt.Errorf("requests are still pending at the foreign agent: %w", err), failed)
	}
	return len(list), nil
}

// register plugs the good node in, and tells how long it took until the node
// said that it is registered, and how much of that since its first request.
func (r *run) register(ctx context.Context) (took, asked time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, registrationLimit)
	defer cancel()
	told := len(r.lab.Events(mobile))
	began := time.Now()
	if err := r.lab.Plug(mobile, uplink, visited); err != nil {
		return 0, 0, err
	}
	var first, at time.Time
	err = r.lab.Await(ctx, func() bool {
		for _, e := range r.lab.Events(mobile)[told:] {
			switch {
			case e.Kind == note.Requesting && first.IsZero():
				first = e.Time
			case e.Kind == note.Registered:
				at = e.Time
			}
		}
		return !at.IsZero()
	})
	if err != nil {
		return 0, 0, fmt.Errorf("the good node is not registered after %v: %w", registrationLimit, err)
	}
	if first.IsZero() {
		first = began // it had asked before it was plugged in again, and asks no more
	}
	return at.Sub(began), at.Sub(first), nil
}

// forgeVisitor makes a request that asks a foreign agent to relay it, from a
// visitor that nobody knows. Half of them name the real home agent.
func (r *run) forgeVisitor(luck *rand.Rand) ([]byte, error) {
	node := netip.AddrFrom4([4]byte{10, 77, byte(luck.Uint32()), byte(luck.Uint32())})
	agent := netip.MustParseAddr("10.10.0.1")
	if luck.IntN(2) == 0 {
		agent = netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + luck.IntN(100))})
	}
	return forge(luck, node, netip.MustParseAddr("198.18.1.1"), 255, mip4.RegistrationRequest{
		Flags: mip4.FlagT, Lifetime: 600, HomeAddress: node, HomeAgent: agent, CareOfAddress: scene.CareOf1,
	})
}

// forgeBinding makes a request to a home agent, half of them in the good node's
// name, with an authenticator that is made up.
func (r *run) forgeBinding(luck *rand.Rand) ([]byte, error) {
	from := netip.AddrFrom4([4]byte{203, 0, byte(luck.Uint32()), byte(luck.Uint32())})
	node := netip.MustParseAddr("10.10.0.5")
	if luck.IntN(2) == 0 {
		node = netip.AddrFrom4([4]byte{10, 10, 0, byte(10 + luck.IntN(200))})
	}
	agent := netip.MustParseAddr("10.10.0.1")
	return forge(luck, from, agent, 64, mip4.RegistrationRequest{
		Flags: mip4.FlagD | mip4.FlagT, Lifetime: 600, HomeAddress: node, HomeAgent: agent, CareOfAddress: from,
	})
}

// forge makes the IP packet of a request that is signed with nothing.
func forge(luck *rand.Rand, from, to netip.Addr, ttl uint8, q mip4.RegistrationRequest) ([]byte, error) {
	seconds := uint64(time.Now().Unix() + 2208988800) // of the Network Time Protocol
	q.Identification = seconds<<32 | uint64(luck.Uint32())
	d := mip4.NewRequest(q)
	body := make([]byte, 6, 38)
	body[0], body[1] = byte(mip4.ExtMobileHome), 36
	binary.BigEndian.PutUint32(body[2:], 256)
	for range 8 {
		body = binary.BigEndian.AppendUint32(body, luck.Uint32())
	}
	b, err := d.AddRaw(mip4.ZoneForeign, body).Seal()
	if err != nil {
		return nil, err
	}
	return encap.AppendUDP(nil, encap.IPv4{ID: uint16(luck.Uint32()), TTL: ttl}, netip.AddrPortFrom(from, uint16(1024+luck.IntN(60000))), netip.AddrPortFrom(to, encap.Port), b)
}

// Write prints phases as a table.
func Write(out io.Writer, phases []Phase) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join([]string{"FLOODED", "FORGED/S", "MEDIAN", "P99", "OF THAT, SINCE THE FIRST REQUEST", "MEMORY", "VISITORS", "BINDINGS"}, "\t"))
	for _, p := range phases {
		fmt.Fprintf(w, "%s\t%.0f\t%v\t%v\t%v\t%+.1f MiB\t%d\t%d\n", p.Flooded, p.Rate, p.Median.Round(time.Millisecond), p.P99.Round(time.Millisecond), p.Asked.Round(100*time.Microsecond),
			float64(p.Grown)/(1<<20), p.Visitors, p.Bindings)
	}
	return w.Flush()
}
