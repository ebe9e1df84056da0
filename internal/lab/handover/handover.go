// Package handover measures how long nothing arrives when a mobile node moves
// between two foreign agents, with the link's own word that it has moved and
// without it; and what the moves of a node with two uplinks cost, beside
// wireguard-go and strongSwan on the same network. The same moves are made in the simulated world, where the figures
// are exact, and on namespaces with real daemons.
//
// What must not go in here: moves (scene), and how a laboratory makes them.
package handover

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"careof/internal/lab/live"
	"careof/internal/lab/median"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// Options of a measurement.
type Options struct {
	Moves   int  // of each kind
	Virtual bool // only in the simulated world
	// Only measures what has this in its name; empty measures all.
	Only string
	// OneWay is the only distance that the node with two uplinks is at; zero: all.
	OneWay time.Duration
	Seed   uint64
	// Command starts a daemon: see [live.Options].
	Command func(config string) *exec.Cmd
	Tell    io.Writer // what is going on
}

// An Outage says how long nothing arrived in one kind of move.
type Outage struct {
	Told    string          `json:"told"`  // how the node learns that it has moved
	World   string          `json:"world"` // virtual or namespaces
	Median  time.Duration   `json:"median"`
	Longest time.Duration   `json:"longest"`
	All     []time.Duration `json:"all"` // of each move, the worse direction
}

// A Report is a measurement.
type Report struct {
	RoundTrip time.Duration `json:"round-trip"` // between visited link and home agent
	Interval  time.Duration `json:"advertise-interval"`
	Outages   []Outage      `json:"outages"`
	Roams     []Roam        `json:"roams"` // of a node with two uplinks and no foreign agent
}

// ways are how a node learns that it has moved.
var ways = []struct {
	told      string
	announced bool
	prefixes  bool
}{
	{"the link goes down and up", true, false},
	{"prefixes in advertisements", false, true},
	{"silence of the old agent", false, false},
}

// failBack is how long the path must answer again between two black holes; it
// doubles with each.
const failBack = time.Second

// Measures tells whether anything that is measured has a text in its name.
func Measures(text string) bool {
	for _, w := range ways {
		if strings.Contains(w.told, text) {
			return true
		}
	}
	return slices.ContainsFunc(moves, func(m move) bool { return strings.Contains(m.name, text) })
}

// Run measures. On namespaces it must be called inside netns.Enter. With an error
// comes what was measured before it.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &Report{RoundTrip: scene.PathRTT, Interval: scene.AdvertiseInterval}
	for _, way := range ways {
		if !strings.Contains(way.told, o.Only) {
			continue
		}
		s := &scene.Scene{
			Name: "handover", Topology: "home-link",
			Edit: func(t *topology.Topology) {
				scene.AddForeignAgents(t)
				for i := range t.Nodes {
					if n := &t.Nodes[i]; n.Kind == topology.ForeignAgent {
						n.Config += fmt.Sprintf("prefix-lengths = %v\n", way.prefixes)
					}
				}
			},
		}
		for _, world := range []string{"virtual", "namespaces"} {
			if world != "virtual" && o.Virtual {
				continue
			}
			var down, up []time.Duration
			s.Play = func(l scene.Lab) { down, up = scene.Handovers(l, o.Moves, way.announced) }
			fmt.Fprintf(o.Tell, "%s, %s\n", way.told, world)
			var err error
			if world == "virtual" {
				err = simulate(s, o.Seed)
			} else {
				err = live.Play(ctx, s, live.Options{Seed: o.Seed, Command: o.Command}, func(string, ...any) {})
			}
			if err != nil {
				return r, fmt.Errorf("handover: %w", err)
			}
			r.Outages = append(r.Outages, outage(way.told, world, down, up))
		}
	}
	var err error
	r.Roams, err = roams(ctx, o)
	return r, err
}

func simulate(s *scene.Scene, seed uint64) error {
	t, err := s.Build()
	if err != nil {
		return err
	}
	sim, err := scene.Simulate(t, scene.Options{Seed: seed})
	if err != nil {
		return err
	}
	if err := scene.Perform(s, sim); err != nil {
		return err
	}
	return sim.Finish()
}

func outage(told, world string, down, up []time.Duration) Outage {
	o := Outage{Told: told, World: world}
	for i := range down {
		o.All = append(o.All, max(down[i], up[i]))
	}
	o.Median, o.Longest = median.Of(o.All), slices.Max(o.All)
	return o
}

// Write prints the report as a table.
func (r *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Outages) > 0 {
		r.writeOutages(w)
	}
	if len(r.Roams) > 0 {
		r.writeRoams(w)
	}
	return w.Flush()
}

func (r *Report) writeOutages(w io.Writer) {
	fmt.Fprintf(w, "moves between two foreign agents: round trip to the home agent %v, advertisements every %v at most\n\n", r.RoundTrip, r.Interval)
	fmt.Fprintln(w, strings.Join([]string{"THE NODE IS TOLD BY", "WORLD", "MOVES", "OUTAGE, MEDIAN", "LONGEST"}, "\t"))
	for _, o := range r.Outages {
		fmt.Fprintf(w, "%s\t%s\t%d\t%v\t%v\n", o.Told, o.World, len(o.All), o.Median.Round(time.Millisecond), o.Longest.Round(time.Millisecond))
	}
	fmt.Fprintln(w)
}

func (r *Report) writeRoams(w io.Writer) {
	fmt.Fprintln(w, strings.Join([]string{"TWO UPLINKS", "ONE WAY", "WITH", "WORLD", "MOVES", "DOWN, MEDIAN", "P95", "LONGEST", "UP, MEDIAN", "P95", "LONGEST", "LOST", "TWICE", "MISSED", ""}, "\t"))
	for _, m := range r.Roams {
		ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
		fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%d\t%v\t%v\t%v\t%v\t%v\t%v\t%d\t%d\t%d\t%s\n", m.Move, m.OneWay, m.System, m.World, len(m.Moves),
			ms(m.Down.Median), ms(m.Down.P95), ms(m.Down.Longest), ms(m.Up.Median), ms(m.Up.P95), ms(m.Up.Longest), m.Lost, m.Twice, m.Missed, m.Note)
	}
}
