package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/note"
)

const key = `spi = 256
key = "hex:00112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
`

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.toml", "version = 1\n"+text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNotesAreCountedLoggedAtTheirLevelAndHeard(t *testing.T) {
	var log bytes.Buffer
	h := newHub(slog.New(slog.NewTextHandler(&log, nil)), config.Log{Level: slog.LevelInfo, Levels: map[string]slog.Level{"link": slog.LevelDebug}})
	_, events, cancel := h.subscribe(nil)
	h.note(note.Note{Kind: note.Denied, Level: note.Info, Role: "home-agent", Code: 133, HomeAddress: netip.MustParseAddr("10.10.0.5"), Why: "old"})
	h.note(note.Note{Kind: note.Repeated, Level: note.Debug, Role: "home-agent"})
	if e := <-events; e.Kind != note.Denied || e.Time.IsZero() {
		t.Errorf("heard %+v", e)
	}
	cancel()
	for range earRoom + 10 { // nobody listens any more: this must not block
		h.note(note.Note{Kind: note.LinkUp, Level: note.Debug, Link: "eth0"})
	}
	if !strings.Contains(log.String(), "event=denied home=10.10.0.5 code=133 why=old") {
		t.Errorf("the log says %q", log.String())
	}
	if strings.Contains(log.String(), "repeated") {
		t.Error("a debug note was logged at level info")
	}
	// What a role tells it counts itself; the hub counts what the host tells.
	got := h.counters()
	if len(got) != 1 || got[0].Name != "host.link-up" || got[0].Value != earRoom+10 || got[0].Meaning == "" {
		t.Errorf("counters are %+v", got)
	}
}

func TestASlowListenerLosesEventsAndDelaysNobody(t *testing.T) {
	h := newHub(slog.New(slog.DiscardHandler), config.Log{})
	_, events, cancel := h.subscribe(nil)
	defer cancel()
	for range 2 * earRoom {
		h.note(note.Note{Kind: note.Bound})
	}
	if len(events) != earRoom {
		t.Errorf("%d events wait, want %d", len(events), earRoom)
	}
}

func TestUnderJournaldALineBeginsWithItsPriority(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "8:12345")
	var out bytes.Buffer
	log := NewLogger(&out).With("a", 1)
	log.Warn("careful")
	log.Info("well")
	if got, want := out.String(), "<4>msg=careful a=1\n<6>msg=well a=1\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestAHomeAgentsSectionReachesThePlane(t *testing.T) {
	c := parse(t, `[home-agent]
address = "198.51.100.1"
interfaces = ["eth0"]
max-lifetime = "5m"
reverse-tunnel = "required"
nat-traversal = "force"
keepalive = "30s"
simultaneous-bindings = 2
[[home-agent.network]]
prefix = "10.10.0.0/24"
pool = ["10.10.0.100-10.10.0.199"]
[[home-agent.mobile-node]]
nai = "van7@fleet.example"
`+key).HomeAgent
	d := &daemon{cfg: &config.Config{HomeAgent: c}}
	if p := d.planeConfig(d.cfg); len(p.HomeNetworks) != 1 || p.HomeNetworks[0].Link != "eth0" || !p.Forward {
		t.Errorf("the plane is told %+v", p)
	}
}

func TestWhatCannotBeShownIsNotFound(t *testing.T) {
	d := &daemon{cfg: &config.Config{HomeAgent: new(config.HomeAgent)}}
	if _, err := d.Show(t.Context(), "status", ""); err == nil || errors.Is(err, control.ErrNotFound) {
		t.Errorf("before the start, the error is %v", err)
	}
}
