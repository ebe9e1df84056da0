package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/lab/live"
	"careof/internal/lab/scene"
)

func newLabScene(e *env) *cobra.Command {
	var (
		simulated bool
		seed      uint64
	)
	cmd := &cobra.Command{
		Use:   "scene [NAME...]",
		Short: "Play a story with assertions, or list the stories",
		Long: `Scene plays stories that Mobile IP must come through: moves, translators, crashes,
forged messages, foreign agents. Each builds its own network, says what happens, and
checks what must be true. Without a name it lists them.

A scene plays on namespaces with real daemons, or with --simulated in the simulated
world: there in virtual time, exactly, and with whatever the seed has in store. Some
play in only one of the two; the list says where.

It exits with 1 when something was not as it must be.`,
		Example: `  careof lab scene
  careof lab scene one-box
  careof lab scene --simulated --seed 7 tour-ipip loss`,
		ValidArgs: sceneNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listScenes(e)
			}
			var list []*scene.Scene
			for _, name := range args {
				s := scene.Find(name)
				switch {
				case s == nil:
					return usagef("there is no scene %q: `careof lab scene` lists them", name)
				case simulated && !s.Simulated():
					return usagef("%s needs whole hosts and plays on namespaces alone: leave --simulated out", name)
				case !simulated && !live.Playable(s):
					return usagef("%s needs what only the simulated world has: say --simulated", name)
				}
				list = append(list, s)
			}
			if !simulated {
				if done, err := enter(); done {
					return err
				}
			}
			ctx, stop := careful(cmd.Context())
			defer stop()
			for _, s := range list {
				if err := playScene(ctx, e, s, simulated, seed); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&simulated, "simulated", false, "play in the simulated world, in virtual time")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "chooses the luck of the links, and in the simulated world all luck")
	return cmd
}

func sceneNames() (names []string) {
	for _, s := range scene.All() {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

func listScenes(e *env) error {
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SCENE\tPLAYS\tWHAT IT SHOWS")
	for _, s := range scene.All() {
		where := "both"
		switch {
		case !s.Simulated():
			where = "namespaces"
		case !live.Playable(s):
			where = "simulated"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, where, s.Doc)
	}
	return w.Flush()
}

// playScene plays one scene and says how it went.
func playScene(ctx context.Context, e *env, s *scene.Scene, simulated bool, seed uint64) (err error) {
	fmt.Fprintf(e.stdout, "%s: %s\n", s.Name, s.Doc)
	began := time.Now()
	say := func(format string, args ...any) { fmt.Fprintf(e.stdout, "  "+format+"\n", args...) }
	if simulated {
		err = scene.PlaySimulated(s, seed, say)
	} else {
		err = live.Play(ctx, s, live.Options{Seed: seed, Heard: tell(e)}, say)
	}
	if errors.Is(err, context.Canceled) {
		return &exit{exitInterrupted, errors.New("interrupted; nothing was left behind")}
	}
	if err != nil {
		return fmt.Errorf("it is not as it must be: %w", err)
	}
	fmt.Fprintf(e.stdout, "%s: as it must be, after %v\n", s.Name, time.Since(began).Round(100*time.Millisecond))
	return nil
}
