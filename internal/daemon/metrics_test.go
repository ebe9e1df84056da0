package daemon

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/core/engine"
	"careof/internal/host/plane/tun"
	"careof/internal/metrics"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/standard"
	"careof/internal/roles"
)

// counted are the counters that the machines of both agents have.
func counted(t *testing.T) []control.Counter {
	t.Helper()
	c := parse(t, `[home-agent]
address = "198.51.100.1"
interfaces = []
[[home-agent.network]]
prefix = "10.10.0.0/24"
[[home-agent.mobile-node]]
home-address = "10.10.0.5"
`+key+`[foreign-agent]
interfaces = ["eth1"]
care-of-address = "203.0.113.1"
`)
	rng := rand.New(rand.NewPCG(1, 2))
	homeConfig, features := roles.HomeAgent(c.HomeAgent)
	home, err := standard.HomeAgent(homeConfig, standard.Features(features), rng)
	if err != nil {
		t.Fatal(err)
	}
	foreignConfig, features := roles.ForeignAgent(c.ForeignAgent, c.HomeAgent)
	foreign, err := standard.ForeignAgent(foreignConfig, standard.Features(features), rng)
	if err != nil {
		t.Fatal(err)
	}
	now := engine.Now{Wall: time.Unix(1700000000, 0), Mono: time.Unix(1700000000, 0)}
	list := planeCounters(tun.Totals{})
	for _, m := range []struct {
		engine.Machine
		role     string
		question any
	}{{home, roleHomeAgent, ha.ListCounters{}}, {foreign, roleForeignAgent, fa.ListCounters{}}} {
		for _, a := range m.Step(now, engine.Command{Ticket: 1, Value: m.question}) {
			r, is := a.(engine.Result)
			if !is {
				continue
			}
			for _, c := range r.Value.([]ha.Counter) {
				list = append(list, control.Counter{Name: m.role + "." + c.Name, Meaning: c.Help})
			}
		}
	}
	if len(list) < 40 {
		t.Fatalf("only %d counters: %v", len(list), list)
	}
	return list
}

// metricName matches what may be a metric in an expression.
var metricName = regexp.MustCompile(`\b(careof|go|process)_[a-z0-9_]+\b`)

func TestEveryMetricInTheDashboardAndTheAlertsExists(t *testing.T) {
	w := httptest.NewRecorder()
	metrics.Handler(func() (metrics.Snapshot, error) {
		return metrics.Snapshot{
			Roles:    []control.RoleStatus{{Role: roleHomeAgent}, {Role: roleForeignAgent}, {Role: roleMobileNode}},
			Counters: counted(t), HomeAgent: new(metrics.HomeAgent), ForeignAgent: new(metrics.ForeignAgent), MobileNode: new(metrics.MobileNode),
		}, nil
	}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	exists := make(map[string]bool)
	for line := range strings.Lines(w.Body.String()) {
		if name := metricName.FindString(line); strings.HasPrefix(line, name) {
			exists[name] = true
		}
	}
	const dir = "../../packaging/monitoring"
	n := 0
	check := func(where, expression string) {
		for _, name := range metricName.FindAllString(expression, -1) {
			n++
			if !exists[name] {
				t.Errorf("%s: there is no metric %s", where, name)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "grafana.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	ids := make(map[int]bool)
	for _, p := range board.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q: its id is taken, or it does not fit", p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			check(fmt.Sprintf("panel %q", p.Title), target.Expr)
		}
	}
	if text, err = os.ReadFile(filepath.Join(dir, "alerts.yml")); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if expression, is := strings.CutPrefix(strings.TrimSpace(line), "expr: "); is {
			check("alerts.yml", expression)
		}
	}
	if n < 40 {
		t.Errorf("only %d metrics were looked for", n)
	}
}

// TestEveryAlertHasItsPlaceInTheOperationsGuide, and every such place an alert.
func TestEveryAlertHasItsPlaceInTheOperationsGuide(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	alerts := regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(read("packaging/monitoring/alerts.yml"), -1)
	if len(alerts) < 10 {
		t.Fatalf("only %d alerts", len(alerts))
	}
	guide := read("docs/operations.md")
	places := make(map[string]string)
	for _, part := range strings.Split(guide, "\n### ")[1:] {
		if name, text, _ := strings.Cut(part, "\n"); strings.HasPrefix(name, "Careof") {
			text, _, _ = strings.Cut(text, "\n## ")
			places[name] = strings.TrimSpace(text)
		}
	}
	for _, a := range alerts {
		// What it means and what to do is no one-liner.
		if text := places[a[1]]; strings.Count(text, ".") < 2 || len(text) < 150 {
			t.Errorf("docs/operations.md does not say what %s means and what to do: %q", a[1], text)
		}
		delete(places, a[1])
	}
	for name := range places {
		t.Errorf("docs/operations.md explains %s, and there is no such alert", name)
	}
}

// TestPrometheusReadsTheAlertsAndTheMetrics has Prometheus' own tool judge.
func TestPrometheusReadsTheAlertsAndTheMetrics(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: prometheus)")
	}
	if out, err := exec.Command(tool, "check", "rules", "../../packaging/monitoring/alerts.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	w := httptest.NewRecorder()
	metrics.Handler(func() (metrics.Snapshot, error) {
		return metrics.Snapshot{Counters: counted(t), HomeAgent: new(metrics.HomeAgent), MobileNode: new(metrics.MobileNode)}, nil
	}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	judge := exec.Command(tool, "check", "metrics")
	judge.Stdin = w.Body
	if out, err := judge.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
