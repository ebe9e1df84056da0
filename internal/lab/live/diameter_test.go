package live

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
)

// keysLast is how long keys and authorisations hold in these scenes: renewals come after three quarters of it.
const keysLast = 20 * time.Second

// realms is the laboratory of two realms, with keys that hold for keysLast.
func realms(t *testing.T, o Options) *Lab {
	t.Helper()
	if _, err := exec.LookPath("freeDiameterd"); err != nil {
		t.Skip("there is no freeDiameterd: apt-get install freediameterd freediameter-extensions")
	}
	top, err := topology.Load("diameter-two-realms")
	if err != nil {
		t.Fatal(err)
	}
	n := top.Node("aaah")
	if strings.Count(n.Config, `"1m"`) != 2 {
		t.Fatalf("the home realm's server has other lifetimes by now:\n%s", n.Config)
	}
	n.Config = strings.ReplaceAll(n.Config, `"1m"`, fmt.Sprintf("%q", keysLast))
	if err := top.Check(); err != nil {
		t.Fatal(err)
	}
	l := build(t, top, o)
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := os.ReadFile(filepath.Join(l.Directory, "relay", "log"))
			t.Logf("freeDiameter:\n%s", said)
		}
	})
	return l
}

// A roamer is what the daemons of the two realms have about the node.
type roamer struct{ *Stage }

func (r roamer) aaa(node string) (a control.AAA) {
	_ = r.Daemon(node).Show("aaa", "", &a) // one that does not answer has nothing
	return a
}

// connected says whether a node is connected to all its Diameter peers.
func (r roamer) connected(nodes ...string) bool {
	return !slices.ContainsFunc(nodes, func(node string) bool {
		peers := r.aaa(node).Peers
		return len(peers) == 0 || slices.ContainsFunc(peers, func(p control.AAAPeer) bool { return !strings.HasSuffix(p.State, "-open") })
	})
}

// sessions are those that an AAA server has of the node.
func (r roamer) sessions(node string) []control.AAARealmSession {
	if realm := r.aaa(node).Realm; realm != nil {
		return realm.Sessions
	}
	return nil
}

// made are the fingerprints of the keys that AAA has made, as a daemon uses them.
func (r roamer) made(node string) (prints []string) {
	var list []control.Association
	_ = r.Daemon(node).Show("associations", "", &list)
	for _, a := range list {
		prints = append(prints, a.Fingerprint)
	}
	slices.Sort(prints)
	return slices.Compact(prints)
}

// keys are the fingerprints of the keys that a daemon has told of so far.
func (r roamer) keys(node string) (prints []string) {
	for _, e := range r.Events(node) {
		if e.Kind == "aaa-key" {
			prints = append(prints, e.Why)
		}
	}
	return prints
}

// left says what is left of the node anywhere.
func (r roamer) left() (what []string) {
	var bindings []control.Binding
	var visitors []control.Visitor
	if err := r.Daemon("ha").Show("bindings", "", &bindings); err != nil || len(bindings) > 0 {
		what = append(what, fmt.Sprintf("bindings %+v %v", bindings, err))
	}
	if err := r.Daemon("fa").Show("visitors", "", &visitors); err != nil || len(visitors) > 0 {
		what = append(what, fmt.Sprintf("visitors %+v %v", visitors, err))
	}
	for _, node := range []string{"ha", "fa"} {
		if keys := r.made(node); len(keys) > 0 {
			what = append(what, fmt.Sprintf("%s has keys %v", node, keys))
		}
		if told := r.aaa(node).Sessions; len(told) > 0 {
			what = append(what, fmt.Sprintf("%s tells of %+v", node, told))
		}
	}
	for _, node := range []string{"aaah", "aaaf"} {
		if list := r.sessions(node); len(list) > 0 {
			what = append(what, fmt.Sprintf("%s has %+v", node, list))
		}
	}
	return what
}

var (
	visitedCareOf = netip.MustParseAddr("203.0.113.1")
	visitedAgent  = netip.MustParseAddr("203.0.113.2")
)

