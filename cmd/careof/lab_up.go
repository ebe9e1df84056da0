package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/control"
	"careof/internal/lab/live"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// labSocketVariable tells the inner program of [netns.Enter] where the outer
// one's user looks for the laboratory: inside, everybody is root.
const labSocketVariable = "CAREOF_LAB_SOCKET"

// A labName is the flag by which a laboratory is found.
type labName struct{ name string }

func (n *labName) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.name, "name", "default", "the laboratory's name, when there are several")
}

// socket is where the laboratory's holder listens.
func (n *labName) socket() (string, error) {
	if path := os.Getenv(labSocketVariable); path != "" {
		return path, nil
	}
	path, err := netns.ControlPath(n.name)
	if err != nil {
		return "", usagef("%w", err)
	}
	return path, nil
}

// labFolder is the directory of the laboratory with a socket.
func labFolder(socket string) string { return strings.TrimSuffix(socket, ".sock") }

// ask has the holder do something, on this program's standard output.
func (n *labName) ask(r netns.Request) error {
	path, err := n.socket()
	if err != nil {
		return err
	}
	code, err := netns.Ask(path, r)
	switch {
	case errors.Is(err, netns.ErrNotHeld):
		return &exit{exitUnreachable, fmt.Errorf("there is no laboratory %q: start one with `careof lab up`", n.name)}
	case err != nil:
		return err
	case code != 0:
		return &exit{code: code}
	}
	return nil
}

func newLabUp(e *env) *cobra.Command {
	var (
		name   labName
		file   string
		seed   uint64
		detach bool
		kernel bool
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build a network and hold it, to try things by hand",
		Long: `Up builds the network that a topology file describes and starts its daemons. It
stays in the foreground and tells what happens, until it is interrupted or taken
down with "careof lab down"; with --detach it goes to the background. The other
lab commands work on it from other terminals.

Without -f it is the network of the demonstration: a correspondent node (cn), a
home agent (ha), two access networks (access1, and access2 behind a NAT), and a
mobile node (mn) that waits for its first link. Also built in, each with a hint
what to try:
  home-link       the mobile node can come home
  foreign-agents  that, and two foreign agents (links visited1 and visited2)
  bogus-agent     that, and an agent on visited1 that relays to nowhere
  diameter-two-realms
                  two realms' AAA servers with a stock freeDiameter between them: a node
                  of one gets keys and a home agent in the other (RFC 4004)
  one-box         home agent and foreign agent are one box
  ha-pool         two home agents of a pool on the home link: drain one, kill one
  radius          a node that a stock FreeRADIUS knows and nobody else, and two foreign agents
  overlapping     two home networks with the same addresses at one foreign agent
A file may start from one of these with extends = "NAME".`,
		Example: `  careof lab up --detach
  careof lab move mn access1
  careof lab exec cn -- ping -c 3 10.10.0.5
  careof lab exec ha -- careof show bindings
  careof lab move mn access2
  careof lab down
  careof lab up -f foreign-agents`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := name.socket()
			if err != nil {
				return err
			}
			if detach {
				if err := upDetached(cmd.Context(), e, path); err != nil {
					return err
				}
				if t, err := topology.Load(file); err == nil {
					suggest(e, t)
				}
				return nil
			}
			if err := os.Setenv(labSocketVariable, path); err != nil {
				return err
			}
			if done, err := enter(); done {
				return err
			}
			t, err := topology.Load(file)
			if err != nil {
				return err
			}
			return up(cmd.Context(), e, t, path, live.Options{Seed: seed, Kernel: kernel})
		},
	}
	name.flag(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "default", "the topology: a `file`, or one that is built in: "+strings.Join(topology.Builtin(), ", "))
	cmd.Flags().Uint64Var(&seed, "seed", 1, "chooses the luck of the links")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "go to the background when everything runs")
	cmd.Flags().BoolVar(&kernel, "kernel-routers", false, "routers are kernels, with the kernel's own masquerading for NAT")
	return cmd
}

