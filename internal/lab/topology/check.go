package topology

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"careof/internal/config"
)

// A checker collects the mistakes of a topology.
type checker struct {
	topology *Topology
	lines    map[string][]int
	problems config.Problems
}

func (c *checker) report(what string, at int, key, hint, format string, args ...any) {
	p := config.Problem{File: c.topology.File, Key: key, Hint: hint, Text: fmt.Sprintf(format, args...)}
	if lines := c.lines[what]; at >= 0 && at < len(lines) {
		p.Line = lines[at]
	}
	c.problems = append(c.problems, p)
}

func (c *checker) check() {
	t := c.topology
	if t.Version != 1 {
		c.report("", -1, "version", "write version = 1", "this careof reads version 1, not %d", t.Version)
	}
	for name, a := range t.Names {
		if name == "" || strings.ContainsAny(name, " \t\n#") || !a.IsValid() {
			c.report("", -1, "names", `names = { "home.example" = "198.51.100.1" }`, "%q is no host name, or has no address", name)
		}
	}
	if len(t.Nodes) == 0 {
		c.report("", -1, "node", "", "there is no node")
	}
	seen := make(map[string]bool)
	for i := range t.Segments {
		s := &t.Segments[i]
		c.checkSegment(i, s)
		if seen[s.Name] {
			c.report("segment", i, "name", "", "segment %q is there twice", s.Name)
		}
		seen[s.Name] = true
	}
	clear(seen)
	addresses := make(map[placed]string)
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if seen[n.Name] {
			c.report("node", i, "name", "", "node %q is there twice", n.Name)
		}
		seen[n.Name] = true
		c.checkNode(i, n, addresses)
	}
}

func (c *checker) checkSegment(at int, s *Segment) {
	bad := func(key, hint, format string, args ...any) {
		c.report("segment", at, "segment."+key, hint, "segment %q: "+format, append([]any{s.Name}, args...)...)
	}
	if s.Name == "" {
		bad("name", "", "has no name")
	}
	if s.Delay.Duration < 0 || s.Jitter.Duration < 0 {
		bad("delay", "", "delay and jitter must not be negative")
	}
	for _, p := range []struct {
		key string
		v   float64
	}{{"loss", s.Loss}, {"duplicate", s.Duplicate}, {"corrupt", s.Corrupt}} {
		if p.v < 0 || p.v > 1 {
			bad(p.key, "0.01 is one in a hundred", "%v is no probability", p.v)
		}
	}
	if s.MTU != 0 && (s.MTU < 576 || s.MTU > 65535) {
		bad("mtu", "", "%d is not between 576 and 65535", s.MTU)
	}
	if s.Network.IsValid() && !s.Network.Addr().Is4() {
		bad("network", "", "%v is no IPv4 prefix", s.Network)
		return
	}
	for _, a := range []struct {
		key string
		v   netip.Addr
	}{{"gateway", s.Gateway}, {"first-lease", s.FirstLease}} {
		if a.v.IsValid() && !s.Network.Contains(a.v) {
			bad(a.key, "", "%v is not in network %v", a.v, s.Network)
		}
	}
}

// placed is an address where it must be alone: a private one on its segment,
// since behind another translator it may be somebody else's.
type placed struct {
	address netip.Addr
	segment string
}

func (c *checker) checkNode(at int, n *Node, addresses map[placed]string) {
	bad := func(key, hint, format string, args ...any) {
		c.report("node", at, "node."+key, hint, "node %q: "+format, append([]any{n.Name}, args...)...)
	}
	if n.Name == "" {
		bad("name", "", "has no name")
	}
	if len(n.Interfaces) == 0 {
		bad("interface", "", "has no interface")
	}
	seen := make(map[string]bool)
	for _, i := range n.Interfaces {
		if i.Name == "" || len(i.Name) > 15 || seen[i.Name] {
			bad("interface.name", "1 to 15 characters, each name once", "interface %q", i.Name)
		}
		seen[i.Name] = true
		s := c.topology.Segment(i.Segment)
		switch {
		case i.Segment == "" && n.Kind != MobileNode:
			bad("interface.segment", "", "interface %q is on no segment", i.Name)
		case i.Segment != "" && s == nil:
			bad("interface.segment", "", "interface %q is on %q, which is no segment", i.Name, i.Segment)
		case i.Address.IsValid() && i.Segment == "":
			bad("interface.address", "a segment leases an address to a mobile node", "interface %q has an address but no segment", i.Name)
		case !i.Address.IsValid() && n.Kind != MobileNode:
			bad("interface.address", "", "interface %q has no address", i.Name)
		case s != nil && !i.Address.IsValid() && !s.FirstLease.IsValid():
			bad("interface.address", "give the segment first-lease", "interface %q has no address, and segment %q leases none", i.Name, s.Name)
		}
		if !i.Address.IsValid() {
			continue
		}
		a := i.Address.Addr()
		if !a.Is4() {
			bad("interface.address", "", "%v is no IPv4 address", a)
			continue
		}
		at := placed{address: a}
		if s != nil && a.IsPrivate() {
			at.segment = s.Name
		}
		if other := addresses[at]; other != "" && s != nil && s.Network.IsValid() {
			bad("interface.address", "", "%v is %s's already", a, other)
		}
		addresses[at] = n.Name
		if s != nil && s.Network.IsValid() && !s.Network.Contains(a) {
			bad("interface.address", "", "%v is not in network %v of segment %q", a, s.Network, s.Name)
		}
		if i.Gateway.IsValid() && !i.Address.Contains(i.Gateway) {
			bad("interface.gateway", "", "%v is not reached by %v", i.Gateway, i.Address)
		}
	}
	for _, r := range n.Routes {
		if !r.Prefix.IsValid() || !r.Via.IsValid() || !reached(n, r.Via) {
			bad("route", "", "route for %v via %v: the router is on none of the node's segments", r.Prefix, r.Via)
		}
	}
	if n.NAT != nil {
		c.checkNAT(n, bad)
	}
	c.checkConfig(n, bad)
}

