package metrics

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"careof/internal/control"
)

// full is a snapshot of a daemon with every role.
func full() Snapshot {
	return Snapshot{
		Version: "1.2.3", Plane: "bpf", Started: time.Unix(1700000000, 0), Ready: true,
		Roles: []control.RoleStatus{{Role: "home-agent", Dropped: 3}, {Role: "mobile-node"}, {Role: "mobile-node"}},
		Counters: []control.Counter{
			{Name: "home-agent.registrations_bound", Value: 7, Meaning: "new bindings"},
			{Name: "home-agent.denied_133", Value: 2, Meaning: "registration Identification mismatch"},
			{Name: "home-agent.denied_128", Value: 0},
			{Name: "foreign-agent.denied_66", Value: 1},
			{Name: "mobile-node.refused-136", Value: 4},
			{Name: "mobile-node.link-up", Value: 9},
			{Name: "plane.strangers", Value: 11, Meaning: "tunnel packets that no live binding allows"},
			{Name: "host.link-down", Value: 5},
		},
		Forwarded: control.ForwardedStatus{Entries: 2},
		HomeAgent: &HomeAgent{Nodes: 100000, Bound: 70000, Bindings: 70001}, ForeignAgent: &ForeignAgent{1, 2},
		Pool:       &Pool{Members: 3, Serving: 2, Drained: true},
		MobileNode: &MobileNode{Uplinks: 2, Usable: 1, Registered: true, RoundTrip: 40 * time.Millisecond},
	}
}

func scrape(t *testing.T, s Snapshot) string {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(func() (Snapshot, error) { return s, nil }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestNamesFollowTheConventions(t *testing.T) {
	text := scrape(t, full())
	problems, err := promlint.New(bytes.NewReader([]byte(text))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestEveryCounterIsAMetric(t *testing.T) {
	text := scrape(t, full())
	for _, want := range []string{
		`careof_home_agent_registrations_bound_total 7`,
		"# HELP careof_home_agent_registrations_bound_total New bindings.",
		`careof_home_agent_denied_total{code="133"} 2`,
		`careof_home_agent_denied_total{code="128"} 0`,
		`careof_foreign_agent_denied_total{code="66"} 1`,
		`careof_mobile_node_refused_total{code="136"} 4`,
		`careof_mobile_node_events_total{event="link-up"} 9`,
		`careof_host_events_total{event="link-down"} 5`,
		`careof_plane_strangers_total 11`,
		`careof_messages_dropped_total{role="home-agent"} 3`,
		`careof_home_agent_nodes_bound 70000`,
		`careof_pool_members 3`, `careof_pool_members_serving 2`, `careof_pool_drained 1`,
		`careof_build_info{plane="bpf",version="1.2.3"} 1`,
		`go_goroutines `, `process_open_fds `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("a scrape lacks %q", want)
		}
	}
}

// TestNoLabelIsANode guards the size of a scrape: only these labels may be.
func TestNoLabelIsANode(t *testing.T) {
	for line := range strings.Lines(scrape(t, full())) {
		if !strings.HasPrefix(line, "careof_") || !strings.Contains(line, "{") {
			continue
		}
		labels := line[strings.Index(line, "{")+1 : strings.Index(line, "}")]
		for one := range strings.SplitSeq(labels, ",") {
			switch name, _, _ := strings.Cut(one, "="); name {
			case "code", "event", "role", "version", "plane":
			default:
				t.Errorf("label %s in %s", name, line)
			}
		}
	}
}

func TestADaemonThatDoesNotAnswerFailsTheScrape(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(func() (Snapshot, error) { return Snapshot{}, errors.New("too busy") }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "too busy") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}