// up holds a laboratory until it is interrupted or taken down.
func up(ctx context.Context, e *env, t *topology.Topology, path string, o live.Options) (err error) {
	ctx, stop := careful(ctx)
	defer stop()
	ctx, down := context.WithCancel(ctx)
	defer down()
	if _, err := netns.Ask(path, netns.Request{Command: "status"}); !errors.Is(err, netns.ErrNotHeld) {
		return netns.ErrHeld
	}
	o.Directory = labFolder(path)
	o.Heard = tell(e)
	l, err := live.Build(ctx, t, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if _, err := l.Network.Serve(path, l.Commands(down)); err != nil {
		return err
	}
	if err := l.WriteStatus(e.stdout); err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, "up; Ctrl-C or `careof lab down` ends it")
	suggest(e, t)
	<-ctx.Done()
	return nil
}

// tell prints what daemons say, in words.
func tell(e *env) func(node string, ev control.Event) {
	return func(node string, ev control.Event) {
		if text := live.Say(node, ev); text != "" {
			fmt.Fprintf(e.stdout, "%s  %s\n", ev.Time.Local().Format("15:04:05.000"), text)
		}
	}
}

// suggest says what to try in a laboratory.
func suggest(e *env, t *topology.Topology) {
	if len(t.Try) == 0 {
		return
	}
	fmt.Fprintln(e.stdout, "try, in another terminal:")
	for _, line := range t.Try {
		fmt.Fprintln(e.stdout, " ", line)
	}
}

// upDetached runs the same command in the background and waits until the
// laboratory answers.
func upDetached(ctx context.Context, e *env, path string) error {
	log, err := os.OpenFile(labFolder(path)+".log", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", withoutDetach(os.Args[1:])...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the laboratory did not come up:\n%s", text)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), cmd.Process.Signal(os.Interrupt))
		case <-tick.C:
		}
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if code, err := netns.Ask(path, netns.Request{Command: "status"}); err == nil && code == 0 {
			fmt.Fprintf(e.stdout, "up; what happens is told in %s; `careof lab down` ends it\n", log.Name())
			return nil
		}
	}
}

func withoutDetach(args []string) []string {
	var kept []string
	for _, a := range args {
		if a != "-d" && a != "--detach" && a != "--detach=true" {
			kept = append(kept, a)
		}
	}
	return kept
}

func newLabStatus(*env) *cobra.Command {
	var name labName
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Who is where in the laboratory",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return name.ask(netns.Request{Command: "status"}) },
	}
	name.flag(cmd)
	return cmd
}

func newLabMove(*env) *cobra.Command {
	var (
		name  labName
		iface string
		make  bool
	)
	cmd := &cobra.Command{
		Use:   "move NODE SEGMENT",
		Short: "Take a mobile node to another network",
		Long: `Move pulls the cable of a mobile node's interface and plugs it in on another
segment, where it gets an address as from a DHCP server. With --make the new link
comes first, on another interface, and the old one goes a moment later.`,
		Example: `  careof lab move mn access2
  careof lab move mn access1 --interface wlan0 --make`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			return name.ask(netns.Request{Command: "move", Args: []string{args[0], args[1], iface, strconv.FormatBool(make)}})
		},
	}
	name.flag(cmd)
	cmd.Flags().StringVarP(&iface, "interface", "i", "", "which `interface` to plug in")
	cmd.Flags().BoolVar(&make, "make", false, "make the new link before the old one breaks")
	return cmd
}

func newLabCut(*env) *cobra.Command {
	var (
		name labName
		heal bool
	)
	cmd := &cobra.Command{
		Use:   "cut NODE|SEGMENT",
		Short: "Pull a mobile node's cables, or make a segment swallow everything",
		Long: `Cut a mobile node and it notices at once that its links are gone; move brings it
back. Cut a segment and nobody is told: packets just vanish, until it is healed.`,
		Example: `  careof lab cut mn
  careof lab cut access1
  careof lab cut access1 --heal`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			command := "cut"
			if heal {
				command = "heal"
			}
			return name.ask(netns.Request{Command: command, Args: args})
		},
	}
	name.flag(cmd)
	cmd.Flags().BoolVar(&heal, "heal", false, "let a segment carry packets again")
	return cmd
}

func newLabKill(*env) *cobra.Command {
	return labDaemon(&cobra.Command{
		Use:   "kill NODE",
		Short: "Kill a node's daemon, as kill -9 does",
		Long: `Kill ends a node's daemon without a word to anybody. What the node's kernel has
stays: look whether packets still pass. Start brings the daemon back.`,
		Example: `  careof lab kill ha
  careof lab start ha`,
	})
}

