package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"careof/internal/config"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// Commands are what the holder of a laboratory does for others: see
// [netns.Control]. down takes it down.
//
//	status                             who is where
//	move NODE SEGMENT INTERFACE make   INTERFACE may be empty; make is "true" or "false"
//	cut NODE-OR-SEGMENT, heal SEGMENT
//	kill NODE, start NODE              its daemon
//	capture SEGMENT...                 writes pcapng until it is interrupted
//	graph                              writes SVG
//	down
func (l *Lab) Commands(down func()) map[string]netns.Command {
	return map[string]netns.Command{
		"status": func(_ context.Context, _ []string, out io.Writer) error { return l.WriteStatus(out) },
		"move": func(ctx context.Context, args []string, out io.Writer) error {
			if len(args) != 4 {
				return errors.New("live: move needs node, segment, interface and kind")
			}
			return l.Move(ctx, Movement{Node: args[0], Segment: args[1], Interface: args[2], Make: args[3] == "true"}, out)
		},
		"cut": func(_ context.Context, args []string, out io.Writer) error {
			if len(args) != 1 {
				return errors.New("live: cut needs a node or a segment")
			}
			return l.Cut(args[0], out)
		},
		"heal": func(_ context.Context, args []string, out io.Writer) error {
			if len(args) != 1 || l.segments[args[0]] == nil {
				return fmt.Errorf("live: only a segment can be healed (%s)", strings.Join(l.names(), ", "))
			}
			l.segments[args[0]].SetUp(true)
			fmt.Fprintf(out, "%s carries packets again\n", args[0])
			return nil
		},
		"kill": func(_ context.Context, args []string, out io.Writer) error {
			d, err := l.daemonNamed(args)
			if err != nil {
				return err
			}
			d.Kill()
			fmt.Fprintf(out, "the daemon of %s is dead, as by kill -9\n", d.Node)
			return nil
		},
		"start": func(ctx context.Context, args []string, out io.Writer) error {
			d, err := l.daemonNamed(args)
			if err != nil {
				return err
			}
			if err := d.Start(ctx); err != nil {
				return err
			}
			fmt.Fprintf(out, "the daemon of %s runs\n", d.Node)
			return nil
		},
		"capture": func(ctx context.Context, args []string, out io.Writer) error {
			k, err := l.StartCapture(out, CaptureConfig{Segments: args})
			if err != nil {
				return err
			}
			select {
			case <-ctx.Done():
			case <-l.done.Done():
			}
			return k.Close()
		},
		"graph": func(_ context.Context, _ []string, out io.Writer) error {
			_, err := out.Write(l.SVG())
			return err
		},
		"down": func(context.Context, []string, io.Writer) error {
			down()
			return nil
		},
	}
}

// daemonNamed finds the daemon of the node that is the one argument.
func (l *Lab) daemonNamed(args []string) (*Daemon, error) {
	if len(args) == 1 && l.daemons[args[0]] != nil {
		return l.daemons[args[0]], nil
	}
	var names []string
	for _, d := range l.order {
		names = append(names, d.Node)
	}
	return nil, fmt.Errorf("live: %q runs no daemon (%s)", strings.Join(args, " "), strings.Join(names, ", "))
}

// names lists the segments.
func (l *Lab) names() (list []string) {
	for _, s := range l.Topology.Segments {
		list = append(list, s.Name)
	}
	return list
}

// A Movement is a handover that is asked for.
type Movement struct {
	Node, Segment string
	// Interface is the one to plug in; empty for the one that is plugged in
	// already, or with Make for the first that is not.
	Interface string
	// Make plugs the new link in before the old one goes. The node uses what
	// it prefers of the two, as its configuration says.
	Make bool
}

// moveLimit bounds the wait for a registration.
const moveLimit = 10 * time.Second

// Move makes a handover, waits for the registration, and tells about it.
func (l *Lab) Move(ctx context.Context, m Movement, out io.Writer) error {
	n := l.Topology.Node(m.Node)
	if n == nil || n.Kind != topology.MobileNode {
		return fmt.Errorf("live: %q is no mobile node", m.Node)
	}
	if s := l.Topology.Segment(m.Segment); s == nil || !s.FirstLease.IsValid() && !s.Visit {
		return fmt.Errorf("live: %q is no segment that a node can move to", m.Segment)
	}
	var plugged, free []string
	for _, i := range n.Interfaces {
		if behind(n, i.Name) {
			continue
		}
		if l.Attached(m.Node, i.Name) != "" {
			plugged = append(plugged, i.Name)
		} else {
			free = append(free, i.Name)
		}
	}
	if m.Interface == "" {
		m.Interface = slices.Concat(plugged, free)[0]
		if m.Make && len(free) > 0 {
			m.Interface = free[0]
		}
	}
	leave := slices.DeleteFunc(plugged, func(i string) bool { return i == m.Interface })
	began := time.Now()
	if !m.Make {
		if err := l.unplugAll(m.Node, leave); err != nil {
			return err
		}
	}
	if err := l.Plug(m.Node, m.Interface, m.Segment); err != nil {
		return err
	}
	if m.Make && len(leave) > 0 {
		// The node prefers the old link, perhaps, and does not register now.
		if b, err := l.settled(ctx, m, time.Second); err == nil && b {
			fmt.Fprintf(out, "registered over %s after %v\n", m.Interface, time.Since(began).Round(time.Millisecond))
		} else {
			fmt.Fprintf(out, "%s prefers %s and stays there until it goes\n", m.Node, strings.Join(leave, " and "))
		}
		began = time.Now()
		if err := l.unplugAll(m.Node, leave); err != nil {
			return err
		}
	}
	if b, err := l.settled(ctx, m, moveLimit); err != nil || !b {
		return errors.Join(err, fmt.Errorf("live: %s is not registered over %s on %s after %v: see the log of its daemon", m.Node, m.Interface, m.Segment, moveLimit))
	}
	if !m.Make || len(leave) == 0 {
		fmt.Fprintf(out, "registered over %s after %v\n", m.Interface, time.Since(began).Round(time.Millisecond))
	}
	fmt.Fprintf(out, "%s: %s\n", m.Node, l.standing(m.Node))
	return nil
}

