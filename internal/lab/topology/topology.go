// Package topology reads the file that describes a laboratory: nodes, the
// segments between them, addresses, translators, and the configuration of the
// daemons. The simulated world and the namespace laboratory build the same
// network from it. It also draws one.
//
// What must not go in here: how a laboratory is built.
package topology

import (
	"embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"careof/internal/config"
	"careof/internal/core/forward"
	"careof/internal/lab/nat"
)

// A Topology is a laboratory's network.
type Topology struct {
	File    string `toml:"-"`
	Version int
	Name    string
	// Extends names a built-in topology that this one is made of: what has a
	// name that is there already takes its place, all else comes after it.
	Extends string
	// Try lists command lines for who holds this laboratory for the first time.
	Try []string
	// Names are what host names mean in the laboratory: what /etc/hosts says
	// there.
	Names    map[string]netip.Addr
	Segments []Segment `toml:"segment"`
	Nodes    []Node    `toml:"node"`
}

// A Segment is a broadcast domain.
type Segment struct {
	Name      string
	Delay     Duration // one way
	Jitter    Duration // at random on top, which reorders
	Loss      float64  // probabilities, 0 to 1
	Duplicate float64
	Corrupt   float64
	MTU       int // of an IP packet, 0 means 1500

	// Network is the segment's IPv4 prefix and Gateway its router. A mobile
	// node that moves here gets an address of Network from FirstLease on.
	Network    netip.Prefix
	Gateway    netip.Addr
	FirstLease netip.Addr `toml:"first-lease"`
	// Visit says that a mobile node may also come here without an address:
	// there is a foreign agent.
	Visit bool
}

// A Kind says what a node is.
type Kind uint8

// The kinds of nodes.
const (
	Host          Kind = iota // an ordinary host: a correspondent node, a neighbour
	HomeAgent                 // runs a careof daemon with a [home-agent] section
	MobileNode                // runs a careof daemon with a [mobile-node] section
	Router                    // forwards packets; with NAT it translates
	ForeignAgent              // runs a careof daemon with a [foreign-agent] section
	AAAServer                 // runs a careof daemon with an [aaa.serve] section
	RADIUSServer              // runs a stock FreeRADIUS
	DiameterRelay             // runs a stock freeDiameter
)

var kinds = [...]string{"correspondent", "home-agent", "mobile-node", "router", "foreign-agent", "aaa-server", "radius-server", "diameter-relay"}

func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// UnmarshalText reads a kind's name.
func (k *Kind) UnmarshalText(b []byte) error {
	at := slices.Index(kinds[:], string(b))
	if at < 0 {
		return fmt.Errorf("topology: unknown kind %q (%s)", b, strings.Join(kinds[:], ", "))
	}
	*k = Kind(at)
	return nil
}

// Daemon tells whether a careof daemon runs on nodes of this kind.
func (k Kind) Daemon() bool {
	return k == HomeAgent || k == MobileNode || k == ForeignAgent || k == AAAServer
}

// A Node is a host or a router.
type Node struct {
	Name       string
	Kind       Kind
	Interfaces []Interface `toml:"interface"`
	Routes     []Route     `toml:"route"`
	NAT        *NAT

	// Config is the daemon's configuration as TOML text; ConfigFile names a
	// file with it, relative to the topology's folder. Key files that are not
	// there are made up by the laboratory, from their names: where both ends
	// name the same file, they have the same key. Config of a RADIUS server is
	// FreeRADIUS's file of users; the rest of its configuration is that of
	// packaging/examples/freeradius. Config of a Diameter relay is freeDiameter's
	// own. Certificates are made up as keys are: NAME.pem and NAME.key for a
	// Diameter identity NAME, and ca.pem for who has signed them.
	Config     string
	ConfigFile string `toml:"config-file"`

	// Parsed is the daemon's configuration, nil on nodes without one.
	Parsed *config.Config `toml:"-"`
}