func newLabStart(*env) *cobra.Command {
	return labDaemon(&cobra.Command{
		Use:     "start NODE",
		Short:   "Start a node's daemon again",
		Example: `  careof lab start ha`,
	})
}

// labDaemon completes a command that does to a node's daemon what its name says.
func labDaemon(cmd *cobra.Command) *cobra.Command {
	var name labName
	cmd.Args = usageArgs(cobra.ExactArgs(1))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return name.ask(netns.Request{Command: cmd.Name(), Args: args})
	}
	name.flag(cmd)
	return cmd
}

func newLabExec(*env) *cobra.Command {
	var name labName
	cmd := &cobra.Command{
		Use:   "exec NODE -- COMMAND [ARGUMENT...]",
		Short: "Run a program in a node",
		Long: `Exec runs a program on a node's network, on this terminal, and ends with its exit
code. careof itself finds the node's daemon there.`,
		Example: `  careof lab exec cn -- ping 10.10.0.5
  careof lab exec ha -- careof show bindings
  careof lab exec mn -- bash`,
		Args: usageArgs(cobra.MinimumNArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := name.socket()
			if err != nil {
				return err
			}
			directory, err := os.Getwd()
			if err != nil {
				return err
			}
			environment := append(os.Environ(), "CAREOF_SOCKET="+live.SocketIn(labFolder(path), args[0]))
			program := args[1:]
			if program[0] == "--" {
				program = program[1:]
			}
			if len(program) == 0 {
				return usagef("what is to run in %s?", args[0])
			}
			if program[0] == "careof" {
				// The one that is asked, whether it is on the path or not.
				if self, err := os.Executable(); err == nil {
					program = append([]string{self}, program[1:]...)
				}
			}
			return name.ask(netns.Request{Node: args[0], Args: program, Env: environment, Directory: directory})
		},
	}
	name.flag(cmd)
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func newLabCapture(e *env) *cobra.Command {
	var (
		name labName
		file string
	)
	cmd := &cobra.Command{
		Use:   "capture -w FILE [SEGMENT...]",
		Short: "Write the packets of segments to a pcapng file, with comments",
		Long: `Capture writes every packet on the segments (all of them, unless some are named)
until it is interrupted. Each registration message has a comment with what it
says and what the daemons thought about it; Wireshark shows them.`,
		Example: `  careof lab capture -w lab.pcapng access1 access2
  careof lab capture -w - | wireshark -k -i -`,
		RunE: func(_ *cobra.Command, args []string) error {
			if file == "" {
				return usagef("where to? Say -w FILE, or -w - for standard output")
			}
			if file != "-" {
				f, err := os.Create(file)
				if err != nil {
					return err
				}
				defer f.Close()
				// The holder writes on this program's standard output.
				defer func(was *os.File) { os.Stdout = was }(os.Stdout)
				os.Stdout = f
				fmt.Fprintln(e.stderr, "capturing; Ctrl-C ends it")
			}
			return name.ask(netns.Request{Command: "capture", Args: args})
		},
	}
	name.flag(cmd)
	cmd.Flags().StringVarP(&file, "write", "w", "", "the `file`; - is standard output")
	return cmd
}

func newLabGraph(e *env) *cobra.Command {
	var (
		name labName
		file string
	)
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Draw a topology, or the laboratory as it is now (SVG)",
		Example: `  careof lab graph > now.svg
  careof lab graph -f topology.toml > plan.svg`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if file == "" {
				return name.ask(netns.Request{Command: "graph"})
			}
			t, err := topology.Load(file)
			if err != nil {
				return err
			}
			_, err = e.stdout.Write(t.SVG())
			return err
		},
	}
	name.flag(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "draw this topology `file` instead, or one that is built in: "+strings.Join(topology.Builtin(), ", "))
	return cmd
}

// downLimit bounds how long a laboratory takes to be gone.
const downLimit = 10 * time.Second

func newLabDown(*env) *cobra.Command {
	var name labName
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take the laboratory down; nothing of it remains",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := name.ask(netns.Request{Command: "down"}); err != nil {
				return err
			}
			path, err := name.socket()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), downLimit)
			defer cancel()
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				if _, err := os.Stat(labFolder(path)); errors.Is(err, os.ErrNotExist) {
					os.Remove(labFolder(path) + ".log")
					return nil
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return fmt.Errorf("the laboratory is not gone after %v", downLimit)
				}
			}
		},
	}
	name.flag(cmd)
	return cmd
}
