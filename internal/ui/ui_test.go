package ui

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/internal/core/note"
)

// update writes what the documents show: go test ./internal/ui -update
var update = flag.Bool("update", false, "write the screenshots of docs/images")

// A fleet is a fake daemon with very many mobile nodes.
type fleet struct {
	mu       sync.Mutex
	began    time.Time
	bindings []control.Binding
	at       map[netip.Addr]int
	moments  map[netip.Addr][]control.Moment
	past     []control.Event
	ears     map[chan control.Event]bool
	counts   map[string]uint64
}

// nodeOf and careOf are the addresses of the i-th node.
func nodeOf(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(10 + i>>16), byte(i >> 8), byte(i)})
}

func careOf(i, network int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 0, byte(2 + network), byte(1 + i%250)})
}

func newFleet(n int) *fleet {
	f := &fleet{
		began: time.Now().Add(-26*time.Hour - 14*time.Minute), at: make(map[netip.Addr]int), moments: make(map[netip.Addr][]control.Moment),
		ears: make(map[chan control.Event]bool), counts: map[string]uint64{"denied_133": 41, "denied_131": 7, "denied_128": 0, "denied_136": 2},
	}
	for i := range n {
		encapsulation, nat := "udp", true
		end := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(7 + i%3)}), uint16(20000+i%40000))
		coa := careOf(i, 40+i%3)
		if i%4 == 0 {
			encapsulation, nat, coa = "ipip", false, careOf(i, i%5)
			end = netip.AddrPortFrom(coa, 0)
		}
		f.at[nodeOf(i)] = i
		f.bindings = append(f.bindings, control.Binding{
			HomeAddress: nodeOf(i), NAI: fmt.Sprintf("van%d@fleet.example", i), CareOfAddress: coa, Endpoint: control.Endpoint(end),
			Encapsulation: encapsulation, NAT: nat, ReverseTunnel: true, State: "active", Granted: control.Seconds(10 * time.Minute),
			Remaining: control.Seconds(time.Duration(20+i*7%580) * time.Second), Since: f.began.Add(time.Duration(i) * time.Millisecond),
			Counters: forward.Counters{SentPackets: uint64(i), SentBytes: uint64(i) * 1400, ReceivedPackets: uint64(i) / 2, ReceivedBytes: uint64(i) * 700},
		})
	}
	return f
}

func (f *fleet) tell(at time.Time, n note.Note) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.Role == "" {
		n.Role = "home-agent"
	}
	e := control.Event{ID: uint64(len(f.past) + 1), Time: at, Note: n}
	f.past = append(f.past, e)
	f.moments[n.HomeAddress] = append([]control.Moment{{Event: e, Times: 1, Last: at}}, f.moments[n.HomeAddress]...)
	if n.Code != 0 {
		f.counts[fmt.Sprintf("denied_%d", n.Code)]++
	}
	for ear := range f.ears {
		ear <- e
	}
}

// move has a node register from another network.
func (f *fleet) move(i, network int, at time.Time) {
	f.mu.Lock()
	b := &f.bindings[i]
	b.CareOfAddress, b.Since = careOf(i, network), at
	b.Endpoint, b.Encapsulation, b.NAT = control.Endpoint(netip.AddrPortFrom(b.CareOfAddress, 0)), "ipip", false
	n := note.Note{Kind: note.Moved, HomeAddress: b.HomeAddress, NAI: b.NAI, CareOfAddress: b.CareOfAddress, Encapsulation: "ipip", Took: 740 * time.Microsecond}
	f.mu.Unlock()
	f.tell(at, n)
}

func (f *fleet) Ready(context.Context) error { return nil }

func (f *fleet) Subscribe(after *uint64) ([]control.Event, <-chan control.Event, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var past []control.Event
	for _, e := range f.past {
		if after != nil && e.ID > *after {
			past = append(past, e)
		}
	}
	ear := make(chan control.Event, 1000)
	f.ears[ear] = true
	return past, ear, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.ears, ear)
	}
}