// An Interface connects a node to a segment.
type Interface struct {
	Name    string
	Segment string       // where it is plugged in at the start; empty for an uplink that waits
	Address netip.Prefix // unset on a mobile node's uplink: the segment leases one
	Gateway netip.Addr   // default route

	// Hardware is a router's link-layer address, for scenes that want two alike;
	// zero: the laboratory chooses.
	Hardware forward.HardwareAddr `toml:"-"`
}

// A Route is a static route.
type Route struct {
	Prefix netip.Prefix
	Via    netip.Addr
}

// NAT makes a router a translator. Its external address is the one of the
// interface Outside.
type NAT struct {
	Outside string
	Inside  netip.Prefix
	Timeout Duration // of UDP mappings, 0 means 2 minutes
	Kind    string   // port-restricted (default), full-cone, symmetric, one-to-one
}

// Behaviour reads the translator's kind.
func (n *NAT) Behaviour() (nat.Kind, bool) {
	if n.Kind == "" {
		return nat.PortRestricted, true
	}
	for k := nat.PortRestricted; k <= nat.OneToOne; k++ {
		if k.String() == n.Kind {
			return k, true
		}
	}
	return 0, false
}

// A Duration is written as Go does: "25ms".
type Duration struct{ time.Duration }

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("topology: %q is no duration such as \"25ms\"", b)
	}
	d.Duration = v
	return nil
}

//go:embed *.toml
var builtin embed.FS

// Builtin lists the names of the topologies that are built in.
func Builtin() []string {
	return []string{"default", "home-link", "foreign-agents", "overlapping", "one-box", "bogus-agent", "ha-pool", "diameter-two-realms", "van", "radius"}
}

// Default is the built-in topology of the laboratory: a correspondent node, a
// home agent with a virtual home network, a core, two access networks of 25 ms
// each way of which one lies behind a translator, and a mobile node.
func Default() *Topology { return mustBuiltin("default") }

// HomeLink is the built-in topology with a home link: a home agent and a
// neighbour share it, and the mobile node may come home.
func HomeLink() *Topology { return mustBuiltin("home-link") }

func mustBuiltin(name string) *Topology {
	t, err := Load(name)
	if err != nil {
		panic(err) // a test reads each of them
	}
	return t
}

// Load reads a topology: a built-in one by its name, or a file. The error is
// of type config.Problems and names every mistake.
func Load(path string) (*Topology, error) {
	if slices.Contains(Builtin(), path) {
		text, err := builtin.ReadFile(path + ".toml")
		if err != nil {
			return nil, fmt.Errorf("topology: %w", err)
		}
		return Parse(path+".toml", string(text))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, config.Problems{{File: path, Text: "cannot be read: " + errors.Unwrap(err).Error(), Hint: "built in are: " + strings.Join(Builtin(), ", ")}}
	}
	return Parse(path, string(text))
}

// Parse reads a topology from a text. Names of files in it are relative to the
// folder of path.
func Parse(path, text string) (*Topology, error) {
	t := &Topology{File: path}
	meta, err := toml.Decode(text, t)
	if err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return nil, config.Problems{{File: path, Line: syntax.Position.Line, Key: syntax.LastKey, Text: syntax.Message}}
		}
		return nil, config.Problems{{File: path, Text: err.Error()}}
	}
	c := &checker{topology: t, lines: headings(text)}
	if t.Extends != "" {
		if err := c.extend(); err != nil {
			return nil, err
		}
	}
	for _, key := range meta.Undecoded() {
		c.problems = append(c.problems, config.Problem{File: path, Line: lineOf(text, key[len(key)-1]), Key: key.String(), Text: "unknown key"})
	}
	c.check()
	if len(c.problems) > 0 {
		slices.SortStableFunc(c.problems, func(a, b config.Problem) int { return a.Line - b.Line })
		return nil, c.problems
	}
	return t, nil
}

