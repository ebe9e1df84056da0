package config

import (
	"log/slog"
	"maps"
	"net/netip"
	"strconv"
	"strings"
)

var rootTable = Table[Config]{
	Field("version", Kind[int]{
		Name: "1",
		Parse: func(v any) (int, error) {
			if n, ok := v.(int64); !ok || n != 1 {
				return 0, mistakef("write version = 1", "this program reads version 1 of the configuration")
			}
			return 1, nil
		},
		Format: func(n int) string { return strconv.Itoa(n) },
	}, func(c *Config) *int { return &c.Version }, Help{
		Required: true, Example: "1",
		Doc: "The version of this file's format.",
	}),
	Field("state-directory", String, func(c *Config) *string { return &c.StateDirectory }, Help{
		Default: `"/var/lib/careof"`,
		Doc:     "Where bindings and replay marks survive a restart. Created if missing.",
	}),
	always("control", controlTable, func(c *Config) *Control { return &c.Control }, Help{
		Doc: "The control API: HTTP and JSON on a unix socket, and on TCP when listen is there.",
	}),
	always("log", logTable, func(c *Config) *Log { return &c.Log }, Help{
		Doc: "What is logged: for everything, and for single subsystems.",
	}),
	always("plane", planeTable, func(c *Config) *Plane { return &c.Plane }, Help{
		Doc: "The data plane: what carries packets through the tunnels.",
	}),
	always("snmp", snmpTable, func(c *Config) *SNMP { return &c.SNMP }, Help{
		Doc: "The Mobile IP MIB (RFC 2006), served through an SNMP agent of this host.",
	}),
	optional("enrolment", enrolmentTable, func(c *Config) **Enrolment { return &c.Enrolment }, Help{
		Doc: "Where mobile nodes join with a token from careof enrol. Beside a home agent.",
	}),
	optional("aaa", aaaTable, func(c *Config) **AAA { return &c.AAA }, Help{
		Doc: "Who is asked about nodes: whether their answers to challenges are right, and for home agents also about nodes that are in no file.",
	}),
	optional("home-agent", homeAgentTable, func(c *Config) **HomeAgent { return &c.HomeAgent }, Help{
		Doc: "The home agent: keeps the nodes' addresses while they are away (RFC 5944 section 3.8).",
	}),
	optional("foreign-agent", foreignAgentTable, func(c *Config) **ForeignAgent { return &c.ForeignAgent }, Help{
		Doc: "The foreign agent: lends visitors its care-of address (RFC 5944 section 3.7).",
	}),
	optional("mobile-node", mobileNodeTable, func(c *Config) **MobileNode { return &c.MobileNode }, Help{
		Doc: "The mobile node or mobile router: keeps its home address wherever it is attached (RFC 5944 section 3.6).",
	}),
}

var controlTable = Table[Control]{
	Field("socket", String, func(c *Control) *string { return &c.Socket }, Help{
		Default: `"/run/careof/careof.sock"`,
		Doc:     "Where clients connect: careof --socket, or the variable CAREOF_SOCKET.",
	}),
	Field("group", String, func(c *Control) *string { return &c.Group }, Help{
		Default: `"careof"`,
		Doc:     "The group that may read. Only root may change anything.",
	}),
	Field("listen", addrPort, func(c *Control) *netip.AddrPort { return &c.Listen }, Help{
		Example: `"127.0.0.1:8434"`,
		Doc: "Serve the API over TCP too, to callers with a token: `Authorization: Bearer TOKEN`.\n" +
			"Beyond this host it needs tls-cert and tls-key.",
	}),
	Field("tls-cert", String, func(c *Control) *string { return &c.cert }, Help{
		Example: `"tls/careof.pem"`,
		Doc:     "The certificate of listen, with its chain, as PEM. A renewed file is used from the next connection on.",
	}),
	Field("tls-key", String, func(c *Control) *string { return &c.key }, Help{
		Example: `"tls/careof.key"`,
		Doc:     "The certificate's key: a file of mode 0600, or \"credential:NAME\".",
	}),
	Field("token-file", String, func(c *Control) *string { return &c.readFile }, Help{
		Example: `"tokens/read"`,
		Doc: "A file of mode 0600 with the token that may read over TCP: at least 20 letters and digits.\n" +
			"`openssl rand -hex 32` makes one. Or \"credential:NAME\".",
	}),
	Field("admin-token-file", String, func(c *Control) *string { return &c.allFile }, Help{
		Example: `"tokens/admin"`,
		Doc:     "Likewise, with the token that may also change things.",
	}),
}