func reached(n *Node, a netip.Addr) bool {
	for _, i := range n.Interfaces {
		if i.Address.IsValid() && i.Address.Contains(a) {
			return true
		}
	}
	return false
}

func (c *checker) checkNAT(n *Node, bad func(key, hint, format string, args ...any)) {
	if n.Kind != Router {
		bad("nat", "", "only a router translates")
	}
	if i := n.Interface(n.NAT.Outside); i == nil {
		bad("nat.outside", "", "there is no interface %q", n.NAT.Outside)
	}
	if !n.NAT.Inside.IsValid() || !n.NAT.Inside.Addr().Is4() {
		bad("nat.inside", `for example "192.168.8.0/24"`, "the prefix that is translated is missing")
	}
	if _, ok := n.NAT.Behaviour(); !ok {
		bad("nat.kind", "port-restricted, full-cone, symmetric or one-to-one", "unknown kind %q", n.NAT.Kind)
	}
	if n.NAT.Timeout.Duration < 0 {
		bad("nat.timeout", "", "must not be negative")
	}
}

// checkConfig reads the daemon's configuration.
func (c *checker) checkConfig(n *Node, bad func(key, hint, format string, args ...any)) {
	switch {
	case n.Kind == RADIUSServer:
		if n.Config == "" || n.ConfigFile != "" {
			bad("config", "", "needs config: the users, as FreeRADIUS's module files reads them")
		}
		return
	case n.Kind == DiameterRelay:
		if n.Config == "" || n.ConfigFile != "" {
			bad("config", "", "needs config: what freeDiameter reads")
		}
		return
	case !n.Kind.Daemon():
		if n.Config != "" || n.ConfigFile != "" {
			bad("config", "", "a %v runs no daemon", n.Kind)
		}
		return
	case (n.Config == "") == (n.ConfigFile == ""):
		bad("config", "", "needs either config or config-file")
		return
	}
	path, text, err := c.topology.Configuration(n)
	if err != nil {
		bad("config-file", "", "%v", err)
		return
	}
	parsed, err := config.Parse(path, text)
	if err != nil {
		bad("config", "", "%v", err)
		return
	}
	section := n.Kind.String()
	if n.Kind == AAAServer {
		section = "aaa.serve"
	}
	missing := n.Kind == AAAServer && (parsed.AAA == nil || parsed.AAA.Serve == nil) || n.Kind == HomeAgent && parsed.HomeAgent == nil || n.Kind == MobileNode && parsed.MobileNode == nil || n.Kind == ForeignAgent && parsed.ForeignAgent == nil
	if missing {
		bad("config", "", "has no section [%s]", section)
		return
	}
	n.Parsed = parsed
}

var (
	keyFile = regexp.MustCompile(`(?m)^(\s*)(key|secret)-file(\s*=\s*)"([^"]+)"`)
	pemFile = regexp.MustCompile(`(?m)^(\s*)(tls-cert|tls-key|tls-ca)(\s*=\s*)"([^"]+)"`)
	// diameterSection is the part of a configuration that has them; control's are
	// another matter.
	diameterSection = regexp.MustCompile(`(?m)^\[aaa\.diameter\]\n([^\[\n].*\n|\n)*`)
)

// madeUpKeys puts keys and certificates into a configuration in place of files
// that are not in the folder. An example's keys are nowhere, and must be nowhere.
func madeUpKeys(folder, text string) string {
	missing := func(path string) bool {
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		_, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	}
	text = diameterSection.ReplaceAllStringFunc(text, func(part string) string {
		return pemFile.ReplaceAllStringFunc(part, func(line string) string {
			m := pemFile.FindStringSubmatch(line)
			made := MadeUpPEM(filepath.Base(m[4]))
			if made == "" || !missing(m[4]) {
				return line
			}
			return fmt.Sprintf("%s%s%s%q", m[1], m[2], m[3], made)
		})
	})
	return keyFile.ReplaceAllStringFunc(text, func(line string) string {
		m := keyFile.FindStringSubmatch(line)
		if !missing(m[4]) {
			return line
		}
		return fmt.Sprintf(`%s%s%s"hex:%x"`, m[1], m[2], m[3], sha256.Sum256([]byte(m[4])))
	})
}
