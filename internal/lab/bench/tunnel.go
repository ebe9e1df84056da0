package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Options says what to measure.
type Options struct {
	Rounds   int           // how often each way is measured
	Time     time.Duration // of one measurement
	Measures []string      // names; none: all
	Ways     []string      // names besides plain forwarding; none: all
	Bindings []int         // numbers of bindings; none: not measured
	Tell     io.Writer     // hears what is being done
}

// Measures and Ways are the names that [Options] may have.
func Measures() (names []string) {
	for _, m := range measures() {
		names = append(names, m.name)
	}
	return names
}

// Ways are the names of all ways.
func Ways() (names []string) {
	for _, w := range ways() {
		names = append(names, w.name)
	}
	return names
}

// Tunnel measures. It needs the privilege to make network namespaces; ways
// that this process cannot have are left out, and the report says why.
func Tunnel(ctx context.Context, o Options) (r *Report, err error) {
	r = newReport(o)
	var open []*way
	defer func() {
		for _, w := range open {
			err = errors.Join(err, w.close())
		}
	}()
	for _, w := range ways() {
		if w.name != plain && len(o.Ways) > 0 && !slices.Contains(o.Ways, w.name) {
			continue
		}
		open = append(open, w)
		if err := w.open(); err != nil {
			if !errors.Is(err, errors.ErrUnsupported) {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			r.Without = append(r.Without, Without{w.name, err.Error()})
			open = open[:len(open)-1]
			w.close()
		}
	}
	state := trains
	for _, m := range measures() {
		if len(o.Measures) > 0 && !slices.Contains(o.Measures, m.name) {
			continue
		}
		for ; state < m.links; state++ {
			for _, w := range open {
				change := (*network).segment
				if state == wires {
					change = (*network).merge
				}
				if err := change(w.network); err != nil {
					return nil, fmt.Errorf("bench: %s: %w", w.name, err)
				}
			}
		}
		samples := make(map[string][]sample)
		for round := range o.Rounds {
			order := slices.Clone(open)
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, w := range order {
				fmt.Fprintf(o.Tell, "%s, round %d of %d: %s\n", m.name, round+1, o.Rounds, w.name)
				if round == 0 {
					// What is only done once, such as ARP, is not measured.
					if _, err := m.run(ctx, w, max(o.Time/10, 100*time.Millisecond)); err != nil {
						return nil, fmt.Errorf("bench: %s, %s: %w", m.name, w.name, err)
					}
				}
				s, err := m.run(ctx, w, o.Time)
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					return nil, fmt.Errorf("bench: %s, %s: %w", m.name, w.name, err)
				}
				samples[w.name] = append(samples[w.name], s)
			}
		}
		r.add(m, open, samples)
	}
	if len(o.Bindings) > 0 {
		for _, w := range open {
			if w.name != "bpf-ipip" {
				continue
			}
			if r.Bindings, err = bindings(ctx, w, o); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}
