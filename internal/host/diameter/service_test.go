package diameter_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	core "careof/internal/core/diameter"
	"careof/internal/core/note"
	"careof/internal/host/diameter"
	"careof/internal/host/diameter/diametertest"
	wire "careof/wire/diameter"
)

var loopback = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}

// An end is a service with what it has told.
type end struct {
	*diameter.Service
	mu    sync.Mutex
	notes []note.Note
}

func (e *end) told() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, n := range e.notes {
		b.WriteString(n.String() + "\n")
	}
	return b.String()
}

// start runs a service until the test ends. It answers every request with success.
func start(t *testing.T, host, realm string, c diameter.Config) *end {
	t.Helper()
	e := &end{}
	c.Node.Host, c.Node.Realm, c.Node.Product = host, realm, "careof test"
	if c.Node.Applications == nil {
		c.Node.Applications = []wire.Application{wire.MobileIPv4}
	}
	c.Note = func(n note.Note) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.notes = append(e.notes, n)
	}
	if c.Deliver == nil {
		c.Deliver = func(d core.Deliver) {
			e.Reply(d.Handle, d.Request.Answer(wire.Success, wire.AuthApplicationID.Uint32(2)))
		}
	}
	var err error
	if e.Service, err = diameter.Start(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		e.Close(ctx)
	})
	return e
}

// eventually waits for something, for as long as a loaded machine may need.
func eventually(t *testing.T, what string, done func() bool, why ...func() string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(45 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			for _, w := range why {
				t.Log(w())
			}
			t.Fatalf("never: %s", what)
		}
	}
}

func (e *end) open(peer string) func() bool {
	return func() bool {
		all, _ := e.Peers()
		for _, p := range all {
			if p.Host == peer && strings.HasSuffix(p.State, "-open") {
				return true
			}
		}
		return false
	}
}

func str(realm string) *wire.Message {
	return wire.NewRequest(wire.SessionTermination, wire.MobileIPv4, wire.SessionID.Text("fa.visited.example;1;2"), wire.DestinationRealm.Text(realm),
		wire.AuthApplicationID.Uint32(2), wire.TerminationCause.Uint32(wire.Logout))
}

func ask(t *testing.T, e *end, s core.Submit) core.Answered {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a, err := e.Do(ctx, s)
	if err != nil {
		t.Fatalf("%v\n%s", err, e.told())
	}
	return a
}

