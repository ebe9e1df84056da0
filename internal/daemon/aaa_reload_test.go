package daemon

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"careof/internal/control"
	"careof/internal/host/aaa/aaatest"
	"careof/internal/host/diameter/diametertest"
)

const reloadedHomeText = `[home-agent]
address = "198.51.100.1"
[[home-agent.network]]
prefix = "10.10.0.0/24"
[aaa]
nas-identifier = "ha1.test"
timeout = "5s"
[[aaa.server]]
address = "192.0.2.9"
secret = "a-long-secret-for-agents"
`

const subscribedMobileText = `[mobile-node]
nai = "van7@fleet.example"
home-agent = "198.51.100.1"
spi = 256
key = "hex:00112233445566778899aabbccddeeff"
algorithm = "hmac-sha256"
[[mobile-node.uplink]]
interface = "eth0"
`

// A node that only FreeRADIUS knows is registered, and the operator moves the
// agent's questions from UDP to TLS and adds a subscriber of its own by reloads:
// binding and session are those of before, the server is asked over TLS, and the
// subscriber is known at once although it was refused a moment ago.
func TestAReloadChangesTheServersAndEndsNothing(t *testing.T) {
	n := wirePair(t)
	n.settle()
	ca := diametertest.NewAuthority(t)
	files, replace := aaatest.RadSec(t, ca, "aaa.home.example")
	aaatest.FreeRADIUSWith(t, n.cn.Do, files, replace...)
	cert := ca.Certificate(t, "ha1.home.example")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"ha.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		"ha.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), "ca.pem": ca.PEM,
	} {
		if err := os.WriteFile(filepath.Join(n.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.home = n.daemon(n.ha, "ha", reloadedHomeText)
	n.mobile = n.daemon(n.mn, "mn", subscribedMobileText)
	n.registered()
	shown := func() (a control.AAA) {
		t.Helper()
		if err := n.home.Show(t.Context(), "aaa", "", &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	bindings := func() (list []control.Binding) {
		t.Helper()
		if err := n.home.Show(t.Context(), "bindings", "", &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	asked := func(nai string) control.AAAVerdict {
		t.Helper()
		v, err := n.home.TestAAA(t.Context(), control.AAATestOrder{NAI: nai})
		if err != nil {
			t.Fatal(err)
		}
		return v.Key
	}
	before, session := bindings(), shown().Sessions
	if len(before) != 1 || len(session) != 1 || shown().Servers[0].TLS != "" {
		t.Fatalf("bindings %+v, sessions %+v", before, session)
	}
	if v := asked("van8@fleet.example"); v.Granted {
		t.Fatalf("%+v", v)
	}

	secure := strings.Replace(reloadedHomeText, "secret = \"a-long-secret-for-agents\"\n", `tls = "on"
tls-name = "aaa.home.example"
tls-cert = "%[1]s/ha.pem"
tls-key = "%[1]s/ha.key"
tls-ca = "%[1]s/ca.pem"
[[aaa.subscriber]]
nai = "van8@fleet.example"
secret = "van8-password"
[[aaa.subscriber.key]]
spi = 256
key = "hex:ffeeddccbbaa99887766554433221100"
algorithm = "hmac-sha256"
`, 1)
	n.write("ha", secure)
	done, err := n.home.Reload(t.Context(), control.ReloadOrder{})
	if err != nil || !done.Applied || done.Ended != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, c := range done.Changes {
		if strings.Contains(c.String(), "ffeeddcc") || strings.Contains(c.String(), "van8-password") || strings.Contains(c.String(), aaatest.Secret) {
			t.Errorf("the change %s has a secret", c)
		}
	}
	if v := asked("van7@fleet.example"); !v.Granted {
		t.Errorf("over TLS: %+v", v)
	}
	if v := asked("van8@fleet.example"); !v.Granted {
		t.Errorf("the new subscriber: %+v", v)
	}
	a := shown()
	if len(a.Servers) != 1 || a.Servers[0].TLS != "TLS 1.3" || a.Servers[0].State != "alive" || a.Subscribers != 1 {
		t.Errorf("shown %+v", a)
	}
	if len(a.Sessions) != 1 || a.Sessions[0].ID != session[0].ID {
		t.Errorf("sessions %+v, before %+v", a.Sessions, session)
	}
	if b := bindings(); len(b) != 1 || b[0].HomeAddress != before[0].HomeAddress {
		t.Errorf("bindings %+v, before %+v", b, before)
	}

	// What belongs to the roles' features, or is where something listens, says so.
	n.write("ha", strings.Replace(secure, "timeout = \"5s\"", "timeout = \"5s\"\nhold = \"2h\"", 1))
	if done, err := n.home.Reload(t.Context(), control.ReloadOrder{}); err != nil || done.Applied || !strings.Contains(done.Restart, "aaa.hold") {
		t.Errorf("%+v, %v", done, err)
	}
}
