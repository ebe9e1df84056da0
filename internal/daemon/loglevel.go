package daemon

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/note"
)

var _ control.Leveller = (*daemon)(nil)

// subsystems says which log level of the configuration a note obeys, by its
// kind; what is not here is about registrations.
var subsystems = map[note.Kind]string{
	note.LinkUp: "link", note.LinkDown: "link", leaseGot: "link", leaseLost: "link",
	note.Resync: "replay", note.Repeated: "replay",
	"captive-portal": "movement", "captive-portal-passed": "movement", "host-configured": "movement", "dns-given": "movement", "dns-taken-back": "movement", "dns-failed": "movement", "home-dhcp": "movement", "home-dhcp-failed": "movement", "home-lease": "movement", "home-lease-lost": "movement", "path-mtu": "movement", "path-dead": "movement", "path-doubt": "movement", "path-doubt-over": "movement", "path-back": "movement",
	note.Lost: "movement", note.Home: "movement", "agent-heard": "advertisement", "agent-lost": "advertisement",
	"keepalive": "nat", "keepalive-bound": "nat", "nat-mapping-lost": "nat", "keepalive-lengthened": "nat",
}

// subsystem says which log level of the configuration a note obeys.
func subsystem(n note.Note) string {
	if name, there := subsystems[n.Kind]; there {
		return name
	}
	if n.Kind == note.Failed && n.Role == "" {
		return "plane"
	}
	return "registration"
}

// levelOf reads a level by its name.
func levelOf(name string) (slog.Level, error) {
	level, err := config.Level.Parse(name)
	if err != nil {
		return 0, fmt.Errorf("%w: log level %w", control.ErrInvalid, err)
	}
	return level, nil
}

// LogLevels implements [control.Leveller]. What is set holds until the next
// start, or until a reload changes the file's levels.
func (d *daemon) LogLevels(order control.LogLevels) (control.LogLevels, error) {
	d.live.reloading.Lock()
	defer d.live.reloading.Unlock()
	levels := *d.hub.levels.Load()
	levels.Levels = maps.Clone(levels.Levels)
	if levels.Levels == nil {
		levels.Levels = make(map[string]slog.Level)
	}
	var err error
	if order.Level != "" {
		if levels.Level, err = levelOf(order.Level); err != nil {
			return control.LogLevels{}, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(order.Levels)) {
		if !slices.Contains(config.Subsystems(), name) {
			return control.LogLevels{}, fmt.Errorf("%w: there is no subsystem %q: %s", control.ErrInvalid, name, strings.Join(config.Subsystems(), ", "))
		}
		if order.Levels[name] == "default" {
			delete(levels.Levels, name)
			continue
		}
		if levels.Levels[name], err = levelOf(order.Levels[name]); err != nil {
			return control.LogLevels{}, err
		}
	}
	if order.Level != "" || len(order.Levels) > 0 {
		d.hub.levels.Store(&levels)
		d.log.Info("log levels were set", "level", levels.Level, "levels", levels.Levels)
	}
	out := control.LogLevels{Level: word(levels.Level), Levels: make(map[string]string)}
	for name, level := range levels.Levels {
		out.Levels[name] = word(level)
	}
	return out, nil
}

func word(l slog.Level) string { return strings.ToLower(l.String()) }