//rfc:6733#2.1
func TestTwoNodesOverTCP(t *testing.T) {
	aaa := start(t, "aaa.home.example", "home.example", diameter.Config{Listen: loopback,
		Peers: []diameter.Peer{{Host: "fa.visited.example", From: []netip.Addr{loopback[0].Addr()}}}})
	fa := start(t, "fa.visited.example", "visited.example", diameter.Config{Peers: []diameter.Peer{{Host: "aaa.home.example", Address: aaa.Addresses()[0]}}})
	eventually(t, "a connection", fa.open("aaa.home.example"), fa.told, aaa.told)
	a := ask(t, fa, core.Submit{Request: str("home.example")})
	if r, _ := a.Answer.Result(); r != wire.Success || a.Peer != "aaa.home.example" || a.Secure {
		t.Errorf("%v from %s", r, a.Peer)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	fa.Close(ctx)
	if ctx.Err() != nil {
		t.Error("the end was not polite")
	}
	eventually(t, "the other hears of it", func() bool { return strings.Contains(aaa.told(), "REBOOTING") }, aaa.told)
}

//rfc:6733#13.1
func TestTwoNodesOverTLS(t *testing.T) {
	ca := diametertest.NewAuthority(t)
	aaaCert, faCert, eveCert := ca.Certificate(t, "aaa.home.example"), ca.Certificate(t, "fa.visited.example"), ca.Certificate(t, "eve.example")
	aaa := start(t, "aaa.home.example", "home.example", diameter.Config{ListenTLS: loopback, Certificate: &aaaCert, Authorities: ca.Pool,
		Peers: []diameter.Peer{{Host: "fa.visited.example", TLS: true}}})
	at := aaa.Addresses()[0]
	peer := []diameter.Peer{{Host: "aaa.home.example", Address: at, TLS: true}}
	fa := start(t, "fa.visited.example", "visited.example", diameter.Config{Certificate: &faCert, Authorities: ca.Pool, Peers: peer})
	eventually(t, "a connection", fa.open("aaa.home.example"), fa.told, aaa.told)
	if a := ask(t, fa, core.Submit{Request: str("home.example"), Secure: true}); !a.Secure {
		t.Error("not secure")
	}
	for _, c := range []struct {
		name string
		cert tls.Certificate
		pool *x509.CertPool
		host string
		want string
	}{
		{"a certificate of another name is closed on without a word", eveCert, ca.Pool, "fa.visited.example", "closed the connection"},
		{"a certificate of another authority", diametertest.NewAuthority(t).Certificate(t, "fa.visited.example"), ca.Pool, "fa.visited.example", "TLS|certificate|closed|reset"},
		{"a server that is somebody else", eveCert, ca.Pool, "eve.example", "the certificate is of"},
	} {
		p := peer
		if c.host == "eve.example" {
			p = []diameter.Peer{{Host: "mallory.example", Address: at, TLS: true}}
		}
		eve := start(t, c.host, "visited.example", diameter.Config{Certificate: &c.cert, Authorities: c.pool, Peers: p})
		eventually(t, c.name, func() bool {
			told := eve.told()
			for _, w := range strings.Split(c.want, "|") {
				if strings.Contains(told, w) {
					return true
				}
			}
			return false
		}, eve.told)
		if eve.open(p[0].Host)() {
			t.Errorf("%s: connected", c.name)
		}
	}
	if _, stats := aaa.Peers(); strings.Contains(aaa.told(), "refused") || stats.Strangers == 0 {
		t.Errorf("strangers are told of, or not counted:\n%s", aaa.told())
	}
}

// "The transport connection MUST be closed using a RESET call".
//
//rfc:6733#2.1
func TestAStreamThatCannotBeFramedIsReset(t *testing.T) {
	aaa := start(t, "aaa", "home", diameter.Config{Listen: loopback})
	c, err := net.Dial("tcp", aaa.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

func TestStrangersGetNoAnswer(t *testing.T) {
	aaa := start(t, "aaa", "home", diameter.Config{Listen: loopback, Peers: []diameter.Peer{{Host: "fa", From: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}})
	cer := wire.NewRequest(wire.CapabilitiesExchange, 0, wire.OriginHost.Text("fa"), wire.OriginRealm.Text("x"), wire.HostIPAddress.Address(loopback[0].Addr()),
		wire.VendorID.Uint32(0), wire.ProductName.Text("x"), wire.AuthApplicationID.Uint32(2))
	octets, err := cer.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", aaa.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write(octets); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
		t.Errorf("%x %v, want a closed connection and nothing else", got, err)
	}
	if aaa.told() != "" {
		t.Errorf("told: %s", aaa.told())
	}
}

// Between two realms stands freeDiameter as a relay, with TLS to one of them and without to the other: capabilities, watchdogs of both sides, a request to the other realm and its answer,
// an AMR with all that it may have, and a polite end.
//
//rfc:6733#2.8.1
//rfc:6733#5.5.1
//rfc:4004#5.1
func TestAgainstFreeDiameterAsRelay(t *testing.T) {
	relay := diametertest.FreeDiameter(t, diametertest.Relay{Host: "relay.between.example", Realm: "between.example",
		Allow: []string{"*.visited.example", "*.home.example"}, Watchdog: 6})
	peer := []diameter.Peer{{Host: "relay.between.example", Address: relay.Address}}
	node := core.Config{Watchdog: 6 * time.Second, Transit: true}
	cert := relay.Authority.Certificate(t, "fa.visited.example")
	fa := start(t, "fa.visited.example", "visited.example", diameter.Config{Node: node, Certificate: &cert, Authorities: relay.Authority.Pool,
		Peers: []diameter.Peer{{Host: "relay.between.example", Address: relay.Secure, TLS: true}}})
	var got *wire.Message
	var aaah *end
	aaah = start(t, "aaah.home.example", "home.example", diameter.Config{Node: node, Peers: peer, Deliver: func(d core.Deliver) {
		if d.Request.Command == wire.AAMobileNode {
			got = d.Request
		}
		aaah.Reply(d.Handle, d.Request.Answer(wire.Success, wire.AuthApplicationID.Uint32(2), wire.MIPHomeAgentAddress.Address(netip.MustParseAddr("192.0.2.1")),
			wire.MIPMobileNodeAddress.Address(netip.MustParseAddr("10.0.0.7")), wire.MIPFAToMNMSA.Group(wire.MIPFAToMNSPI.Uint32(1000),
				wire.MIPAlgorithmType.Uint32(wire.AlgorithmHMACSHA1), wire.MIPSessionKey.Text("0123456789abcdef"))))
	}})
	eventually(t, "connections", func() bool { return fa.open("relay.between.example")() && aaah.open("relay.between.example")() }, fa.told, aaah.told, relay.Log)
	shown, _ := fa.Peers()
	if p := shown[0]; !p.Secure || p.Product != "freeDiameter" || p.Realm != "between.example" || len(p.Applications) == 0 || !strings.Contains(strings.Join(p.Applications, " "), "relay") {
		t.Errorf("%+v", p)
	}
	amr := wire.NewRequest(wire.AAMobileNode, wire.MobileIPv4, wire.SessionID.Text("fa.visited.example;1;2"), wire.AuthApplicationID.Uint32(2),
		wire.UserName.Text("alice@home.example"), wire.DestinationRealm.Text("home.example"), wire.MIPRegRequest.Octets([]byte{1, 2, 3, 4, 5}),
		wire.MIPMNAAAAuth.Group(wire.MIPMNAAASPI.Uint32(1000), wire.MIPAuthInputDataLength.Uint32(5), wire.MIPAuthenticatorLength.Uint32(20), wire.MIPAuthenticatorOffset.Uint32(5)),
		wire.MIPHomeAgentHost.Group(wire.DestinationRealm.Text("home.example"), wire.DestinationHost.Text("ha.home.example")),
		wire.MIPFeatureVector.Uint32(uint32(wire.MNHAKeyRequest)))
	a := ask(t, fa, core.Submit{Request: amr})
	if r, _ := a.Answer.Result(); r != wire.Success {
		t.Errorf("AMA %v", r)
	}
	if host, _ := a.Answer.Text(wire.OriginHost); host != "aaah.home.example" {
		t.Errorf("answered by %s", host)
	}
	if k, _ := a.Answer.Group(wire.MIPFAToMNMSA); k == nil {
		t.Error("the key got lost")
	} else if key, _ := k.Octets(wire.MIPSessionKey); !bytes.Equal(key, []byte("0123456789abcdef")) {
		t.Errorf("key %q", key)
	}
	if rr, _ := got.Text(wire.RouteRecord); rr != "fa.visited.example" {
		t.Errorf("Route-Record %q", rr)
	}
	a = ask(t, fa, core.Submit{Request: str("home.example")})
	if r, _ := a.Answer.Result(); r != wire.Success {
		t.Errorf("STA %v", r)
	}
	// A realm that nobody leads to.
	a = ask(t, fa, core.Submit{Request: str("nowhere.example")})
	if r, _ := a.Answer.Result(); r != wire.UnableToDeliver || a.Answer.Flags&wire.FlagError == 0 {
		t.Errorf("to nowhere: %v", r)
	}
	before, _ := fa.Peers()
	eventually(t, "watchdogs go both ways", func() bool {
		p, _ := fa.Peers()
		return p[0].Sent >= before[0].Sent+1 && p[0].Received >= before[0].Received+1 && p[0].Health == "okay"
	}, fa.told, relay.Log)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	fa.Close(ctx)
	eventually(t, "freeDiameter notices", func() bool {
		return strings.Contains(relay.Log(), "REBOOTING") || strings.Contains(relay.Log(), "Disconnect-Peer")
	}, relay.Log)
}