func (f *fleet) Show(_ context.Context, what, argument string) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch what {
	case "status":
		return control.Status{
			Version: "1.0.0", Started: f.began, ConfigFile: "/etc/careof/careof.toml", StateDirectory: "/var/lib/careof", Plane: "bpf", Device: "careof0", MTU: 1420,
			Roles:     []control.RoleStatus{{Role: "home-agent", State: "serving", Summary: fmt.Sprintf("%d mobile nodes known, %d bindings", len(f.bindings)+2500, len(f.bindings))}},
			Forwarded: control.ForwardedStatus{Entries: len(f.bindings), Counters: forward.Counters{SentBytes: 8<<40 + f.grown(55<<20), ReceivedBytes: 3<<40 + f.grown(19<<20)}},
		}, nil
	case "bindings":
		return append([]control.Binding(nil), f.bindings...), nil
	case "binding":
		a, _ := netip.ParseAddr(argument)
		i, bound := f.at[a]
		if !bound {
			return nil, fmt.Errorf("%w: no binding of %s", control.ErrNotFound, argument)
		}
		return []control.Binding{f.bindings[i]}, nil
	case "timeline":
		a, _ := netip.ParseAddr(argument)
		return append([]control.Moment{}, f.moments[a]...), nil
	case "visitors":
		return []control.Visitor{}, nil
	case "registrations":
		list := []control.Registration{}
		for i := range 40 {
			b := f.bindings[i*7%len(f.bindings)]
			r := control.Registration{Role: "home-agent", HomeAddress: b.HomeAddress, NAI: b.NAI, CareOfAddress: b.CareOfAddress,
				Source: netip.AddrPort(b.Endpoint), State: "registration accepted", Granted: b.Granted, Time: time.Now().Add(-time.Duration(i) * 1700 * time.Millisecond), SPI: 256}
			if i%9 == 4 {
				r.Code, r.State, r.Granted = 133, "registration Identification mismatch", 0
			}
			list = append(list, r)
		}
		return list, nil
	case "counters":
		list := []control.Counter{
			{Name: "home-agent.registrations_bound", Value: 100231, Meaning: "new bindings"},
			{Name: "home-agent.registrations_refreshed", Value: f.grown(338), Meaning: "bindings renewed in place"},
			{Name: "home-agent.registrations_moved", Value: f.grown(2.4), Meaning: "bindings moved to another endpoint"},
			{Name: "plane.strangers", Value: 1733, Meaning: "tunnel packets that no live binding allows"},
			{Name: "plane.loops", Value: 0, Meaning: "packets that would have gone in a circle"},
		}
		for _, code := range []string{"denied_128", "denied_131", "denied_133", "denied_136"} {
			list = append(list, control.Counter{Name: "home-agent." + code, Value: f.counts[code]})
		}
		return list, nil
	case "topology":
		return f.topology(), nil
	}
	return nil, fmt.Errorf("%w: %s", control.ErrNotFound, what)
}

// grown is a counter whose rate, some a second, goes up and down.
func (f *fleet) grown(rate float64) uint64 {
	t := time.Since(f.began).Seconds()
	return uint64(rate * (t - 3.6*math.Cos(t/9) - 0.5*math.Cos(t/3.1)))
}

func (f *fleet) topology() control.Topology {
	t := control.Topology{Nodes: len(f.bindings)}
	t.Vertices = append(t.Vertices,
		control.Vertex{ID: "home", Kind: "home-network", Label: "10.10.0.0/15", Detail: "home network"},
		control.Vertex{ID: "ha", Kind: "home-agent", Label: "198.51.100.1", Detail: "home agent", Self: true})
	t.Edges = append(t.Edges, control.Edge{From: "home", To: "ha", Kind: "attachment", Active: true})
	for i := range 5 {
		id := fmt.Sprintf("network 192.0.%d.0/24", 2+i)
		kind, detail := "network", "visited network"
		if i == 1 {
			kind, detail = "foreign-agent", "foreign agent"
		}
		t.Vertices = append(t.Vertices, control.Vertex{ID: id, Kind: kind, Label: strings.TrimPrefix(id, "network "), Detail: detail, Nodes: len(f.bindings) / 20})
		t.Edges = append(t.Edges, control.Edge{From: "ha", To: id, Kind: "tunnel", Encapsulation: "ipip", Active: true})
	}
	t.Vertices = append(t.Vertices, control.Vertex{ID: "nat", Kind: "network", Label: "203.0.113.7", Detail: "behind a NAT", Nodes: len(f.bindings) * 3 / 4})
	t.Edges = append(t.Edges, control.Edge{From: "ha", To: "nat", Kind: "tunnel", Encapsulation: "udp", Active: true})
	for i := range 15 {
		b := f.bindings[i]
		place := "nat"
		if !b.NAT {
			p, _ := b.CareOfAddress.Prefix(24)
			place = "network " + p.String()
		}
		t.Vertices = append(t.Vertices, control.Vertex{ID: "node " + b.HomeAddress.String(), Kind: "mobile-node", Label: b.NAI, Detail: b.HomeAddress.String() + " at " + b.CareOfAddress.String(), State: "active"})
		t.Edges = append(t.Edges, control.Edge{From: place, To: "node " + b.HomeAddress.String(), Kind: "attachment", Active: true})
		t.Shown++
	}
	return t
}

