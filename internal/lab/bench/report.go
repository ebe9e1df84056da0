package bench

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"careof/internal/lab/median"
)

// A Report is what was measured.
type Report struct {
	Kernel     string     `json:"kernel"`
	Go         string     `json:"go"`
	Processors int        `json:"processors"`
	Load       string     `json:"load"` // of the machine before the first measurement
	Rounds     int        `json:"rounds"`
	Seconds    float64    `json:"seconds"` // of one measurement
	Measures   []Measured `json:"measures"`
	Bindings   []Bound    `json:"bindings,omitempty"`
	Without    []Without  `json:"without,omitempty"`
}

// Without is a way that cannot be had here, and why.
type Without struct {
	Way string `json:"way"`
	Why string `json:"why"`
}

// Measured is one measure of all ways.
type Measured struct {
	Name     string `json:"name"`
	About    string `json:"about"`
	Unit     string `json:"unit"`
	CostUnit string `json:"cost_unit"`
	Rows     []Row  `json:"rows"`
}

// A Row is one way's.
type Row struct {
	Way   string `json:"way"`
	Rate  Spread `json:"rate"`
	Ratio Spread `json:"of_plain"`
	Cost  Spread `json:"cpu"`
	// CostRatio is plain forwarding's processor time for the same work, by
	// this way's: 1 is as cheap.
	CostRatio Spread `json:"cpu_of_plain"`
}

// A Spread is the median of the rounds, the smallest and the largest.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spread(v []float64) Spread {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return Spread{}
	}
	return Spread{median.Of(v), v[0], v[len(v)-1]}
}

func (s Spread) in(format string) string {
	return fmt.Sprintf(format+" ("+format+"-"+format+")", s.Median, s.Min, s.Max)
}

func newReport(o Options) *Report {
	r := &Report{Go: runtime.Version(), Processors: runtime.NumCPU(), Rounds: o.Rounds, Seconds: o.Time.Seconds()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load, _, _ = strings.Cut(string(load), " ")
	}
	return r
}

func (r *Report) add(m measure, ways []*way, samples map[string][]sample) {
	out := Measured{Name: m.name, About: m.about, Unit: m.unit, CostUnit: m.cost}
	base := samples[plain]
	for _, w := range ways {
		var rate, ratio, cost, costRatio []float64
		for i, s := range samples[w.name] {
			rate, cost = append(rate, s.rate), append(cost, s.cost)
			ratio, costRatio = append(ratio, s.rate/base[i].rate), append(costRatio, base[i].cost/s.cost)
		}
		out.Rows = append(out.Rows, Row{w.name, spread(rate), spread(ratio), spread(cost), spread(costRatio)})
	}
	r.Measures = append(r.Measures, out)
}

// Write prints the report as tables.
func (r *Report) Write(w io.Writer) error {
	fmt.Fprintf(w, "Linux %s, %s, %d processors, load %s before; %d rounds of %gs; median (smallest-largest)\n",
		r.Kernel, r.Go, r.Processors, r.Load, r.Rounds, r.Seconds)
	for _, m := range r.Measures {
		fmt.Fprintf(w, "\n%s: %s\n", m.Name, m.About)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "way\t%s\tof plain\tCPU %s\tCPU, plain by this\n", m.Unit, m.CostUnit)
		for _, row := range m.Rows {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", row.Way, row.Rate.in("%.2f"), row.Ratio.in("%.2f"), row.Cost.in("%.2f"), row.CostRatio.in("%.2f"))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(r.Bindings) > 0 {
		fmt.Fprintf(w, "\nbindings: the program that encapsulates, packets to one of so many at random\n")
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "bindings\tprogram ns/packet\tCPU us/packet\tinstalled a second")
		for _, b := range r.Bindings {
			fmt.Fprintf(t, "%d\t%s\t%s\t%.0f\n", b.Bindings, b.Program.in("%.0f"), b.CPU.in("%.2f"), b.PerSecond)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, n := range r.Without {
		fmt.Fprintf(w, "\nwithout %s: %s\n", n.Way, n.Why)
	}
	return nil
}
