package daemon

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"careof/internal/control"
	"careof/internal/host/aaa/aaatest"
)

// A node shares a password with a stock FreeRADIUS and no key with anybody: the
// server makes the keys with its home agent and with its foreign agent (RFC 3957),
// and both ends have the same ones. And neither the password nor any other secret
// is to be read anywhere: not in what the daemons show, log at their chattiest,
// capture, or put into a bundle; and they leave no core files.
//
//rfc:3957#3
func TestKeysOfFreeRADIUSAndSecretsThatNobodyReads(t *testing.T) {
	n := wireForeignNet(t)
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	if err := n.mn.H.AddrDel(n.mn.Link("eth0"), &netlink.Addr{IPNet: &net.IPNet{IP: visitorHome.AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	aaatest.FreeRADIUS(t, n.cn.Do)
	const between = "f0112233445566778899aabbccddeeff"
	secrets := map[string]string{"radius": aaatest.Secret, "fa1": between, "aaa": "van7-password"}
	for name, secret := range secrets {
		file := filepath.Join(n.dir, "keys.d", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(secret+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	const chatty = "[log]\nlevel = \"debug\"\n"
	clients := map[string]*control.Client{
		"ha": n.daemon(n.ha, "ha", chatty+with(guide(t, "home agent"), "[home-agent.network]", "pool = \"10.10.0.200-10.10.0.209\"")),
		"fa": n.daemon(n.fa, "fa", chatty+guide(t, "foreign agent")),
	}
	captured := new(growing)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- clients["ha"].Capture(ctx, control.CaptureOrder{}, captured) }()
	n.until("the capture begins", func() bool { return len(captured.bytes()) > 0 })
	mobile := regexp.MustCompile(`(?m)^(spi|key-file|algorithm) = .*\n`).ReplaceAllString(guide(t, "mobile node"), "")
	mobile = strings.Replace(mobile, "secret-file = \"keys.d/aaa\"\n", "secret-file = \"keys.d/aaa\"\nkeys = true\n", 1)
	clients["mn"] = n.daemon(n.mn, "mn", chatty+mobile)

	keys := func(name string) (list []string) {
		var shown struct{ Associations []control.Association }
		n.shownBy(clients[name], "associations", &shown)
		for _, a := range shown.Associations {
			list = append(list, a.Fingerprint)
		}
		return list
	}
	common := func(a, b string) (found []string) {
		for _, k := range keys(a) {
			if slices.Contains(keys(b), k) {
				found = append(found, k)
			}
		}
		return found
	}
	n.until("node and home agent have a key in common", func() bool { return len(common("mn", "ha")) > 0 })
	n.until("node and foreign agent have one", func() bool { return len(common("mn", "fa")) > 0 })
	if home, foreign := common("mn", "ha"), common("mn", "fa"); home[0] == foreign[0] {
		t.Errorf("both keys are %s", home[0])
	}
	n.until("the visit is accepted", func() bool {
		var shown struct{ Visitors []control.Visitor }
		n.shownBy(clients["fa"], "visitors", &shown)
		return len(shown.Visitors) == 1 && shown.Visitors[0].State == "accepted"
	})

	said := make(map[string]string)
	for name, c := range clients {
		for _, what := range control.Names {
			if text, err := c.Raw(t.Context(), what, ""); err == nil {
				said[name+" show "+what] = string(text)
			}
		}
		if v, err := c.TestAAA(t.Context(), control.AAATestOrder{NAI: "van7@fleet.example", Secret: "van7-password"}); err == nil {
			said[name+" aaa test"] = fmt.Sprintf("%+v %+v", v, v.Challenge)
		}
		var bundle bytes.Buffer
		if err := c.Bundle(t.Context(), &bundle); err != nil {
			t.Fatal(err)
		}
		for file, text := range unpack(t, bundle.Bytes()) {
			said[name+" bundle "+file] = text
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", n.process[name].Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^Max core file size +[01] +[01] `).Match(limits) {
			t.Errorf("%s may leave a core file:\n%s", name, limits)
		}
	}
	stop()
	<-ended
	said["ha capture"] = string(captured.bytes())
	for name := range clients {
		process := n.process[name]
		n.end(name, syscall.SIGTERM)
		said[name+" log"] = process.Stderr.(*bytes.Buffer).String()
	}
	if len(said) < 60 || !strings.Contains(said["ha log"], "van7@fleet.example") {
		t.Errorf("only %d texts are looked at", len(said))
	}
	for what, text := range said {
		for name, secret := range secrets {
			forms := []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))}
			if octets, err := hex.DecodeString(secret); err == nil {
				forms = append(forms, string(octets), base64.StdEncoding.EncodeToString(octets))
			}
			for _, form := range forms {
				if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
					t.Errorf("%s has the secret %q", what, name)
				}
			}
		}
	}
}
