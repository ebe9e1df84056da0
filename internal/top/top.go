// Package top is `careof top`: what a daemon does, live, in a terminal.
//
// The model is pure: it is told what was read and which keys were pressed, and
// says what to read next and what to show. What must not go in here: how a
// daemon is asked (package control).
package top

import (
	"context"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"careof/internal/control"
)

// A Source is where everything shown comes from; *control.Client is one.
type Source interface {
	Show(ctx context.Context, what, argument string, value any) error
	Page(ctx context.Context, what, query string, list any) (control.Page, error)
	Monitor(ctx context.Context, yield func(text []byte) bool) error
}

// Interval is how often the daemon is asked.
const Interval = time.Second

// Run shows until the user ends it or ctx does.
func Run(ctx context.Context, source Source, colour bool, options ...tea.ProgramOption) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m := newModel(colour)
	p := tea.NewProgram(program{m, ctx, source}, append(options, tea.WithContext(ctx), tea.WithAltScreen())...)
	go follow(ctx, source, func(msg any) { p.Send(msg) })
	_, err := p.Run()
	if ctx.Err() != nil && err != nil {
		return nil
	}
	return err
}

// A program is the model with what it reads from.
type program struct {
	*model
	ctx    context.Context
	source Source
}

type tick time.Time

// Init implements [tea.Model].
func (p program) Init() tea.Cmd {
	return tea.Batch(p.read(p.question()), p.tick())
}

func (p program) tick() tea.Cmd {
	return tea.Tick(Interval, func(t time.Time) tea.Msg { return tick(t) })
}

// Update implements [tea.Model].
func (p program) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tick:
		if p.paused || p.reading {
			return p, p.tick()
		}
		return p, tea.Batch(p.read(p.question()), p.tick())
	case tea.WindowSizeMsg:
		p.width, p.height = msg.Width, msg.Height
	case answer:
		p.answered(msg)
	case happened:
		p.happened(msg)
	case tea.KeyMsg:
		before := p.question()
		for _, k := range keys(msg) {
			if p.key(k) {
				return p, tea.Quit
			}
		}
		if p.question() != before {
			return p, p.read(p.question())
		}
	}
	return p, nil
}

// read asks the daemon, apart from the screen.
func (p program) read(q question) tea.Cmd {
	p.reading = true
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
		defer cancel()
		return ask(ctx, p.source, q)
	}
}

// keys are the keys of a message: what is typed fast, or pasted, comes at once.
// Escape and a key that come together look like that key with Alt, which means
// nothing here.
func keys(msg tea.KeyMsg) (list []string) {
	if msg.Alt {
		msg.Alt = false
		list = append(list, "esc")
	}
	if msg.Type != tea.KeyRunes {
		return append(list, msg.String())
	}
	for _, r := range msg.Runes {
		list = append(list, string(r))
	}
	return list
}
