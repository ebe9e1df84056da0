package ui

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"careof/internal/control"
	"careof/internal/lab/labtest"
	"careof/internal/lab/live"
	"careof/internal/lab/topology"
	"careof/internal/openapi"
)

func TestMain(m *testing.M) {
	labtest.Daemon()
	os.Exit(m.Run())
}

// dashboardOf serves the dashboard of a daemon of the laboratory.
func dashboardOf(t *testing.T, l *live.Lab, node string) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", control.NewClient(live.SocketIn(l.Directory, node)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestARealNodeThatMovesIsSeenMoving has real daemons in namespaces, a node
// that changes from one access network to another one behind a NAT, and a
// browser on each daemon's dashboard. The home agent is scraped over the
// network meanwhile.
func TestARealNodeThatMovesIsSeenMoving(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the laboratory of this test needs root")
	}
	agentPage, nodePage := openBrowser(t, 1360, 900), openBrowser(t, 1360, 900)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	network := topology.Default()
	section, trusted := listenSection(t)
	network.Node("ha").Config += section
	l, err := live.Build(ctx, network, live.Options{Command: labtest.Command})
	labtest.Allowed(t, err)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	agent, node := dashboardOf(t, l, "ha"), dashboardOf(t, l, "mn")
	agentPage.open(agent.URL())
	agentPage.sees(".tiles", "of 1 mobile nodes known")
	nodePage.open(node.URL())
	nodePage.sees(".tiles", "10.10.0.5")

	if err := l.Plug("mn", "wlan0", "access1"); err != nil {
		t.Fatal(err)
	}
	agentPage.sees(".feed li:first-child", "10.10.0.5 is bound at 203.0.113.5")
	agentPage.sees(".map", "203.0.113.0/24")
	nodePage.sees(".feed", "registered at 203.0.113.5")
	nodePage.sees(".map", "wlan0")

	// Make before break: the new link comes, then the old one goes.
	if err := l.Plug("mn", "wwan0", "access2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Unplug("mn", "wlan0"); err != nil {
		t.Fatal(err)
	}
	agentPage.sees(".feed", "10.10.0.5 moved to 192.168.8.10")
	agentPage.sees(".moved text", "10.10.0.5")
	agentPage.sees(".map", "NAT · 1 node")
	nodePage.sees(".map", "192.168.8.10")
	agentPage.until("the tile counts one binding", func() bool { return strings.HasPrefix(agentPage.text(".tile dd"), "1") })
	nodePage.sees(".tiles", "registered")
	keep(t, "dashboard-lab", nodePage.screenshot())

	agentPage.click(`[data-id="node 10.10.0.5"]`)
	agentPage.sees("h1", "10.10.0.5")
	agentPage.sees(".timeline", "Moved to 192.168.8.10")
	agentPage.sees(".timeline", "Is bound at 203.0.113.5")
	agentPage.sees(".facts", "udp/ipip, through a NAT")
	scrape(t, l, trusted)
	everyAnswerIsAsDocumented(t, control.NewClient(live.SocketIn(l.Directory, "ha")))
	everyAnswerIsAsDocumented(t, control.NewClient(live.SocketIn(l.Directory, "mn")))
	for _, b := range []*browser{agentPage, nodePage} {
		for _, complaint := range b.complaints() {
			t.Error("the browser complains:", complaint)
		}
	}
}

// everyAnswerIsAsDocumented asks a real daemon everything that can be shown.
func everyAnswerIsAsDocumented(t *testing.T, daemon *control.Client) {
	t.Helper()
	d, err := openapi.New("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range d.Routes {
		if r.Method != http.MethodGet || r.Name == "" {
			continue
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://careof"+strings.ReplaceAll(r.Path, "{node}", "10.10.0.5"), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := daemon.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		switch {
		case err != nil:
			t.Error(err)
		case response.StatusCode == http.StatusNotFound: // a node of the other daemon's
		case response.StatusCode != http.StatusOK:
			t.Errorf("%s: %s: %s", r.Path, response.Status, text)
		default:
			if err := d.Check(r, text); err != nil {
				t.Error(err)
			}
		}
	}
}