// behind says whether an interface is a mobile router's own network, which
// stays with it.
func behind(n *topology.Node, name string) bool {
	return n.Parsed != nil && n.Parsed.MobileNode != nil &&
		slices.ContainsFunc(n.Parsed.MobileNode.Networks, func(m config.MobileNetwork) bool { return m.Interface == name })
}

func (l *Lab) unplugAll(node string, interfaces []string) error {
	for _, i := range interfaces {
		if err := l.Unplug(node, i); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until a node is registered over an interface, or at home
// there; false when it is not in time.
func (l *Lab) settled(ctx context.Context, m Movement, limit time.Duration) (bool, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := l.Await(bounded, func() bool {
		b, err := l.Standing(m.Node)
		return err == nil && b.Link == m.Interface && (b.Registered || b.AtHome || b.CareOf.IsValid() && m.Make)
	})
	return err == nil, ctx.Err()
}

// Cut pulls the cables of a mobile node, which notices, or makes a segment
// swallow everything, which nobody is told.
func (l *Lab) Cut(what string, out io.Writer) error {
	if s := l.segments[what]; s != nil {
		s.SetUp(false)
		fmt.Fprintf(out, "%s swallows everything now; nobody has been told\n", what)
		return nil
	}
	n := l.Topology.Node(what)
	if n == nil || n.Kind != topology.MobileNode {
		return fmt.Errorf("live: %q is neither a segment (%s) nor a mobile node", what, strings.Join(l.names(), ", "))
	}
	for _, i := range n.Interfaces {
		if l.Attached(what, i.Name) == "" {
			continue
		}
		if err := l.Unplug(what, i.Name); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s of %s has no link any more\n", i.Name, what)
	}
	return nil
}

// WriteStatus prints who is where.
func (l *Lab) WriteStatus(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tKIND\tINTERFACE\tSEGMENT\tADDRESS\tDAEMON")
	for _, n := range l.Topology.Nodes {
		state := ""
		if d := l.daemons[n.Name]; d != nil {
			state = "dead"
			if d.Running() {
				state = "runs"
			}
			if n.Kind == topology.MobileNode && d.Running() {
				state = l.standing(n.Name)
			}
		}
		for at, i := range n.Interfaces {
			segment, address := l.Attached(n.Name, i.Name), i.Address.String()
			if !i.Address.IsValid() {
				address = ""
				if a, _, ok := l.Topology.Lease(orNone(l.Topology.Segment(segment)), n.Name, i.Name); ok {
					address = a.String()
				}
			}
			if segment == "" {
				segment = "-"
			}
			name, kind := n.Name, n.Kind.String()
			if at > 0 {
				name, kind, state = "", "", ""
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, kind, i.Name, segment, address, state)
		}
	}
	return w.Flush()
}

// orNone is a segment that leases nothing in place of none.
func orNone(s *topology.Segment) *topology.Segment {
	if s == nil {
		return &topology.Segment{}
	}
	return s
}

// standing says how a mobile node stands.
func (l *Lab) standing(node string) string {
	b, err := l.Standing(node)
	if err != nil {
		return "does not answer"
	}
	text := "not registered"
	switch {
	case l.unplugged(node):
		text = "no link"
	case b.AtHome:
		text = "at home"
	case b.CareOf.IsValid() && b.UDP:
		text = fmt.Sprintf("reached at %v, in UDP because of a NAT", b.CareOf)
	case b.CareOf.IsValid():
		text = fmt.Sprintf("reached at %v", b.CareOf)
	}
	if b.HomeAddress.IsValid() {
		text = b.HomeAddress.String() + " " + text
	}
	return text
}

// unplugged says that no link of a node leads anywhere.
func (l *Lab) unplugged(node string) bool {
	return !slices.ContainsFunc(l.Topology.Node(node).Interfaces, func(i topology.Interface) bool { return l.Attached(node, i.Name) != "" })
}

// SVG draws the laboratory as it is now.
func (l *Lab) SVG() []byte {
	t := *l.Topology
	t.Nodes = slices.Clone(t.Nodes)
	for at := range t.Nodes {
		n := &t.Nodes[at]
		if n.Kind != topology.MobileNode {
			continue
		}
		n.Interfaces = slices.Clone(n.Interfaces)
		for i := range n.Interfaces {
			n.Interfaces[i].Segment = l.Attached(n.Name, n.Interfaces[i].Name)
		}
	}
	return t.SVG()
}
