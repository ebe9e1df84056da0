package aaa_test

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	question "careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/internal/host/aaa"
	"careof/internal/host/aaa/aaatest"
)

// freePorts are n ports that nobody has, for UDP and TCP, and that the kernel gives
// to nobody who lets it choose.
func freePorts(t *testing.T, n int) (list []string) {
	t.Helper()
	for range 1000 {
		if len(list) == n {
			return list
		}
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		tcp, err := net.Listen("tcp", ":"+port)
		if err != nil {
			continue
		}
		defer tcp.Close()
		udp, err := net.ListenPacket("udp", ":"+port)
		if err != nil {
			continue
		}
		defer udp.Close()
		list = append(list, port)
	}
	t.Fatal("there are no free ports")
	return nil
}

// A stock FreeRADIUS, configured as the documentation says: it verifies the
// answer to a challenge, gives home agents the key, the address and the rest of
// it, refuses what it does not know, and writes down what it is told.
//
//rfc:4721#8
//rfc:5030#3.1
//rfc:5030#3.1-2
//rfc:5030#3.1-3
func TestAgainstFreeRADIUS(t *testing.T) {
	ports := freePorts(t, 2)
	dir := aaatest.FreeRADIUS(t, func(f func()) { f() }, "port = 1812", "port = "+ports[0], "port = 1813", "port = "+ports[1])
	c := aaa.NewRADIUS(aaa.RADIUSConfig{
		Servers: []aaa.Server{{
			Address:    netip.MustParseAddrPort("127.0.0.1:" + ports[0]),
			Accounting: netip.MustParseAddrPort("127.0.0.1:" + ports[1]), Secret: []byte(aaatest.Secret),
		}},
		Timeout: 5 * time.Second, NASIdentifier: "ha1.test", NASAddress: netip.MustParseAddr("198.51.100.1"),
	})
	g, err := c.Answer(t.Context(), asking())
	if err != nil {
		t.Fatal(err)
	}
	if g.HomeAgent != netip.MustParseAddr("198.51.100.1") || g.Lifetime != time.Hour || string(g.Class) != "fleet" || len(g.Associations) != 0 {
		t.Errorf("granted %+v", g)
	}
	wrong := asking()
	wrong.Proof.Challenge = []byte("0123456789abcdeF")
	if _, err := c.Answer(t.Context(), wrong); !errors.Is(err, question.ErrRejected) {
		t.Errorf("another challenge: %v", err)
	}
	stranger := asking()
	stranger.NAI = "van8@fleet.example"
	if _, err := c.Answer(t.Context(), stranger); !errors.Is(err, question.ErrRejected) {
		t.Errorf("a stranger: %v", err)
	}

	k, err := assoc.ParseKey("00112233445566778899aabbccddeeff")
	if err != nil {
		t.Fatal(err)
	}
	want, err := assoc.New(256, assoc.HMACSHA256, k, assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	q := question.Authorise{Subject: question.Subject{NAI: "van7@fleet.example"}, SPI: 256}
	g, err = c.Answer(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Associations) != 1 || !g.Associations[0].Equal(want) {
		t.Errorf("associations %v, want %v", g.Associations, want)
	}
	if g.HomeAddress != netip.MustParseAddr("10.10.0.77") || g.Lifetime != time.Hour || g.Interim != 10*time.Minute {
		t.Errorf("granted %+v", g)
	}
	for _, bad := range []question.Authorise{{Subject: q.Subject, SPI: 257}, {Subject: question.Subject{NAI: "van8@fleet.example"}, SPI: 256}} {
		if _, err := c.Answer(t.Context(), bad); !errors.Is(err, question.ErrRejected) {
			t.Errorf("%s, SPI %d: %v", bad.NAI, bad.SPI, err)
		}
	}

	plane := &counting{}
	l := aaa.NewLedger(c, 0, plane.Counters, time.Now)
	go l.Run(t.Context())
	tell := func(m question.Moment) {
		l.Account(question.Account{
			Role: "home-agent", Moment: m, Session: 0xfeed, Key: "ha/10.10.0.77", Began: time.Now(), Class: g.Class, Why: "deregistered",
			Subject: question.Subject{NAI: "van7@fleet.example", HomeAddress: g.HomeAddress},
		})
	}
	tell(question.Start)
	plane.now.Store(&forward.Counters{SentBytes: 5<<32 + 17, ReceivedBytes: 23, SentPackets: 3, ReceivedPackets: 2})
	tell(question.Interim)
	tell(question.Stop)
	text := written(t, dir, "Acct-Status-Type = Stop")
	for _, line := range []string{
		"Acct-Status-Type = Accounting-On", "Acct-Status-Type = Start", "Acct-Status-Type = Interim-Update", `Acct-Session-Id = "000000000000feed"`,
		"Framed-IP-Address = 10.10.0.77", "Acct-Output-Octets = 17", "Acct-Output-Gigawords = 5", "Acct-Input-Octets = 23",
		"Acct-Terminate-Cause = User-Request", "Class = 0x666c656574", `NAS-Identifier = "ha1.test"`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

// written is what the server has written of sessions, once a line is there.
func written(t *testing.T, dir, line string) (text string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(text, line); {
		b, _ := os.ReadFile(filepath.Join(dir, "careof.accounting"))
		text = string(b)
		if time.Now().After(end) {
			t.Fatalf("no %s in\n%s", line, text)
		}
		<-time.After(20 * time.Millisecond)
	}
	return text
}