var planeTable = Table[Plane]{
	Field("kind", Enum[PlaneKind](planeKindWords...), func(p *Plane) *PlaneKind { return &p.Kind }, Help{
		Default: `"auto"`,
		Doc: "auto takes the best of bpf (eBPF programs, with user space behind them) and tun (user space)\n" +
			"that this machine allows. kernel is for a home agent: its IP-in-IP and GRE tunnels become the\n" +
			"kernel's own devices (modules ipip and ip_gre), without simultaneous bindings; all else is user space's.",
	}),
	Field("device", Interface, func(p *Plane) *string { return &p.Device }, Help{
		Default: `"careof0"`,
		Doc:     "The tunnel device.",
	}),
	Field("bpffs", String, func(p *Plane) *string { return &p.BPFFS }, Help{
		Default: `"/sys/fs/bpf/careof"`,
		Doc:     "Where the eBPF plane pins its maps and programs.",
	}),
	Field("clamp-mss", Bool, func(p *Plane) *bool { return &p.ClampMSS }, Help{
		Default: "true",
		Doc: "Whether TCP connections through the tunnel device are made to announce segments that fit through it (an nftables table\n" +
			"of the daemon's own), so that they work where the ICMP messages that would tell them are dropped.",
	}),
}

var enrolmentTable = Table[Enrolment]{
	Field("listen", addrPort, func(e *Enrolment) *netip.AddrPort { return &e.Listen }, Help{
		Required: true, Example: `"0.0.0.0:4434"`,
		Doc: "The TCP address where joining nodes are met, over TLS.",
	}),
	Field("address", String, func(e *Enrolment) *string { return &e.Address }, Help{
		Example: `"vps.example:4434"`,
		Doc: "Host and port that tokens lead to, as they are reached from outside. Left out: the home agent's address and the port\n" +
			"of listen.",
	}),
	Field("home-agent", String, func(e *Enrolment) *string { return &e.HomeAgent }, Help{
		Example: `"vps.example"`,
		Doc:     "The home agent's name or address as joining nodes write it down. Left out: its first address.",
	}),
}

var snmpTable = Table[SNMP]{
	Field("master", masterAgent, func(s *SNMP) *string { return &s.Master }, Help{
		Default: `""`, Example: `"unix:/var/agentx/master"`,
		Doc: "Where the master agent listens for sub-agents (AgentX, RFC 2741): for net-snmp the agentXSocket of snmpd.conf. Empty: no SNMP.",
	}),
}

// masterAgent reads the address of an AgentX master.
var masterAgent = Kind[string]{
	Name: `"unix:PATH" or "tcp:HOST:PORT"`,
	Parse: func(v any) (string, error) {
		s, ok := v.(string)
		if !ok {
			return "", wrongType(v, "an address", `"unix:/var/agentx/master"`)
		}
		network, address, _ := strings.Cut(s, ":")
		if s != "" && (address == "" || (network != "unix" && network != "tcp")) {
			return "", mistakef(`write "unix:/var/agentx/master" or "tcp:127.0.0.1:705"`, "%q is no address of a master agent", s)
		}
		return s, nil
	},
	Format: strconv.Quote,
}

// levelWords are slog's levels by name.
var levelWords = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// Level reads a log level.
var Level = Kind[slog.Level]{
	Name: "one of debug, info, warn or error",
	Parse: func(v any) (slog.Level, error) {
		s, ok := v.(string)
		if !ok {
			return 0, wrongType(v, "a log level", `"info"`)
		}
		level, ok := levelWords[s]
		if !ok {
			return 0, mistakef(didYouMean(s, []string{"debug", "info", "warn", "error"}), "%q is no log level: debug, info, warn or error", s)
		}
		return level, nil
	},
	Format: func(l slog.Level) string { return strconv.Quote(strings.ToLower(l.String())) },
}

// subsystems are the parts of the daemon that may have a log level of their own.
var subsystems = []struct{ name, doc string }{
	{"registration", "requests, replies, denials, bindings"},
	{"replay", "old and repeated Identifications"},
	{"movement", "links, care-of addresses, the choice of an uplink"},
	{"advertisement", "agent advertisements and solicitations"},
	{"nat", "NAT detection and keepalives"},
	{"plane", "the data plane"},
	{"link", "interfaces, addresses, routes, ARP"},
	{"store", "the state directory"},
	{"control", "the control API"},
}

// Subsystems returns the names that may stand in the [log] section.
func Subsystems() []string {
	names := make([]string, len(subsystems))
	for i, s := range subsystems {
		names[i] = s.name
	}
	return names
}

var logTable = logRows()

func logRows() Table[Log] {
	t := Table[Log]{
		Field("level", Level, func(l *Log) *slog.Level { return &l.Level }, Help{
			Default: `"info"`,
			Doc:     "For everything that has no level of its own below.",
		}),
	}
	for _, s := range subsystems {
		t = append(t, Row[Log]{
			Name: s.name, kind: Level.Name,
			Help: Help{Example: `"debug"`, Doc: strings.ToUpper(s.doc[:1]) + s.doc[1:] + "."},
			set: func(d *decoder, path string, l *Log, v any) {
				level, err := Level.Parse(v)
				if err != nil {
					d.mistake(path, err)
					return
				}
				levels := maps.Clone(l.Levels)
				if levels == nil {
					levels = map[string]slog.Level{}
				}
				levels[s.name] = level
				l.Levels = levels
			},
			values: func(path string, l *Log, out []Value) []Value {
				if level, ok := l.Levels[s.name]; ok {
					out = append(out, Value{path, Level.Format(level)})
				}
				return out
			},
		})
	}
	return t
}