// arrive has the node registered in the visited network, with the home agent there.
func (r roamer) arrive() {
	r.Until("all Diameter peers are connected", time.Minute, func() bool { return r.connected("aaah", "aaaf", "fa", "ha") })
	r.Plug("mn", "wlan0", "visited")
	r.registered("the node is registered through the foreign agent, with the home agent that its home realm has assigned there")
}

func (r roamer) registered(what string) {
	r.Until(what, time.Minute, func() bool {
		b := r.Binding("mn")
		return b.Registered && b.CareOf == visitedCareOf && b.HomeAgent == visitedAgent
	})
}

// Two realms, whole: freeDiameter relays between them, with TLS; the home realm assigns a home agent in the visited network and makes
// keys; they expire and are renewed while TCP goes on; the operator of the home realm ends the session, the node comes back; and when it is
// gone, STRs leave nothing of it anywhere. tshark reads every message.
//
//rfc:4004#3.1
//rfc:4004#3.2
//rfc:4004#3.4
//rfc:4004#4.1.3
//rfc:6733#2.8.1
//rfc:6733#13.1
func TestTwoRealmsWithFreeDiameterBetweenThem(t *testing.T) {
	t.Parallel()
	long(t)
	file := filepath.Join(t.TempDir(), "realms.pcapng")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() }) // after the laboratory
	l := realms(t, Options{Capture: out})
	stage := NewStage(t.Context(), l, t.Logf)
	defer stage.Close()
	r := roamer{stage}
	var still []string
	defer func() {
		for _, one := range still {
			t.Log("left: ", one)
		}
	}()
	play := func(scene.Lab) {
		r.arrive()
		for _, node := range []string{"aaah", "aaaf"} {
			for _, p := range r.aaa(node).Peers {
				if p.Identity == "relay.between.example" && (!p.TLS || p.Product != "freeDiameter") {
					t.Errorf("%s is connected to %+v", node, p)
				}
			}
		}
		if list := r.sessions("aaah"); len(list) != 1 || list[0].HomeAgent != visitedAgent || list[0].AgentHost != "ha.visited.example" {
			t.Errorf("the home realm's server has %+v", list)
		}
		// Keys expire and renew, twice, while a connection goes on.
		stream := r.LongStream("mn", "cn", 200_000, 2*keysLast)
		// Where the first answer takes a second, the node has asked again, and got two pairs.
		var told, first []string
		r.Until("the node has a key with each agent, and they with it", time.Minute, func() bool {
			told = r.keys("mn")
			first = told[max(0, len(told)-2):]
			return len(first) == 2 && slices.Contains(r.made("ha"), first[0]) && slices.Contains(r.made("fa"), first[1])
		})
		r.Until("the keys are renewed twice", 4*keysLast, func() bool { return len(r.keys("mn")) >= len(told)+4 })
		r.Until("the first keys have ended everywhere", time.Minute, func() bool {
			return !slices.ContainsFunc(slices.Concat(r.made("mn"), r.made("ha"), r.made("fa")), func(k string) bool { return slices.Contains(first, k) })
		})
		r.Until("all of the connection's octets have arrived", time.Minute, stream.Done)
		// The operator ends the session; the node comes back with another one.
		before := r.sessions("aaah")
		if len(before) != 1 {
			t.Fatalf("the home realm's server has %+v", before)
		}
		ctx, cancel := context.WithTimeout(t.Context(), askLimit)
		defer cancel()
		if _, err := r.Daemon("aaah").client.EndAAA(ctx, control.AAAEndOrder{NAI: "alice@home.example"}); err != nil {
			t.Error(err)
		}
		r.Until("the session is another one", time.Minute, func() bool {
			now := r.sessions("aaah")
			return len(now) == 1 && now[0].ID != before[0].ID
		})
		r.registered("the node is registered again")
		// It goes away without a word.
		r.Unplug("mn", "wlan0")
		r.Until("nothing is left of the node", 90*time.Second, func() bool { still = r.left(); return len(still) == 0 })
	}
	if err := scene.Perform(&scene.Scene{Name: "realms", Play: play}, stage); err != nil {
		t.Fatal(err)
	}
	if err := l.whole.Close(); err != nil {
		t.Fatal(err)
	}
	// tshark reads what went over TLS with the keys that freeDiameter's library has written.
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Log("tshark is not installed: nobody else has read the messages")
		return
	}
	read, err := exec.Command(program, "-2", "-n", "-r", file, "-o", "tls.keylog_file:"+filepath.Join(l.Directory, "relay", KeyLog),
		"-d", "tcp.port==5658,tls", "-d", "tls.port==5658,diameter", "-Y", "diameter", "-T", "fields", "-e", "tcp.port", "-e", "diameter.cmd.code",
		"-e", "diameter.flags.request", "-e", "diameter.Result-Code", "-e", "_ws.malformed", "-e", "_ws.expert.message", "-e", "diameter.avp.unknown").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for line := range strings.Lines(string(read)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 7 {
			t.Fatalf("tshark says %q", line)
		}
		if f[4]+f[5]+f[6] != "" {
			t.Errorf("tshark complains of %q", line)
		}
		over := "TCP"
		if slices.Contains(strings.Split(f[0], ","), "5658") {
			over = "TLS"
		}
		// Several messages may share a segment.
		requests, results := strings.Split(f[2], ","), strings.Split(f[3], ",")
		for i, code := range strings.Split(f[1], ",") {
			result := ""
			if i < len(requests) && requests[i] == "0" && len(results) > 0 {
				result, results = " "+results[0], results[1:]
			}
			seen[over+" "+code+result]++
		}
	}
	t.Logf("tshark has read %v", seen)
	for _, over := range []string{"TCP", "TLS"} {
		for what, code := range map[string]string{
			"CER": "257", "CEA": "257 2001", "AMR": "260", "AMA": "260 2001", "HAR": "262", "HAA": "262 2001", "ACR": "271", "ACA": "271 2001",
			"ASR": "274", "ASA": "274 2001", "STR": "275", "STA": "275 2001",
		} {
			if seen[over+" "+code] == 0 {
				t.Errorf("tshark has seen no %s over %s", what, over)
			}
		}
		if n := seen[over+" 275 5002"]; n > 0 {
			t.Errorf("%d sessions were ended that nobody knew", n)
		}
	}
}

