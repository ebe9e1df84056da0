package daemon

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/buildinfo"
	"careof/internal/control"
)

var _ control.Bundler = (*daemon)(nil)

// bundleRows bounds what one list adds to a bundle.
const bundleRows = 10000

const bundleReadme = `A bundle of a careof daemon, to find out what is wrong with it.

There are no keys in it: the configuration is the one in force with fingerprints in
their place, and not the text of the file. There are addresses and names of nodes.

  version.json     which program this is
  config.txt       the configuration in force
  show/*.json      what careof show prints; lists of more than 10,000 rows are cut
  events.jsonl     the latest events
  log.json         the log levels
  doctor.json      what is right and wrong with the host
  goroutines.txt   what the program is doing
  memory.json      what it uses
  kernel/*         links, addresses, routes, rules, settings
`

// A file is one of a bundle.
type bundled struct {
	name string
	make func(ctx context.Context, w io.Writer) error
}

// Bundle implements [control.Bundler]. A part that fails says so in its place.
func (d *daemon) Bundle(ctx context.Context, w io.Writer) error {
	zip := gzip.NewWriter(w)
	files := tar.NewWriter(zip)
	now := time.Now()
	dir := "careof-" + now.UTC().Format("20060102T150405Z")
	for _, f := range d.bundle() {
		var text bytes.Buffer
		limit, cancel := context.WithTimeout(ctx, 10*time.Second)
		if err := f.make(limit, &text); err != nil {
			fmt.Fprintf(&text, "\nthis part failed: %v\n", err)
		}
		cancel()
		head := &tar.Header{Name: dir + "/" + f.name, Mode: 0o600, Size: int64(text.Len()), ModTime: now, Format: tar.FormatPAX}
		if err := files.WriteHeader(head); err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		if _, err := files.Write(text.Bytes()); err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
	}
	if err := files.Close(); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return zip.Close()
}

func (d *daemon) bundle() []bundled {
	list := []bundled{
		{"README", func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, bundleReadme)
			return err
		}},
		{"version.json", func(_ context.Context, w io.Writer) error { return indented(w, buildinfo.Read()) }},
		{"config.txt", func(_ context.Context, w io.Writer) error {
			fmt.Fprintf(w, "# %s, as it is in force\n", d.cfg.File)
			for _, v := range d.live.config().Values() {
				fmt.Fprintf(w, "%s = %s\n", v.Key, v.Text)
			}
			return nil
		}},
	}
	for _, name := range append(control.Names, control.Asked...) {
		if name == "binding" || name == "config" || name == "timeline" {
			continue // of one node, or there already
		}
		list = append(list, bundled{"show/" + name + ".json", func(ctx context.Context, w io.Writer) error {
			value, err := d.Show(ctx, name, "")
			if err != nil {
				return err
			}
			return indented(w, map[string]any{"schema": control.Schema, name: cut(value)})
		}})
	}
	return append(list, []bundled{
		{"events.jsonl", func(_ context.Context, w io.Writer) error {
			past, _, cancel := d.hub.subscribe(new(uint64))
			cancel()
			for _, e := range past {
				if err := json.NewEncoder(w).Encode(e); err != nil {
					return err
				}
			}
			return nil
		}},
		{"log.json", func(_ context.Context, w io.Writer) error {
			levels, err := d.LogLevels(control.LogLevels{})
			if err != nil {
				return err
			}
			return indented(w, levels)
		}},
		{"doctor.json", func(ctx context.Context, w io.Writer) error { return indented(w, d.Doctor(ctx)) }},
		{"goroutines.txt", func(_ context.Context, w io.Writer) error { return pprof.Lookup("goroutine").WriteTo(w, 1) }},
		{"memory.json", func(_ context.Context, w io.Writer) error {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return indented(w, map[string]any{"goroutines": runtime.NumGoroutine(), "heap_bytes": m.HeapAlloc, "from_system_bytes": m.Sys, "collections": m.NumGC})
		}},
		{"kernel/system.txt", func(_ context.Context, w io.Writer) error { return system(w) }},
		{"kernel/links.txt", func(_ context.Context, w io.Writer) error { return links(w) }},
		{"kernel/routes.txt", func(_ context.Context, w io.Writer) error { return kernelRoutes(w) }},
		{"kernel/sysctl.txt", func(_ context.Context, w io.Writer) error { return sysctls(w) }},
	}...)
}

func indented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// cut shortens a list that is too long for a bundle.
func cut(v any) any {
	list := reflect.ValueOf(v)
	if list.Kind() == reflect.Slice && list.Len() > bundleRows {
		return list.Slice(0, bundleRows).Interface()
	}
	return v
}

func system(w io.Writer) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	fmt.Fprintln(w, unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), unix.ByteSliceToString(u.Machine[:]))
	text, err := os.ReadFile("/etc/os-release")
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

func links(w io.Writer) error {
	list, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range list {
		a := l.Attrs()
		fmt.Fprintf(w, "%d %s %s mtu %d %v %v\n", a.Index, a.Name, l.Type(), a.MTU, a.OperState, a.Flags)
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, one := range addrs {
			fmt.Fprintf(w, "    %v\n", one.IPNet)
		}
	}
	return nil
}

// bundleRoutes bounds the routes of a bundle: a host may have the whole Internet's.
const bundleRoutes = 2000

func kernelRoutes(w io.Writer) error {
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, r := range rules {
		fmt.Fprintln(w, r)
	}
	n := 0
	err = netlink.RouteListFilteredIter(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
		fmt.Fprintf(w, "table %d %v\n", r.Table, r)
		n++
		return n < bundleRoutes
	})
	return err
}

// sysctls prints the settings that matter for forwarding.
func sysctls(w io.Writer) error {
	for _, pattern := range []string{
		"net/ipv4/ip_forward", "net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/arp_*", "net/ipv4/conf/*/promote_secondaries",
		"net/ipv4/conf/*/proxy_arp", "net/ipv6/conf/*/disable_ipv6", "net/core/?mem_max",
	} {
		files, err := filepath.Glob("/proc/sys/" + pattern)
		if err != nil {
			return err
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			name := strings.ReplaceAll(strings.TrimPrefix(f, "/proc/sys/"), "/", ".")
			fmt.Fprintf(w, "%s = %s\n", name, strings.TrimSpace(string(text)))
		}
	}
	return nil
}