// extend puts the topology onto the one that it extends.
func (c *checker) extend() error {
	t := c.topology
	if !slices.Contains(Builtin(), t.Extends) || t.Extends == t.Name {
		return config.Problems{{File: t.File, Key: "extends", Text: fmt.Sprintf("%q is no built-in topology", t.Extends), Hint: "built in are: " + strings.Join(Builtin(), ", ")}}
	}
	base, err := Load(t.Extends)
	if err != nil {
		return err
	}
	t.Segments, c.lines["segment"] = over(base.Segments, t.Segments, c.lines["segment"], func(s *Segment) string { return s.Name })
	t.Nodes, c.lines["node"] = over(base.Nodes, t.Nodes, c.lines["node"], func(n *Node) string { return n.Name })
	return nil
}

// over puts the elements of a list into the places of those of the same name in
// base, or after them. Their lines go with them; the base's have none.
func over[T any](base, list []T, lines []int, name func(*T) string) ([]T, []int) {
	at := make([]int, len(base))
	replaced := len(base)
	for i := range list {
		line := 0
		if i < len(lines) {
			line = lines[i]
		}
		to := slices.IndexFunc(base[:replaced], func(b T) bool { return name(&b) == name(&list[i]) })
		if to < 0 {
			base, at = append(base, list[i]), append(at, line)
		} else {
			base[to], at[to] = list[i], line
		}
	}
	return base, at
}

// Check reads the daemons' configurations again and checks everything, after
// the topology was changed in memory. The error is of type config.Problems.
func (t *Topology) Check() error {
	c := &checker{topology: t}
	c.check()
	if len(c.problems) > 0 {
		return c.problems
	}
	return nil
}

var (
	heading = regexp.MustCompile(`^\s*\[\[\s*(segment|node)\s*\]\]`)
	keyLine = regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*=`)
)

// headings finds the lines of the [[segment]] and [[node]] headings.
func headings(text string) map[string][]int {
	found := make(map[string][]int)
	for i, line := range strings.Split(text, "\n") {
		if m := heading.FindStringSubmatch(line); m != nil {
			found[m[1]] = append(found[m[1]], i+1)
		}
	}
	return found
}

// lineOf finds the first line that sets a key.
func lineOf(text, key string) int {
	for i, line := range strings.Split(text, "\n") {
		if m := keyLine.FindStringSubmatch(line); m != nil && m[1] == key {
			return i + 1
		}
	}
	return 0
}

// Segment finds a segment by name; nil when there is none.
func (t *Topology) Segment(name string) *Segment {
	for i := range t.Segments {
		if t.Segments[i].Name == name {
			return &t.Segments[i]
		}
	}
	return nil
}

// Node finds a node by name; nil when there is none.
func (t *Topology) Node(name string) *Node {
	for i := range t.Nodes {
		if t.Nodes[i].Name == name {
			return &t.Nodes[i]
		}
	}
	return nil
}

// Interface finds an interface by name; nil when there is none.
func (n *Node) Interface(name string) *Interface {
	for i := range n.Interfaces {
		if n.Interfaces[i].Name == name {
			return &n.Interfaces[i]
		}
	}
	return nil
}

// Lease is the address and gateway that an interface of a mobile node gets on
// a segment: every such interface has one of its own there. It is false when
// the segment gives none.
func (t *Topology) Lease(s *Segment, node, iface string) (netip.Prefix, netip.Addr, bool) {
	if !s.FirstLease.IsValid() {
		return netip.Prefix{}, netip.Addr{}, false
	}
	a := s.FirstLease
	for _, n := range t.Nodes {
		if n.Kind != MobileNode {
			continue
		}
		for _, i := range n.Interfaces {
			if n.Name == node && i.Name == iface {
				return netip.PrefixFrom(a, s.Network.Bits()), s.Gateway, true
			}
			a = a.Next()
		}
	}
	return netip.Prefix{}, netip.Addr{}, false
}

// Configuration is a node's configuration, and the path that it has or would
// have: names of files in it are relative to the path's folder.
func (t *Topology) Configuration(n *Node) (path, text string, err error) {
	folder := filepath.Dir(t.File)
	path, text = filepath.Join(folder, n.Name+".toml"), n.Config
	if n.ConfigFile != "" {
		path = n.ConfigFile
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return path, "", err
		}
		text = string(b)
	}
	return path, madeUpKeys(filepath.Dir(path), text), nil
}
