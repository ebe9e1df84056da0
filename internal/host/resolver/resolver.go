// Package resolver gives the host's programs other name servers for a while, and takes
// them back: those of a mobile node's home network, while it is registered.
//
// Two ways are known: systemd-resolved, which has name servers for each link, and the
// file resolv.conf. What is done is written down before it is done, so that the next
// process takes back what one left that was killed.
//
// resolv.conf is written in place: it may be a mount or a symbolic link, and its
// directory one that the daemon cannot write. When somebody else writes it meanwhile (a
// DHCP client, after a move), what he wrote is what comes back later.
//
// What must not go in here: where the name servers come from.
package resolver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Kind is a way to give name servers to a host.
type Kind uint8

// The ways.
const (
	Auto     Kind = iota // Resolved where it runs, else File
	Resolved             // systemd-resolved
	File                 // resolv.conf
)

// Config says how, and where.
type Config struct {
	Kind   Kind
	Device string // whose name servers they are, at systemd-resolved
	File   string // resolv.conf
	Record string // the file in which is kept what was done
}

// Settings are what a host is given.
type Settings struct {
	Servers []netip.Addr // in the order in which they are asked
	Domain  string       // short names are completed with it; may be empty
	// Everything says that all names are asked of them; else only those of Domain,
	// where the host can tell the difference.
	Everything bool
}

// Given is what a host has been given, and by which way.
type Given struct {
	Way string // "systemd-resolved", or resolv.conf's path
	Settings
}

// maxFile bounds the resolv.conf that is read.
const maxFile = 64 << 10

// commandLimit is how long resolvectl may take.
const commandLimit = 10 * time.Second

// marker is the first line of a resolv.conf that is ours.
const marker = "# Written by careof: name servers of the home network, while this node is registered."

// A Resolver is a host's. It is for one goroutine.
type Resolver struct {
	cfg   Config
	given *Given
	run   string // where systemd-resolved keeps its state
}

// New makes one; nothing happens yet.
func New(cfg Config) *Resolver { return &Resolver{cfg: cfg, run: "/run/systemd/resolve"} }

// record is what stands in Config.Record.
type record struct {
	Device string `json:"device,omitempty"` // systemd-resolved was told about it
	File   string `json:"file,omitempty"`   // this file was written
	Before []byte `json:"before,omitempty"` // and had this content
	Absent bool   `json:"absent,omitempty"` // or was not there
}

// Given is what the host has now; nil when it has what it had before.
func (r *Resolver) Given() *Given { return r.given }

// Give gives the host the settings, or repairs what somebody else changed; it may be
// called again and again. done says that something was done.
func (r *Resolver) Give(ctx context.Context, s Settings) (done bool, err error) {
	if r.resolved() {
		if r.given != nil && r.given.equal(s) {
			return false, nil
		}
		if err := r.giveResolved(ctx, s); err != nil {
			return false, err
		}
		r.given = &Given{Way: "systemd-resolved", Settings: s}
		return true, nil
	}
	done, err = r.giveFile(s)
	if err == nil {
		r.given = &Given{Way: r.cfg.File, Settings: s}
	}
	return done, err
}

// TakeBack gives the host what it had before, also when it was an earlier process that
// gave something else. done says that there was something.
func (r *Resolver) TakeBack(ctx context.Context) (done bool, err error) {
	b, err := os.ReadFile(r.cfg.Record)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.given = nil
		return false, nil
	case err != nil:
		return false, fmt.Errorf("resolver: %w", err)
	}
	var was record
	if err := json.Unmarshal(b, &was); err != nil {
		return false, fmt.Errorf("resolver: %s: %w", r.cfg.Record, err)
	}
	if was.Device != "" {
		err = resolvectl(ctx, "revert", was.Device)
		if err != nil && !present(was.Device) {
			err = nil // what was told about a device goes with it
		}
	}
	if was.File != "" {
		err = errors.Join(err, was.restore())
	}
	if err != nil {
		return false, err
	}
	if err := os.Remove(r.cfg.Record); err != nil {
		return false, fmt.Errorf("resolver: %w", err)
	}
	r.given = nil
	return true, nil
}

