package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/host/plane/nstest"
)

// host is a host on which all is well, but for what a test changes.
type host struct {
	sysctls    map[string]string
	files      map[string]bool
	links      map[string]Link
	addresses  []netip.Addr
	tun, ebpf  error
	agentx     error
	bpffs      error
	caps       uint64
	wrongClock bool
	now        time.Time
	free       uint64
	chains     []Chain
	bind       error
	resolve    error
	mentions   bool
	configures []string
	gateways   []string
}

func healthy() *host {
	return &host{
		sysctls: map[string]string{"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/all/promote_secondaries": "1"},
		files:   map[string]bool{"/dev/net/tun": true, "/run/NetworkManager": true, "/run/systemd/netif": true},
		links: map[string]Link{
			"eth0": {Up: true, MTU: 1500, Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1")}},
			"eth1": {Up: true, MTU: 1500, Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.1")}},
		},
		addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1")},
		caps:      1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_BIND_SERVICE,
		now:       time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		free:      10 << 30, mentions: true, gateways: []string{"eth0"},
	}
}

func (h *host) Sysctl(name string) (string, error)   { return h.sysctls[name], nil }
func (h *host) Exists(path string) bool              { return h.files[path] }
func (h *host) Link(name string) (Link, bool)        { l, ok := h.links[name]; return l, ok }
func (h *host) Addresses() []netip.Addr              { return h.addresses }
func (h *host) OpenTUN() error                       { return h.tun }
func (h *host) EBPF() error                          { return h.ebpf }
func (h *host) BPFFS(string) error                   { return h.bpffs }
func (h *host) AgentX(context.Context, string) error { return h.agentx }
func (h *host) Capabilities() (uint64, error)        { return h.caps, nil }
func (h *host) Clock() (bool, time.Time, error)      { return !h.wrongClock, h.now, nil }
func (h *host) Input() ([]Chain, error)              { return h.chains, nil }
func (h *host) Bind(netip.AddrPort) error            { return h.bind }
func (h *host) Mentions(string, ...string) bool      { return h.mentions }
func (h *host) Configures(string) []string           { return h.configures }
func (h *host) Gateways() []string                   { return h.gateways }
func (h *host) Disk(string) (uint64, uint64, bool, error) {
	return h.free, 100 << 30, true, nil
}
func (h *host) Resolve(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("198.51.100.1")}, h.resolve
}

const key = "spi = 256\nkey = \"hex:00112233445566778899aabbccddeeff\"\nalgorithm = \"hmac-sha256\"\n"

const agents = `version = 1
[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
[[home-agent.mobile-node]]
home-address = "10.10.0.5"
` + key + `[foreign-agent]
interfaces = ["eth1"]
care-of-address = "203.0.113.1"
`

const node = `version = 1
[mobile-node]
home-address = "10.10.0.5"
home-agent = "ha.example.net"
` + key + `[[mobile-node.uplink]]
interface = "eth0"
`

func question(t *testing.T, text string) Question {
	t.Helper()
	c, err := config.Parse("careof.toml", text)
	return Question{File: "careof.toml", Config: c, Err: err, Version: "1"}
}

func running(q Question) Question {
	q.Daemon = &Daemon{Status: control.Status{Version: "1", Device: "careof0", Roles: []control.RoleStatus{{Role: "mobile-node", State: "requesting"}}}}
	return q
}

func TestAHealthyHostHasNothingWrong(t *testing.T) {
	for name, text := range map[string]string{"agents": agents, "node": node} {
		for _, f := range Examine(t.Context(), question(t, text), healthy()) {
			if f.Result != OK && f.Check != "daemon" && f.Check != "home-agent" {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

// Only a tunnel for everything lets nothing leave beside it.
func TestWhatLeavesBesideAnEncryptedTunnelIsSaid(t *testing.T) {
	for routes, want := range map[string]string{
		``:                           "nothing leaves beside it",
		"routes = \"full\"\n":        "nothing leaves beside it",
		"routes = [\"0.0.0.0/0\"]\n": "nothing leaves beside it",
		"routes = [\"0.0.0.0/1\", \"128.0.0.0/1\"]\n": "nothing leaves beside it",
		"routes = [\"10.0.0.0/8\"]\n":                 "leave beside it, as they are",
		"routes = [\"10.0.0.0/8\", \"::\"]\n":         "the configuration has mistakes",
	} {
		text := strings.Replace(node, "home-agent =", routes+"encapsulation = \"wireguard\"\nhome-agent =", 1)
		for _, f := range Examine(t.Context(), question(t, text), healthy()) {
			if f.Check == "encryption" && !strings.Contains(f.Text, want) {
				t.Errorf("%s is told %q, which does not say %q", routes, f.Text, want)
			}
		}
	}
}

// Every check finds what it is for, and says what to do.
func TestEveryCheckFindsWhatIsWrong(t *testing.T) {
	bad := func(text string) func(*testing.T) Question {
		return func(t *testing.T) Question { return question(t, text) }
	}
	seen := make(map[string]bool)
	for _, c := range []struct {
		check, result string
		question      func(*testing.T) Question
		change        func(*host)
	}{
		{"config", Fail, bad("version = 1\n[controll]\n"), nil},
		{"daemon", Fail, bad(agents), nil},
		{"daemon", Warn, func(t *testing.T) Question {
			q := running(question(t, agents))
			q.Version = "2"
			return q
		}, nil},
		{"privileges", Fail, bad(agents), func(h *host) { h.caps = 1 << unix.CAP_NET_ADMIN }},
		{"tun", Fail, bad(agents), func(h *host) { h.files = nil }},
		{"tun", Fail, bad(agents), func(h *host) { h.tun = unix.EPERM }},
		{"ebpf", Warn, bad(agents), func(h *host) { h.ebpf = errors.New("no programs") }},
		{"ebpf", Fail, bad(agents + "[plane]\nkind = \"bpf\"\n"), func(h *host) { h.ebpf = errors.New("no programs") }},
		{"ebpf", Warn, bad(agents), func(h *host) { h.bpffs = errors.New("not mounted") }},
		{"snmp", Warn, bad(agents + "[snmp]\nmaster = \"unix:/run/careof/agentx\"\n"), func(h *host) { h.agentx = unix.ECONNREFUSED }},
		{"addresses", Fail, bad(agents), func(h *host) { h.addresses = h.addresses[1:] }},
		{"interfaces", Fail, bad(agents), func(h *host) { delete(h.links, "eth1") }},
		{"interfaces", Fail, bad(node), func(h *host) { h.links["eth0"] = Link{MTU: 1500} }},
		{"interfaces", Warn, bad(node + "[[mobile-node.mobile-network]]\ninterface = \"lan0\"\n"), func(*host) {}},
		{"port", Fail, bad(agents), func(h *host) { h.bind = unix.EADDRINUSE }},
		{"forwarding", Warn, bad(agents), func(h *host) { h.sysctls["net/ipv4/ip_forward"] = "0" }},
		{"forwarding", Fail, func(t *testing.T) Question { return running(question(t, agents)) }, func(h *host) { h.sysctls["net/ipv4/ip_forward"] = "0" }},
		{"rp-filter", Warn, bad(node), func(h *host) { h.sysctls["net/ipv4/conf/all/rp_filter"] = "1" }},
		{"rp-filter", Warn, bad(agents + "[[home-agent.prefix-pool]]\nprefix = \"10.20.0.0/16\"\nlength = 24\n"), func(h *host) { h.sysctls["net/ipv4/conf/eth0/rp_filter"] = "1" }},
		{"rp-filter", Fail, func(t *testing.T) Question { return running(question(t, agents)) }, func(h *host) { h.sysctls["net/ipv4/conf/careof0/rp_filter"] = "1" }},
		{"promote-secondaries", Warn, bad(node), func(h *host) {
			h.sysctls["net/ipv4/conf/all/promote_secondaries"], h.sysctls["net/ipv4/conf/eth0/promote_secondaries"] = "0", "0"
		}},
		{"firewall", Warn, bad(agents), func(h *host) { h.chains = []Chain{{Table: "inet filter", Name: "input", Drops: true}} }},
		{"firewall", Fail, bad(agents), func(h *host) {
			h.chains = []Chain{{Table: "inet filter", Name: "input", Dropped: map[string]bool{"protocol 4": true}}}
		}},
		{"clock", Warn, bad(agents), func(h *host) { h.wrongClock = true }},
		{"clock", Fail, bad(agents), func(h *host) { h.now = time.Unix(0, 0) }},
		{"mtu", Warn, bad(node), func(h *host) { h.links["eth0"] = Link{Up: true, MTU: 1280, Addresses: h.addresses} }},
		{"mtu", Fail, bad(node), func(h *host) { h.links["careof0"] = Link{Up: true, MTU: 9000} }},
		{"encryption", Warn, bad(strings.Replace(agents, "[[home-agent.network]]", "forced-udp = \"off\"\n[[home-agent.network]]", 1)), nil},
		{"managers", Warn, bad(agents), func(h *host) { h.mentions = false }},
		{"interfaces", Warn, bad(node), func(h *host) { h.gateways = []string{"eth0", "lan0"} }},
		{"managers", Warn, bad(node + "address = \"dhcp\"\n"), func(h *host) { h.configures = []string{"dhclient (process 7)"} }},
		{"stale-state", Warn, bad(agents), func(h *host) { h.links["careof0"] = Link{Up: true, MTU: 1420} }},
		{"disk", Fail, bad(agents), func(h *host) { h.free = 1 << 20 }},
		{"disk", Warn, bad(agents), func(h *host) { h.free = 100 << 20 }},
		{"home-agent", Fail, bad(node), func(h *host) { h.resolve = errors.New("no such host") }},
		{"home-agent", Fail, func(t *testing.T) Question { return running(question(t, node)) }, nil},
	} {
		seen[c.check] = true
		h := healthy()
		if c.change != nil {
			c.change(h)
		}
		found := false
		for _, f := range Examine(t.Context(), c.question(t), h) {
			if f.Check == c.check && f.Result == c.result {
				found = true
				if f.Text == "" || f.Fix == "" {
					t.Errorf("%s: %+v does not say what to do", c.check, f)
				}
			}
		}
		if !found {
			t.Errorf("%s: no finding says %s", c.check, c.result)
		}
	}
	for _, c := range checks {
		if !seen[c.name] {
			t.Errorf("nothing here is wrong for %s", c.name)
		}
	}
}

// Why a home agent is not asked is another thing than that it does not answer, and
// at home it is not asked at all.
func TestOfTheHomeAgentIsSaidWhatIsTrue(t *testing.T) {
	for state, c := range map[string]struct{ result, words string }{
		"idle":        {Fail, "it cannot be asked: wlan0: link is down"},
		"registering": {Fail, "it does not answer: wlan0: link is down"},
		"home":        {OK, "the node is at home"},
	} {
		q := running(question(t, node))
		q.Daemon.Status.Roles[0].State, q.Daemon.Status.Roles[0].Summary = state, "wlan0: link is down"
		for _, f := range Examine(t.Context(), q, healthy()) {
			if f.Check == "home-agent" && (f.Result != c.result || f.Text != c.words) {
				t.Errorf("%s: %+v", state, f)
			}
		}
	}
}

// Who else configures a link concerns nobody where careof does not.
func TestOthersMayConfigureTheirOwnLinks(t *testing.T) {
	for _, address := range []string{"host", "auto"} {
		h := healthy()
		h.configures = []string{"NetworkManager"}
		for _, f := range Examine(t.Context(), question(t, node+"address = \""+address+"\"\n"), h) {
			if f.Check == "managers" && f.Result != OK {
				t.Errorf("address = %q: %+v", address, f)
			}
		}
	}
}

// A DHCP client is found by the link that it was started for, and in another
// network namespace than the process began in.
func TestADHCPClientIsFound(t *testing.T) {
	findsADHCPClient(t)
	nstest.New(t, "elsewhere").Do(func() { findsADHCPClient(t) })
}

func findsADHCPClient(t *testing.T) {
	t.Helper()
	cmd := &exec.Cmd{Path: "/bin/sh", Args: []string{"/sbin/dhclient", "-c", "read line", "-d", "careoftest7"}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		t.Error("there is no shell: ", err)
		return
	}
	defer cmd.Wait()
	defer in.Close()
	want := fmt.Sprintf("dhclient (process %d)", cmd.Process.Pid)
	if got := (Linux{}).Configures("careoftest7"); len(got) != 1 || got[0] != want {
		t.Errorf("%q configure the link, want %q", got, want)
	}
	if got := (Linux{}).Configures("careoftest8"); len(got) != 0 {
		t.Errorf("%q configure another link", got)
	}
}

func TestAFirewallThatLetsUsThroughIsFine(t *testing.T) {
	h := healthy()
	h.chains = []Chain{{Table: "inet filter", Name: "input", Drops: true,
		Accepted: map[string]bool{"udp 434": true, "protocol 4": true, "protocol 47": true, "protocol 55": true}}}
	for _, f := range Examine(t.Context(), question(t, agents), h) {
		if f.Check == "firewall" && f.Result != OK {
			t.Errorf("%+v", f)
		}
	}
}

// A real host, in a namespace, with settings that are really wrong.
func TestWrongSettingsOfARealHostAreFound(t *testing.T) {
	n, far := nstest.New(t, "sick"), nstest.New(t, "far")
	nstest.Join(t, n, "eth0", far, "eth0", 1280)
	nstest.Join(t, n, "eth1", far, "eth1", 1500)
	n.Address("eth0", "198.51.100.7/24")
	n.Address("eth1", "203.0.113.1/24")
	n.Sysctl("net/ipv4/ip_forward", 0)
	n.Sysctl("net/ipv4/conf/eth0/rp_filter", 1)
	n.Sysctl("net/ipv4/conf/eth0/promote_secondaries", 0)
	n.Sysctl("net/ipv4/conf/all/promote_secondaries", 0)
	file := filepath.Join(t.TempDir(), "careof.toml")
	text := agents + strings.TrimPrefix(node, "version = 1\n")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var list []control.Finding
	n.Do(func() {
		dropAll(t)
		c, err := config.Load(file)
		list = Examine(t.Context(), Question{File: file, Config: c, Err: err, Version: "1"}, Linux{})
	})
	results := make(map[string]string)
	for _, f := range list {
		if r := results[f.Check]; r != Fail {
			results[f.Check] = f.Result
		}
		if f.Result != OK {
			t.Logf("%s %s: %s (%s)", f.Result, f.Check, f.Text, f.Fix)
		}
	}
	for check, want := range map[string]string{
		"config": OK, "daemon": Fail, "privileges": OK, "tun": OK, "addresses": Fail, "interfaces": OK, "port": OK,
		"forwarding": Warn, "rp-filter": Warn, "promote-secondaries": Warn, "firewall": Fail, "mtu": Warn, "home-agent": Fail,
	} {
		if results[check] != want {
			t.Errorf("%s: %s, want %s", check, results[check], want)
		}
	}
}

// dropAll makes a firewall that drops GRE by name and everything else by
// default, but for port 434.
func dropAll(t *testing.T) {
	c, err := nftables.New()
	if err != nil {
		t.Error(err)
		return
	}
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "filter"})
	chain := c.AddChain(&nftables.Chain{Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(434)},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_GRE}},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	if err := c.Flush(); err != nil {
		t.Error(err)
	}
}

// A finding about programs says what is so, what comes of it and what to do,
// and not how a library told of it.
func TestWhatKeepsProgramsOutIsToldInWords(t *testing.T) {
	for _, c := range []struct {
		err       error
		says, fix string
	}{
		{fmt.Errorf("bpf: %w: assign values: field Encapsulate: map create: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", errors.ErrUnsupported, unix.EPERM), "may not load", "CAP_BPF"},
		{fmt.Errorf("bpf: %w: assign values: field Encapsulate: load program: %w: 762: (0f) r3 += r1", errors.ErrUnsupported, unix.EACCES), "may not load", "CAP_PERFMON"},
		{fmt.Errorf("bpf: %w: assign values: field Encapsulate: %w", errors.ErrUnsupported, unix.EINVAL), "this kernel does not run", "Linux 6.6"},
		{fmt.Errorf("bpf: %w: %w", errors.ErrUnsupported, fmt.Errorf("assign values: %w", errors.New("encapsulate: action 0\nand more"))), "(encapsulate: action 0)", "plane.kind"},
	} {
		h := healthy()
		h.ebpf = c.err
		for _, f := range Examine(t.Context(), question(t, agents), h) {
			if f.Check == "ebpf" && (f.Result != Warn || !strings.Contains(f.Text, c.says) || !strings.Contains(f.Text, "user space") ||
				!strings.Contains(f.Fix, c.fix) || strings.Contains(f.Text, "assign values")) {
				t.Errorf("%v is told as %+v", c.err, f)
			}
		}
	}
}
