// Package doctor examines a host for what a daemon with a given configuration
// needs, and says of each finding what to do. It changes nothing.
//
// The checks are pure: what they know of the host comes through [Probes], so
// that every finding can be had in a test.
package doctor

import (
	"context"
	"net/netip"
	"time"

	"careof/internal/config"
	"careof/internal/control"
)

// Results of a finding.
const (
	OK   = "ok"
	Warn = "warn" // it works, but not well, or not for long
	Fail = "fail" // it does not work
	Skip = "skip" // it could not be looked at
)

// Probes are what checks ask a host.
type Probes interface {
	Sysctl(name string) (string, error) // name as below /proc/sys
	Exists(path string) bool
	Link(name string) (Link, bool)
	// Addresses are all that the host has.
	Addresses() []netip.Addr
	OpenTUN() error
	EBPF() error
	BPFFS(dir string) error
	// AgentX tries to reach an SNMP master agent, at unix:PATH or tcp:HOST:PORT.
	AgentX(ctx context.Context, master string) error
	// Capabilities are the effective ones, by number.
	Capabilities() (uint64, error)
	// Clock tells whether something keeps the clock right.
	Clock() (synchronised bool, now time.Time, err error)
	// Disk tells what is free and what there is, in octets, where dir is or
	// would be, and whether this process may write there.
	Disk(dir string) (free, total uint64, writable bool, err error)
	// Input are the base chains of other programs that see incoming packets.
	Input() ([]Chain, error)
	// Bind tries whether a UDP port is free.
	Bind(at netip.AddrPort) error
	Resolve(ctx context.Context, name string) ([]netip.Addr, error)
	// Mentions tells whether a file below the directories names the word.
	Mentions(word string, globs ...string) bool
	// Configures tells who configures a link: a network manager that says so, a
	// DHCP client that was started for it.
	Configures(link string) []string
	// Gateways names the links that lead to everything by a default route, but for
	// point-to-point ones, which may be somebody's tunnels.
	Gateways() []string
}

// Link is an interface.
type Link struct {
	Up        bool
	MTU       int
	Addresses []netip.Addr
}

// Chain is a firewall's chain at the input hook.
type Chain struct {
	Table, Name string
	Drops       bool // what no rule accepts
	// Accepted and Dropped are what its rules name, as far as they can be
	// read: "udp 434", "protocol 4".
	Accepted, Dropped map[string]bool
}

// Daemon is what a running daemon says of itself; nil when none answers.
type Daemon struct {
	Status        control.Status
	Registrations []control.Registration
}

// A patient is what a check looks at.
type patient struct {
	Probes
	ctx     context.Context
	file    string
	c       *config.Config // nil: it has mistakes
	err     error          // of the configuration
	daemon  *Daemon
	inside  bool // the daemon itself asks
	version string
}

// A check looks at one thing.
type check struct {
	name string
	run  func(*patient) []control.Finding
}

// checks is the table of them, in the order of what hurts most.
var checks = []check{
	{"config", checkConfig},
	{"daemon", checkDaemon},
	{"privileges", checkPrivileges},
	{"tun", checkTUN},
	{"ebpf", checkEBPF},
	{"addresses", checkAddresses},
	{"interfaces", checkInterfaces},
	{"port", checkPort},
	{"forwarding", checkForwarding},
	{"rp-filter", checkFilter},
	{"promote-secondaries", checkPromote},
	{"firewall", checkFirewall},
	{"clock", checkClock},
	{"mtu", checkMTU},
	{"encryption", checkEncryption},
	{"managers", checkManagers},
	{"stale-state", checkStale},
	{"disk", checkDisk},
	{"snmp", checkSNMP},
	{"home-agent", checkHomeAgent},
}

// packets are the checks of what moves packets.
var packets = map[string]bool{
	"privileges": true, "tun": true, "ebpf": true, "addresses": true, "interfaces": true, "port": true, "rp-filter": true, "firewall": true,
	"mtu": true, "encryption": true, "managers": true, "stale-state": true,
}

// movesNothing says whether the configuration is an AAA server's and nothing else's.
func (p *patient) movesNothing() bool {
	return p.c != nil && p.c.HomeAgent == nil && p.c.ForeignAgent == nil && p.c.MobileNode == nil
}

// A Question is whom to examine.
type Question struct {
	File    string         // of the configuration
	Config  *config.Config // nil when it has mistakes
	Err     error          // those
	Daemon  *Daemon        // nil when none answers
	Inside  bool           // the daemon itself asks: its privileges are those that count
	Version string         // of this program
}

// Examine runs all checks. Each gives at least one finding.
func Examine(ctx context.Context, q Question, p Probes) []control.Finding {
	sick := &patient{Probes: p, ctx: ctx, file: q.File, c: q.Config, err: q.Err, daemon: q.Daemon, inside: q.Inside, version: q.Version}
	var out []control.Finding
	for _, c := range checks {
		var found []control.Finding
		if packets[c.name] && sick.movesNothing() {
			found = one(OK, "not needed: an AAA server alone moves no packets", "")
		} else {
			found = c.run(sick)
		}
		for i := range found {
			found[i].Check = c.name
		}
		out = append(out, found...)
	}
	return out
}

// Worst is the worst result of a list.
func Worst(list []control.Finding) string {
	worst := OK
	for _, f := range list {
		if f.Result == Fail || f.Result == Warn && worst == OK {
			worst = f.Result
		}
	}
	return worst
}

func one(result, text, fix string) []control.Finding {
	return []control.Finding{{Result: result, Text: text, Fix: fix}}
}

// all joins findings; none becomes one that says all is well.
func all(list []control.Finding, well string) []control.Finding {
	if len(list) == 0 {
		return one(OK, well, "")
	}
	return list
}
