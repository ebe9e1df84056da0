// Package metrics makes Prometheus metrics of a snapshot of the daemon.
//
// There is no label for a mobile node, an address or an interface: whatever
// the number of nodes is, a scrape has the same size. Labels have few values,
// known beforehand: a role, a reply code, a kind of event.
//
// What must not go in here: asking the machines (the daemon takes the
// snapshot), or serving (package control does).
package metrics

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"careof/internal/control"
)

// A Snapshot is the daemon at one moment. Roles that do not run are left out.
type Snapshot struct {
	Version string
	Plane   string
	Started time.Time
	Ready   bool

	Roles     []control.RoleStatus
	Counters  []control.Counter
	Forwarded control.ForwardedStatus

	HomeAgent    *HomeAgent
	ForeignAgent *ForeignAgent
	MobileNode   *MobileNode
	Diameter     *Diameter
	Pool         *Pool

	Store     Store
	Sockets   Sockets
	Listeners int // of events
}

// HomeAgent is what a home agent has now.
type HomeAgent struct{ Nodes, Bound, Bindings int }

// ForeignAgent is what a foreign agent has now.
type ForeignAgent struct{ Visitors, Pending int }

// MobileNode is what a mobile node has now.
type MobileNode struct {
	Uplinks, Usable int
	Registered      bool // or at home: packets for the home address arrive
	RoundTrip       time.Duration
	Remaining       time.Duration // of the active registration; 0 for none
	Doubts          int           // how often an uplink in use was in doubt
	InDoubt         time.Duration
}

// Pool is a home agent's pool: the other home agents, those of them that are
// heard and not drained, and whether this one is drained.
type Pool struct {
	Members, Serving int
	Drained          bool
}

// Diameter is the peers that there are, and those that are connected.
type Diameter struct{ Peers, Connected int }

// Store is what the store costs, in octets.
type Store struct{ Disk, Written, Free uint64 }

// Sockets are the UDP sockets together.
type Sockets struct {
	Open          int
	Queued, Drops uint64 // octets, datagrams
}

// A Collector is a [prometheus.Collector] over snapshots.
type Collector struct{ take func() (Snapshot, error) }

// New makes a collector that takes a snapshot for each scrape.
func New(take func() (Snapshot, error)) *Collector { return &Collector{take} }

// Describe implements [prometheus.Collector]. Which counters there are, the
// features decide; so it says nothing, and what is collected is not checked
// against it.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	s, err := c.take()
	if err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	put := &writer{out: out}
	put.gauge("build_info", "Always 1; the labels say what runs.", 1, "version", s.Version, "plane", s.Plane)
	put.gauge("start_time_seconds", "When the daemon started, as a Unix time.", float64(s.Started.UnixMilli())/1000)
	put.gauge("ready", "Whether the daemon serves: 1 when /readyz says so.", truth(s.Ready))
	put.gauge("event_listeners", "Who listens to the event stream now.", float64(s.Listeners))
	dropped := make(map[string]uint64)
	var roles []string
	for _, r := range s.Roles {
		if _, there := dropped[r.Role]; !there {
			roles = append(roles, r.Role)
		}
		dropped[r.Role] = r.Dropped
	}
	for _, role := range roles {
		put.counter("messages_dropped_total", "Messages dropped because a machine was behind.", float64(dropped[role]), "role", role)
	}
	s.collectRoles(put)
	s.collectPlane(put)
	s.collectCounters(put)
}

func (s *Snapshot) collectRoles(put *writer) {
	if h := s.HomeAgent; h != nil {
		put.gauge("home_agent_nodes", "Mobile nodes that may register.", float64(h.Nodes))
		put.gauge("home_agent_nodes_bound", "Mobile nodes that have a binding.", float64(h.Bound))
		put.gauge("home_agent_bindings", "Mobility bindings.", float64(h.Bindings))
	}
	if f := s.ForeignAgent; f != nil {
		put.gauge("foreign_agent_visitors", "Mobile nodes whose registration was accepted.", float64(f.Visitors))
		put.gauge("foreign_agent_pending", "Requests that wait for a home agent's reply.", float64(f.Pending))
	}
	if m := s.MobileNode; m != nil {
		put.gauge("mobile_node_reachable", "Whether the home address can be reached: registered, or at home.", truth(m.Registered))
		put.gauge("mobile_node_uplinks", "Interfaces that may be used.", float64(m.Uplinks))
		put.gauge("mobile_node_uplinks_usable", "Interfaces that can be used now.", float64(m.Usable))
		put.gauge("mobile_node_round_trip_seconds", "From the last accepted request to its reply.", m.RoundTrip.Seconds())
		put.counter("mobile_node_doubts_total", "How often the uplink in use was in doubt, so that packets went over another one as well.", float64(m.Doubts))
		put.counter("mobile_node_doubt_seconds_total", "For how long the uplink in use was in doubt.", m.InDoubt.Seconds())
		put.gauge("mobile_node_lifetime_remaining_seconds", "What is left of the active registration.", m.Remaining.Seconds())
	}
	if p := s.Pool; p != nil {
		drained := 0.0
		if p.Drained {
			drained = 1
		}
		put.gauge("pool_members", "Other home agents of the pool.", float64(p.Members))
		put.gauge("pool_members_serving", "Other home agents of the pool that are heard and not drained.", float64(p.Serving))
		put.gauge("pool_drained", "1 while this home agent is drained.", drained)
	}
	if a := s.Diameter; a != nil {
		put.gauge("diameter_peers", "Diameter peers of the configuration.", float64(a.Peers))
		put.gauge("diameter_peers_connected", "Diameter peers that are connected.", float64(a.Connected))
	}
}