// dashboard serves one of a backend and returns it.
func dashboard(t *testing.T, backend control.Backend) *Server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "careof.sock")
	daemon, err := control.Listen(path, "no such group", backend)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 2)
	go func() { served <- daemon.Serve() }()
	s, err := Listen("127.0.0.1:0", control.NewClient(path))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(daemon.Close(), <-served, <-served); err != nil {
			t.Error(err)
		}
	})
	return s
}

// keep compares nothing: pictures differ from machine to machine. It writes
// them for the documents when asked to.
func keep(t *testing.T, name string, png []byte) {
	t.Helper()
	if dir := os.Getenv("CAREOF_SCREENSHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !*update {
		return
	}
	if err := os.WriteFile(filepath.Join("..", "..", "docs", "images", name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyWhoHasTheKeyIsLetInAndEveryAnswerForbidsForeignContent(t *testing.T) {
	s := dashboard(t, newFleet(3))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	site := "http://" + s.listener.Addr().String()
	get := func(client *http.Client, url string, set func(*http.Request)) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if set != nil {
			set(r)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	stranger, friend := &http.Client{}, &http.Client{Jar: jar}
	for _, path := range []string{"/", "/app.js", "/api/v1/bindings", "/?key=wrong"} {
		if r := get(stranger, site+path, nil); r.StatusCode != http.StatusForbidden {
			t.Errorf("a stranger gets %s: %d", path, r.StatusCode)
		}
	}
	if r := get(friend, s.URL(), nil); r.StatusCode != http.StatusOK || r.Request.URL.RawQuery != "" {
		t.Errorf("with the key: %d at %s", r.StatusCode, r.Request.URL)
	}
	for _, path := range []string{"/", "/app.js", "/api/v1/bindings", "/api/codes"} {
		r := get(friend, site+path, nil)
		if r.StatusCode != http.StatusOK || !strings.Contains(r.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d, policy %q", path, r.StatusCode, r.Header.Get("Content-Security-Policy"))
		}
	}
	if r := get(friend, site+"/api/v1/bindings", func(r *http.Request) { r.Host = "evil.example" }); r.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("under a name that somebody leads here: %d", r.StatusCode)
	}
	if r := get(friend, site+"/api/v1/bindings", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); r.StatusCode == http.StatusOK {
		t.Error("another site's page was answered")
	}
	response, err := friend.Post(site+"/api/v1/reload", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode < 400 {
		t.Error("the dashboard changed something")
	}
	if r := get(friend, site+"/api/debug/pprof/cmdline", nil); r.StatusCode != http.StatusNotFound {
		t.Errorf("more than /v1 can be reached: %d", r.StatusCode)
	}
}

func TestTheDashboardListensOnThisHostOnly(t *testing.T) {
	if s, err := Listen("0.0.0.0:0", control.NewClient("none")); err == nil {
		s.listener.Close()
		t.Error("it listens for everybody")
	}
}

// TestADashboardOfAHundredThousandNodes is used as a person would: by clicks
// and keys in a real browser.
func TestADashboardOfAHundredThousandNodes(t *testing.T) {
	f := newFleet(100_000)
	now := time.Now()
	for i, n := range []int{3, 8, 0, 12, 5} {
		f.move(n, i%4, now.Add(time.Duration(i-9)*11*time.Second))
	}
	f.tell(now.Add(-31*time.Second), note.Note{Kind: note.Denied, HomeAddress: nodeOf(7), NAI: "van7@fleet.example", CareOfAddress: careOf(7, 2), Code: 133, Why: "registration Identification mismatch"})
	b := openBrowser(t, 1360, 900)
	s := dashboard(t, f)
	b.open(s.URL())

	t.Log("the overview")
	b.sees(".tiles", "100,000")
	b.sees(".map", "198.51.100.1")
	b.sees(".feed", "van5@fleet.example moved to 192.0.2.6")
	b.sees(".feed", "van7@fleet.example was denied: 133")
	b.sees("#health", "up 1 d 2 h")

	b.audited("the overview")

	t.Log("a handover is seen happening")
	var before, after float64
	y := `return document.querySelector('[data-id="node 10.10.0.3"]').getBoundingClientRect().y`
	b.eval(y, &before)
	f.move(3, 4, time.Now())
	b.sees(".moved text", "van3@fleet.example")
	b.sees("#said", "van3@fleet.example moved to 192.0.6.4")
	b.until("it stands elsewhere", func() bool { b.eval(y, &after); return after > before+20 })
	b.sees(".feed li:first-child", "van3@fleet.example moved to 192.0.6.4")

	t.Log("a hundred thousand rows, of which few are there")
	b.click(`a[href="#/bindings"]`)
	b.sees(".count", "100,000")
	b.sees(".table .scroll", "10.10.0.1")
	var rows int
	b.eval("return document.querySelectorAll('.table .line').length", &rows)
	if rows < 5 || rows > 100 {
		t.Errorf("%d rows are in the page", rows)
	}
	b.audited("bindings")
	keep(t, "dashboard-bindings", b.screenshot())
	b.eval("document.querySelector('.table .line').focus()", nil)
	b.keys(keyEnd)
	b.sees(".table .line:focus", "10.11.134.159") // the 100,000th
	b.keys(keyHome + keyDown)
	b.sees(".table .line:focus", "10.10.0.1")

	t.Log("sorting")
	b.click(".table [role=columnheader]:nth-child(2) button")
	b.sees(`.table [aria-rowindex="2"]`, "van0@fleet.example")
	b.click(".table [role=columnheader]:nth-child(2) button")
	b.sees(`.table [aria-rowindex="2"]`, "van9@fleet.example")

	t.Log("searching, by keyboard alone")
	b.eval("document.activeElement.blur()", nil)
	b.keys("/van4711@")
	b.sees(".count", "1 of 100,000")
	b.sees(".table .scroll", "10.10.18.103")
	b.keys(keyTab) // past the headers to the row
	b.until("the row has the focus", func() bool {
		if b.text(".table .line:focus") != "" {
			return true
		}
		b.keys(keyTab)
		return false
	})
	f.move(4711, 1, time.Now().Add(-5*time.Minute))
	f.move(4711, 3, time.Now().Add(-90*time.Second))
	b.keys(keyEnter)

	t.Log("a node's timeline")
	b.sees("h1", "van4711@fleet.example")
	b.sees(".timeline", "Moved to 192.0.5.212")
	b.sees(".facts", "192.0.5.212")
	f.move(4711, 0, time.Now())
	b.sees(".timeline li:first-child", "Moved to 192.0.2.212")
	var stays int
	b.until("the lanes have three stays", func() bool {
		b.eval("return document.querySelectorAll('.where rect').length", &stays)
		return stays == 3
	})
	b.audited("a node")
	keep(t, "dashboard-node", b.screenshot())

	t.Log("denials explained")
	b.click(`nav a[href="#/registrations"]`)
	b.click(`details[data-code="133"] summary`)
	b.sees("details[open] .why", "What to do:")
	b.sees(".table .scroll", "registration Identification mismatch")
	b.audited("registrations")
	keep(t, "dashboard-registrations", b.screenshot())

	t.Log("counters")
	b.click(`nav a[href="#/counters"]`)
	b.sees("table", "bindings renewed in place")
	if strings.Contains(b.text("tbody"), "plane.loops") {
		t.Error("zeros are shown unasked")
	}
	b.click("#zero")
	b.sees("tbody", "plane.loops")
	b.audited("counters")

	t.Log("dark and light")
	b.click(`nav a[href="#/"]`)
	b.sees(".map", "198.51.100.1")
	light := b.background()
	b.resize(1360, 1130)
	if *update {
		// A minute of rates makes a better picture than none.
		b.until("a minute has been measured", func() bool { return strings.Contains(b.text(".chart .axis:nth-of-type(2)"), " s ago") })
	}
	keep(t, "dashboard", b.screenshot())
	b.click("#theme")
	if b.background() == light {
		t.Error("the theme did not change")
	}
	f.move(8, 0, time.Now())
	b.sees(".moved text", "van8@fleet.example")
	b.audited("the dark overview")
	keep(t, "dashboard-dark", b.screenshot())
	b.open("http://" + s.listener.Addr().String() + "/")
	b.sees(".map", "198.51.100.1")
	if b.background() == light {
		t.Error("the chosen theme was forgotten")
	}

	t.Log("the first key goes past the navigation")
	b.keys(keyTab)
	b.sees(".skip:focus", "Skip to content")
	b.keys(keyEnter)
	b.sees("main:focus", "")
	for _, complaint := range b.complaints() {
		if !strings.Contains(complaint, "404") || !strings.Contains(complaint, "/api/v1/binding/") {
			t.Error("the browser complains:", complaint)
		}
	}
}

// resize gives the window another size.
func (b *browser) resize(wide, tall int) {
	b.t.Helper()
	b.post("/window/rect", map[string]any{"width": wide, "height": tall}, nil)
}

// background is the page's colour.
func (b *browser) background() (colour string) {
	b.t.Helper()
	b.eval("return getComputedStyle(document.body).backgroundColor", &colour)
	return colour
}
