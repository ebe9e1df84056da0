package bench

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// ErrNoBindings says that a report has nothing to draw.
var ErrNoBindings = errors.New("bench: the report says nothing of bindings: careof bench tunnel --bindings 1,1000,100000,1000000 -o json")

// The picture's sizes.
const (
	pictureWidth, pictureHeight = 760, 360
	plotLeft, plotRight         = 70, 610
	plotTop, plotBottom         = 40, 300
)

// allowed is by how much a packet among a million bindings may cost more than
// one among one.
const allowed = 1.1

// Picture draws what a packet costs against the number of bindings, as SVG:
// medians, with the spread of the rounds.
func (r *Report) Picture(out io.Writer) error {
	if len(r.Bindings) == 0 {
		return ErrNoBindings
	}
	most := 0.0
	for _, b := range r.Bindings {
		most = max(most, b.CPU.Max, b.Program.Max/1000)
	}
	step := math.Pow(10, math.Floor(math.Log10(most)))
	if most/step < 5 {
		step /= 2
	}
	top := step * math.Ceil(most/step)
	first, last := decade(r.Bindings[0].Bindings), decade(r.Bindings[len(r.Bindings)-1].Bindings)
	x := func(n int) float64 {
		return plotLeft + (plotRight-plotLeft)*(decade(n)-first)/max(last-first, 1)
	}
	y := func(v float64) float64 { return plotBottom - (plotBottom-plotTop)*v/top }

	d := &drawing{out: out}
	d.say(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="title desc">`, pictureWidth, pictureHeight)
	d.say(`  <title id="title">Cost of a packet against the number of bindings</title>`)
	d.say(`  <desc id="desc">%s</desc>`, r.describe())
	d.say(`  <style>
    svg { --ink: #1f2328; --faint: #656d76; --line: #b9bfc7; --accent: #0b6b58; --warm: #9a4a00; color-scheme: light dark; font: 14px system-ui, sans-serif }
    @media (prefers-color-scheme: dark) { svg { --ink: #dfe3e8; --faint: #949ba5; --line: #4a515b; --accent: #5fd0b4; --warm: #f0a35e } }
    text { fill: var(--ink) } .f { fill: var(--faint); font-size: 13px } .axis { stroke: var(--line) } .limit { stroke: var(--faint); stroke-dasharray: 4 4 }
    .all { stroke: var(--accent); fill: none; stroke-width: 2 } .program { stroke: var(--warm); fill: none; stroke-width: 2 }
    .all-text { fill: var(--accent) } .program-text { fill: var(--warm) }
  </style>`)
	d.say(`  <text x="14" y="22">µs of processor time a packet</text>`)
	for v := 0.0; v <= top+step/2; v += step {
		d.say(`  <path class="axis" d="M%d %.1fH%d"/><text class="f" x="%d" y="%.1f" text-anchor="end">%s</text>`,
			plotLeft, y(v), plotRight, plotLeft-8, y(v)+4, strconv.FormatFloat(v, 'g', 4, 64))
	}
	for _, b := range r.Bindings {
		d.say(`  <text class="f" x="%.1f" y="%d" text-anchor="middle">%s</text>`, x(b.Bindings), plotBottom+22, thousands(b.Bindings))
	}
	d.say(`  <text x="%d" y="%d" text-anchor="middle">bindings</text>`, (plotLeft+plotRight)/2, plotBottom+46)
	limit := y(allowed * r.Bindings[0].CPU.Median)
	d.say(`  <path class="limit" d="M%d %.1fH%d"/><text class="f" x="%d" y="%.1f">%g × one binding</text>`, plotLeft, limit, plotRight, plotRight+8, limit-10, allowed)
	d.line("all", "the whole way", r.Bindings, x, y, func(b Bound) Spread { return b.CPU })
	d.line("program", "the program alone", r.Bindings, x, y, func(b Bound) Spread {
		return Spread{b.Program.Median / 1000, b.Program.Min / 1000, b.Program.Max / 1000}
	})
	d.say(`</svg>`)
	return d.err
}

// describe is the picture in words.
func (r *Report) describe() (text string) {
	for _, b := range r.Bindings {
		text += fmt.Sprintf("Among %s bindings a packet takes %.1f µs of processor time on its whole way, of which the program that encapsulates takes %.0f ns. ",
			thousands(b.Bindings), b.CPU.Median, b.Program.Median)
	}
	return text + fmt.Sprintf("Medians of %d rounds; the bars are the spread. Linux %s, %d processors, load %s.", r.Rounds, r.Kernel, r.Processors, r.Load)
}

func decade(n int) float64 { return math.Log10(float64(max(n, 1))) }

// thousands writes a number with its thousands apart.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// A drawing is SVG in the making; its error sticks.
type drawing struct {
	out io.Writer
	err error
}

func (d *drawing) say(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.out, format+"\n", args...)
	}
}

func (d *drawing) line(class, name string, bindings []Bound, x func(int) float64, y func(float64) float64, of func(Bound) Spread) {
	path, pen := "", "M"
	for _, b := range bindings {
		v := of(b)
		path += fmt.Sprintf("%s%.1f %.1f", pen, x(b.Bindings), y(v.Median))
		pen = "L"
		d.say(`  <path class="%s" d="M%.1f %.1fV%.1f"/><circle class="%s" cx="%.1f" cy="%.1f" r="3"/>`, class, x(b.Bindings), y(v.Max), y(v.Min), class, x(b.Bindings), y(v.Median))
	}
	last := bindings[len(bindings)-1]
	d.say(`  <path class="%s" d="%s"/><text class="%s-text" x="%d" y="%.1f">%s</text>`, class, path, class, plotRight+8, y(of(last).Median)+14, name)
}