// The home realm's AAA server is killed, and has no session when it comes back: the next renewal makes one, and nobody has noticed. It is
// away for longer than keys last: the node's registration ends, with its keys, and nobody renews or accepts anything without it; it is
// there again by itself when the server is. What the home agent has of keys outlives its own end.
//
//rfc:4004#8.1
//rfc:4004#9.13
func TestTwoRealmsWhenTheHomeServerDies(t *testing.T) {
	t.Parallel()
	stage := NewStage(t.Context(), realms(t, Options{}), t.Logf)
	defer stage.Close()
	r := roamer{stage}
	play := func(scene.Lab) {
		r.arrive()
		before := r.sessions("aaah")
		r.Kill("aaah")
		r.Start("aaah")
		r.Until("the home realm's server has a session of the node again", time.Minute, func() bool {
			now := r.sessions("aaah")
			return len(now) == 1 && len(before) == 1 && now[0].ID != before[0].ID
		})
		// The home agent's process dies: it has the keys, and needs no AAA for what they sign.
		keys := r.made("ha")
		r.Kill("ha")
		r.Start("ha")
		if now := r.made("ha"); !slices.ContainsFunc(now, func(k string) bool { return slices.Contains(keys, k) }) {
			t.Errorf("the home agent had %v and has %v", keys, now)
		}
		r.registered("the node is still registered")
		if !r.Reaches("cn", "mn") {
			t.Error("nothing passes")
		}
		r.Kill("aaah")
		r.Until("the registration has ended", 2*time.Minute, func() bool { return !r.Binding("mn").Registered })
		r.Until("the agents have neither binding nor visit", time.Minute, func() bool {
			var bindings []control.Binding
			var visitors []control.Visitor
			return r.Daemon("ha").Show("bindings", "", &bindings) == nil && len(bindings) == 0 &&
				r.Daemon("fa").Show("visitors", "", &visitors) == nil && !slices.ContainsFunc(visitors, func(v control.Visitor) bool { return v.State == "accepted" })
		})
		r.Start("aaah")
		r.registered("the node is there again")
	}
	if err := scene.Perform(&scene.Scene{Name: "realm-server-dies", Play: play}, stage); err != nil {
		t.Fatal(err)
	}
}
