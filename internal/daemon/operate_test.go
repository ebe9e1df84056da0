package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/note"
)

func TestTheDoctorIsAskedThroughTheDaemon(t *testing.T) {
	n := newPairNet(t)
	for name, c := range map[string]*control.Client{"home agent": n.home, "mobile node": n.mobile} {
		list, err := c.Doctor(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]control.Finding)
		for _, f := range list {
			found[f.Check] = f
		}
		for _, check := range []string{"config", "daemon", "privileges", "tun", "addresses", "interfaces", "port", "forwarding", "firewall", "home-agent"} {
			if f := found[check]; f.Result != "ok" {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
	// By its file too: who looks at the host without it would take what it has for
	// somebody else's, and say how to remove it.
	for _, f := range Doctor(t.Context(), filepath.Join(n.dir, "mn.toml")) {
		if (f.Check == "daemon" || f.Check == "stale-state" || f.Check == "tun") && f.Result != "ok" {
			t.Errorf("by its file: %+v", f)
		}
	}
	n.until("what somebody breaks while it runs is found", func() bool {
		n.ha.Sysctl("net/ipv4/ip_forward", 0) // the upkeep puts it back
		list, err := n.home.Doctor(t.Context())
		return err == nil && slices.ContainsFunc(list, func(f control.Finding) bool { return f.Check == "forwarding" && f.Result == "fail" })
	})
}

func TestLogLevelsChangeWhileItRuns(t *testing.T) {
	var log bytes.Buffer
	d := &daemon{log: slog.New(slog.DiscardHandler), hub: newHub(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), config.Log{Level: slog.LevelInfo})}
	say := func(kind note.Kind) bool {
		log.Reset()
		d.hub.note(note.Note{Kind: kind, Level: note.Debug, Role: "home-agent"})
		return log.Len() > 0
	}
	if say(note.Refreshed) {
		t.Error("a debug note was logged at level info")
	}
	got, err := d.LogLevels(control.LogLevels{Levels: map[string]string{"registration": "debug"}})
	if err != nil || got.Level != "info" || got.Levels["registration"] != "debug" {
		t.Fatalf("%+v, %v", got, err)
	}
	if !say(note.Refreshed) || say(note.Repeated) {
		t.Error("not the subsystem's own level counts")
	}
	if _, err := d.LogLevels(control.LogLevels{Level: "debug", Levels: map[string]string{"registration": "default"}}); err != nil || !say(note.Repeated) {
		t.Errorf("the level of everything does not count: %v", err)
	}
	for _, bad := range []control.LogLevels{{Level: "loud"}, {Levels: map[string]string{"weather": "debug"}}, {Levels: map[string]string{"nat": "loud"}}} {
		if _, err := d.LogLevels(bad); !errors.Is(err, control.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestEverySubsystemOfANoteIsOneOfTheConfiguration(t *testing.T) {
	known := strings.Join(config.Subsystems(), " ")
	for kind, name := range subsystems {
		if !strings.Contains(known, name) {
			t.Errorf("%s obeys the level of %q, which nobody can set", kind, name)
		}
	}
}

func TestSIGHUPReloads(t *testing.T) {
	n := newPairNet(t)
	n.write("ha", with(pairHomeText, "home-agent", "max-lifetime = \"1m\""))
	if err := n.process["ha"].Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	n.until("it is in force", func() bool { return strings.Contains(n.setting("home-agent.max-lifetime"), "1m") })
	if len(n.bindings()) != 1 {
		t.Error("the binding is gone")
	}
}

// An SNMP agent that is away is no secret of the log's.
func TestAnSNMPAgentThatIsAwayIsShown(t *testing.T) {
	n := newPairNet(t)
	n.end("ha", syscall.SIGTERM)
	n.write("ha", pairHomeText+"[snmp]\nmaster = \"unix:%[1]s/no-master\"\n")
	n.start(n.ha, "ha", "/proc/self/exe")
	n.answers("ha")
	n.until("the status tells that nobody is there", func() bool {
		var s control.Status
		return n.home.Show(t.Context(), "status", "", &s) == nil && slices.ContainsFunc(s.Warnings, func(w string) bool {
			return strings.Contains(w, "/no-master") && strings.Contains(w, "no such file")
		})
	})
	list, err := n.home.Doctor(t.Context())
	if err != nil || !slices.ContainsFunc(list, func(f control.Finding) bool { return f.Check == "snmp" && f.Result == "warn" && f.Fix != "" }) {
		t.Errorf("the doctor found %+v, %v", list, err)
	}
}
