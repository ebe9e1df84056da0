package ha_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/wire/mip4"
)

var rewrite = flag.Bool("rewrite", false, "write the traces of testdata/*.txt anew")

// TestScripts plays testdata/*.txt. Lines that begin with ">" are commands,
// with "#" comments; the rest is the trace that the commands leave. A change of
// behaviour is a diff of these files: go test -run Scripts -rewrite.
//
//	> wait DURATION                 time passes, deadlines are met
//	> fail                          the next commit fails
//	> hold, > release               commits wait, and come true
//	> restart DURATION              a new life with the old one's records
//	> request WHO [KEY=VALUE ...]   WHO is 10.10.0.5 or van; keys: careof, src, lifetime, flags, home,
//	                                agent, dst, link, key=wrong, id=OFFSET, as=NAME (remembers it)
//	> replay NAME [src=...]         a remembered request again
//	> show                          the bindings
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			w, g := strings.Split(string(want), "\n"), strings.Split(got, "\n")
			for i := range max(len(w), len(g)) {
				a, b := "(end)", "(end)"
				if i < len(w) {
					a = w[i]
				}
				if i < len(g) {
					b = g[i]
				}
				if a != b {
					t.Fatalf("%s:%d:\nwant %s\ngot  %s", file, i+1, a, b)
				}
			}
		})
	}
}

// A player plays one script.
type player struct {
	*driver
	out   bytes.Buffer
	known map[string]engine.Packet
}

func play(t *testing.T, script string) string {
	p := &player{known: make(map[string]engine.Packet)}
	p.take(newDriver(t, config(t)))
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "#") || line == "":
			p.out.WriteString(line + "\n")
		case strings.HasPrefix(line, "> "):
			p.out.WriteString(line + "\n")
			p.run(strings.Fields(line[2:]))
		}
	}
	return p.out.String()
}

func (p *player) take(d *driver) { p.driver, d.trace = d, p.traced }

func (p *player) say(format string, args ...any) { fmt.Fprintf(&p.out, "  "+format+"\n", args...) }

func (p *player) run(words []string) {
	p.t.Helper()
	args := make(map[string]string)
	var plain []string
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			args[k] = v
		} else {
			plain = append(plain, w)
		}
	}
	switch words[0] {
	case "wait":
		p.advance(p.duration(plain[0]))
	case "fail":
		p.broken = errTest
	case "hold":
		p.hold = true
	case "release":
		p.release()
	case "restart":
		p.take(p.restart(config(p.t), p.duration(plain[0])))
		for e := range p.a.Entries() {
			p.say("entry %s", p.entryText(e))
		}
	case "request":
		packet := p.request(plain[0], args)
		if as := args["as"]; as != "" {
			p.known[as] = packet
		}
		p.step(packet)
	case "replay":
		packet := p.known[plain[0]]
		if src := args["src"]; src != "" {
			packet.Src = netip.MustParseAddrPort(src)
		}
		p.step(packet)
	case "show":
		for _, b := range p.bindings() {
			p.say("binding %v %s care-of %v endpoint %v %s flags %s remaining %s", b.HomeAddress, b.NAI, b.CareOfAddress, b.Endpoint, b.Encapsulation, b.Flags, b.Remaining)
		}
	default:
		p.t.Fatalf("unknown command %q", words[0])
	}
}

func (p *player) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

func (p *player) request(who string, args map[string]string) engine.Packet {
	r := p.req()
	if who == "van" {
		r = p.van()
	}
	for _, k := range []string{"careof", "src", "lifetime", "flags", "home", "agent", "dst", "link", "key", "id"} {
		v, ok := args[k]
		if !ok {
			continue
		}
		switch k {
		case "careof":
			r.careOf = netip.MustParseAddr(v)
			r.src = netip.AddrPortFrom(r.careOf, 40000)
		case "src":
			r.src = netip.MustParseAddrPort(v)
		case "lifetime":
			fmt.Sscan(v, &r.lifetime)
		case "flags":
			r.flags = 0
			for i, c := range "SBDMGrTx" {
				if strings.ContainsRune(v, c) {
					r.flags |= 0x80 >> i
				}
			}
		case "home":
			r.home = netip.MustParseAddr(v)
		case "agent":
			r.agent = netip.MustParseAddr(v)
		case "dst":
			r.dst = netip.AddrPortFrom(netip.MustParseAddr(v), 434)
		case "link":
			r.link, r.hw = v, nodeMAC
		case "key":
			r.key = mustAssoc(p.t, r.key.SPI(), "a wrong key, it is", assoc.Timestamps)
		case "id":
			r.id = assoc.Timestamp(p.now.Wall.Add(p.duration(v)))
		}
	}
	return r.packet(p.t)
}

func (p *player) entryText(e forward.Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", e.Key)
	if e.Intercept != "" {
		fmt.Fprintf(&b, " on %s", e.Intercept)
	}
	for _, t := range e.Tunnels {
		mode := [...]string{forward.Both: "both", forward.Receive: "receive", forward.Send: "send"}[t.Mode]
		until := "for ever"
		if !t.Until.IsZero() {
			until = "for " + t.Until.Sub(p.now.Mono).String()
		}
		fmt.Fprintf(&b, " [%v %v %s %s]", t.Encap, t.Peer.Addr(), mode, until)
	}
	return b.String()
}

// traced writes down one action.
func (p *player) traced(v any) {
	switch v := v.(type) {
	case engine.Send:
		m, err := mip4.Parse(v.Data)
		if err != nil {
			p.t.Fatal(err)
		}
		r, err := m.Reply()
		if err != nil {
			p.t.Fatal(err)
		}
		var exts []string
		for _, e := range m.Exts {
			exts = append(exts, fmt.Sprint(uint8(e.Type)))
		}
		on := ""
		if v.Link != "" {
			on = fmt.Sprintf(" on %s to %v", v.Link, v.HW)
		}
		p.say("reply %d (%v) lifetime %d home %v agent %v extensions %s: %v -> %v%s",
			uint8(r.Code), r.Code, r.Lifetime, r.HomeAddress, r.HomeAgent, strings.Join(exts, ","), v.Src, v.Dst, on)
	case engine.Commit:
		var keys []string
		for _, r := range v.Records {
			keys = append(keys, string(r.Key))
		}
		slices.Sort(keys)
		p.say("durable %s", strings.Join(keys, " "))
	case forward.Change:
		switch v.Op {
		case forward.Put:
			p.say("put %s", p.entryText(v.Entry))
		case forward.Delete:
			p.say("delete %s returned to %v", v.Entry.Key, v.ReturnedTo)
		case forward.Extend:
			p.say("extend %s for %v", v.Entry.Key, v.Until.Sub(p.now.Mono))
		}
	case engine.Tell:
		n := v.Note
		n.Identification, n.HomeAgent = 0, netip.Addr{}
		p.say("note %v", n)
	case engine.Announce:
		p.say("announce %v at %v on %s", v.Address, v.HW, v.Link)
	case error:
		p.say("commit fails: %v", v)
	}
}