func (s *Snapshot) collectPlane(put *writer) {
	f := s.Forwarded
	put.gauge("plane_entries", "Entries of the data plane.", float64(f.Entries))
	// The sums are over the entries there are, so they shrink with a binding:
	// a rate over them is right as long as one does not end.
	put.gauge("plane_sent_bytes", "Octets sent into the tunnels that exist now.", float64(f.SentBytes))
	put.gauge("plane_received_bytes", "Octets received from the tunnels that exist now.", float64(f.ReceivedBytes))
	put.gauge("plane_sent_packets", "Packets sent into the tunnels that exist now.", float64(f.SentPackets))
	put.gauge("plane_received_packets", "Packets received from the tunnels that exist now.", float64(f.ReceivedPackets))
	put.gauge("plane_dropped_packets", "Packets dropped by the entries that exist now.", float64(f.DroppedPackets))
	put.gauge("store_disk_bytes", "What the durable records take on disk.", float64(s.Store.Disk))
	put.gauge("store_free_bytes", "What is left on the disk of the durable records.", float64(s.Store.Free))
	put.counter("store_written_bytes_total", "Durable records written.", float64(s.Store.Written))
	put.gauge("sockets_open", "UDP sockets.", float64(s.Sockets.Open))
	put.gauge("sockets_queued_bytes", "What waits in UDP sockets to be read.", float64(s.Sockets.Queued))
	put.counter("sockets_dropped_datagrams_total", "Datagrams for which the sockets that are open had no room.", float64(s.Sockets.Drops))
}

// collectCounters makes a metric of every counter that the daemon has. Those
// that are told apart by a code or a kind of event share one, with a label.
func (s *Snapshot) collectCounters(put *writer) {
	list := slices.Clone(s.Counters)
	if s.MobileNode != nil {
		// A rate needs a zero to begin with.
		for _, name := range []string{"requesting", "registered", "refused", "lost"} {
			name = "mobile-node." + name
			if !slices.ContainsFunc(list, func(c control.Counter) bool { return c.Name == name }) {
				list = append(list, control.Counter{Name: name})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b control.Counter) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range list {
		name, label, value := counterName(c.Name)
		if label == "" {
			put.counter(name, sentence(c.Meaning, c.Name), float64(c.Value))
			continue
		}
		put.counter(name, families[name], float64(c.Value), label, value)
	}
}

// families are the meanings of the counters that share a metric.
var families = map[string]string{
	"home_agent_denied_total":    "Requests that the home agent denied, by reply code.",
	"foreign_agent_denied_total": "Requests that the foreign agent denied, by reply code.",
	"mobile_node_refused_total":  "Requests of the mobile node that were denied, by reply code.",
	"mobile_node_events_total":   "What happened to the mobile node, by kind of event.",
	"host_events_total":          "What happened to the host, by kind of event.",
}

// counterName is the metric of a counter, and its label where several
// counters share one metric: "home-agent.denied_133", "mobile-node.lost".
func counterName(counter string) (name, label, value string) {
	role, rest, _ := strings.Cut(counter, ".")
	role = strings.ReplaceAll(role, "-", "_")
	for _, verb := range []string{"denied", "refused"} {
		if digits, ok := strings.CutPrefix(rest, verb); ok && len(digits) > 1 {
			if code, err := strconv.Atoi(digits[1:]); err == nil {
				if name = role + "_" + verb + "_total"; families[name] != "" {
					return name, "code", strconv.Itoa(code)
				}
			}
		}
	}
	if name = role + "_events_total"; families[name] != "" {
		return name, "event", rest
	}
	return role + "_" + strings.NewReplacer("-", "_", ".", "_", " ", "_").Replace(rest) + "_total", "", ""
}

// sentence makes a help text of a counter's meaning.
func sentence(meaning, name string) string {
	if meaning == "" {
		return "The counter " + name + "."
	}
	return strings.ToUpper(meaning[:1]) + meaning[1:] + "."
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// A writer names metrics and hands them on.
type writer struct{ out chan<- prometheus.Metric }

func (w *writer) gauge(name, help string, value float64, labels ...string) {
	w.put(prometheus.GaugeValue, name, help, value, labels)
}

func (w *writer) counter(name, help string, value float64, labels ...string) {
	w.put(prometheus.CounterValue, name, help, value, labels)
}

// put hands on one metric; labels are names and values in turn.
func (w *writer) put(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	desc := prometheus.NewDesc("careof_"+name, help, names, nil)
	m, err := prometheus.NewConstMetric(desc, kind, value, values...)
	if err != nil {
		m = prometheus.NewInvalidMetric(desc, err)
	}
	w.out <- m
}