// resolved says which of the two ways it is.
func (r *Resolver) resolved() bool {
	if r.cfg.Kind != Auto {
		return r.cfg.Kind == Resolved
	}
	_, err := os.Stat(filepath.Join(r.run, "resolv.conf"))
	_, missing := exec.LookPath("resolvectl")
	return err == nil && missing == nil
}

func (r *Resolver) giveResolved(ctx context.Context, s Settings) error {
	if err := r.write(record{Device: r.cfg.Device}); err != nil {
		return err
	}
	servers := []string{"dns", r.cfg.Device}
	for _, a := range s.Servers {
		servers = append(servers, a.String())
	}
	domains := []string{"domain", r.cfg.Device}
	if s.Domain != "" {
		domains = append(domains, s.Domain)
	}
	everything := "no"
	if s.Everything {
		// "~." makes the link the one for all names that no other link has.
		domains, everything = append(domains, "~."), "yes"
	}
	if len(domains) == 2 {
		domains = append(domains, "")
	}
	return errors.Join(resolvectl(ctx, servers...), resolvectl(ctx, domains...), resolvectl(ctx, "default-route", r.cfg.Device, everything))
}

func resolvectl(ctx context.Context, arguments ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "resolvectl", arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("resolver: resolvectl %s: %w: %s", strings.Join(arguments, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func present(device string) bool {
	_, err := os.Stat(filepath.Join("/sys/class/net", device))
	return err == nil
}

func (r *Resolver) giveFile(s Settings) (done bool, err error) {
	now, there, err := readFile(r.cfg.File)
	if err != nil {
		return false, err
	}
	was := record{File: r.cfg.File, Before: now, Absent: !there}
	if ours(now) {
		// The options that it had before are kept, and nothing is written down anew.
		b, err := os.ReadFile(r.cfg.Record)
		if err != nil {
			return false, fmt.Errorf("resolver: %w", err)
		}
		if err := json.Unmarshal(b, &was); err != nil {
			return false, fmt.Errorf("resolver: %s: %w", r.cfg.Record, err)
		}
		if bytes.Equal(now, s.file(was.Before)) {
			return false, nil
		}
	} else if err := r.write(was); err != nil {
		return false, err
	}
	return true, writeFile(r.cfg.File, s.file(was.Before))
}

func ours(content []byte) bool { return bytes.HasPrefix(content, []byte(marker+"\n")) }

// file is a resolv.conf. Options are about how programs ask, so they stay what they
// were before; other name servers are not asked, they would learn what is asked for.
func (s *Settings) file(before []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, marker)
	fmt.Fprintln(&b, "# What was here comes back when it is not.")
	if s.Domain != "" {
		fmt.Fprintln(&b, "search", s.Domain)
	}
	for _, a := range s.Servers {
		fmt.Fprintln(&b, "nameserver", a)
	}
	for line := range strings.Lines(string(before)) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word == "options" {
			fmt.Fprintln(&b, strings.TrimSpace(line))
		}
	}
	return b.Bytes()
}

func (s *Settings) equal(o Settings) bool {
	return bytes.Equal(s.file(nil), o.file(nil)) && s.Everything == o.Everything
}

// restore gives a file its content back, unless somebody else has written it since.
func (was *record) restore() error {
	now, there, err := readFile(was.File)
	switch {
	case err != nil:
		return err
	case !there || !ours(now):
		return nil
	case was.Absent:
		if os.Remove(was.File) == nil {
			return nil
		}
		return writeFile(was.File, nil) // its directory is not ours to change
	}
	return writeFile(was.File, was.Before)
}

func readFile(name string) (content []byte, there bool, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("resolver: %w", err)
	}
	defer f.Close()
	content, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s is longer than %d octets", name, maxFile)
	}
	if err != nil {
		return nil, false, fmt.Errorf("resolver: %w", err)
	}
	return content, true, nil
}

// writeFile writes in place, and makes it shorter at the end: at no moment is the file
// empty.
func writeFile(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Truncate(int64(len(content)))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	return nil
}

// write keeps a record, durably, before what it is about is done.
func (r *Resolver) write(was record) error {
	b, err := json.Marshal(was)
	if err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	next := r.cfg.Record + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, r.cfg.Record)
	}
	if err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	return nil
}
