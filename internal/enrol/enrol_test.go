package enrol

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
)

// A memory is a store that may fail.
type memory struct {
	records map[string][]byte
	err     error
}

func (m *memory) Apply(_ string, records []engine.Record) error {
	if m.err != nil {
		return m.err
	}
	for _, r := range records {
		if r.Value == nil {
			delete(m.records, string(r.Key))
		} else {
			m.records[string(r.Key)] = bytes.Clone(r.Value)
		}
	}
	return nil
}

func (m *memory) Load(_ string, yield func(engine.Record) error) error {
	for k, v := range m.records {
		if err := yield(engine.Record{Key: []byte(k), Value: v}); err != nil {
			return err
		}
	}
	return nil
}

// An office is a home agent's enrolment, with a clock that tests move.
type office struct {
	*Ledger
	store    *memory
	wall     time.Time
	admitted []Node
	refuse   error
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{store: &memory{records: map[string][]byte{}}, wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	o.reopen(t)
	return o
}

func (o *office) reopen(t *testing.T) {
	t.Helper()
	l, err := Open(o.store, rand.Reader, func() time.Time { return o.wall }, func(n Node) error {
		if o.refuse == nil {
			o.admitted = append(o.admitted, n)
		}
		return o.refuse
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Ledger = l
}

var van = Node{HomeAddress: netip.MustParseAddr("10.10.0.7"), NAI: "van7@fleet.example"}

func (o *office) invite(t *testing.T) Secret {
	t.Helper()
	s, _, err := o.Invite(van, time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve opens the port on loopback and returns a token for the secret.
func (o *office) serve(t *testing.T, s Secret) Token {
	t.Helper()
	_, pin, err := o.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	server, err := o.Listen("127.0.0.1:0", func(g *Grant) { g.HomeAgent = "198.51.100.1" })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return Token{Address: server.Address().String(), Pin: pin, Secret: s}
}

func TestANodeJoinsOnce(t *testing.T) {
	o := newOffice(t)
	token := o.serve(t, o.invite(t))
	read, err := ParseToken(token.String())
	if err != nil || read != token {
		t.Fatalf("the token reads back as %+v, %v", read, err)
	}
	client := []byte("the van's own choice")
	g, err := Join(t.Context(), read, client, "van7")
	if err != nil {
		t.Fatal(err)
	}
	if g.HomeAddress != van.HomeAddress || g.NAI != van.NAI || g.HomeAgent != "198.51.100.1" || len(g.Key) != 32 || g.SPI < 256 {
		t.Errorf("grant %+v", g)
	}
	if len(o.admitted) != 1 || !bytes.Equal(o.admitted[0].Key, g.Key) || o.admitted[0].Host != "van7" {
		t.Errorf("the home agent was told %+v", o.admitted)
	}
	// Its answer was lost: the same again, and no second node.
	if again, err := Join(t.Context(), read, client, "van7"); err != nil || !bytes.Equal(again.Key, g.Key) || len(o.admitted) != 1 {
		t.Errorf("asking again: %v", err)
	}
	// Somebody else has seen the token.
	if _, err := Join(t.Context(), read, []byte("another"), "thief"); !errors.Is(err, ErrRefused) {
		t.Errorf("a used token: %v", err)
	}
	o.reopen(t)
	if nodes := o.Nodes(); len(nodes) != 1 || !bytes.Equal(nodes[0].Key, g.Key) {
		t.Errorf("after a restart: %+v", nodes)
	}
}

// Whoever has a token joins at once, however many silent connections strangers
// hold, from one address or from many.
func TestStrangersKeepNobodyFromJoining(t *testing.T) {
	for _, c := range []struct{ sources, each int }{{1, 400}, {50, 8}} {
		t.Run(fmt.Sprintf("%d of each of %d", c.each, c.sources), func(t *testing.T) {
			o := newOffice(t)
			token := o.serve(t, o.invite(t))
			for i := range c.sources * c.each {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i%c.sources+1))}, Timeout: 5 * time.Second}
				stranger, err := d.Dial("tcp", token.Address)
				if err != nil {
					t.Fatal(err)
				}
				defer stranger.Close()
			}
			ctx, cancel := context.WithTimeout(t.Context(), talkLimit/2)
			defer cancel()
			if _, err := Join(ctx, token, []byte("the van's own choice"), "van7"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestATokenExpires(t *testing.T) {
	o := newOffice(t)
	token := o.serve(t, o.invite(t))
	o.wall = o.wall.Add(time.Hour)
	if _, err := Join(t.Context(), token, []byte("x"), ""); !errors.Is(err, ErrRefused) {
		t.Errorf("an hour later: %v", err)
	}
	if _, _, err := o.Invite(van, time.Hour, nil); err != nil {
		t.Errorf("the name is not free again: %v", err)
	}
}

// TestAnImpostorLearnsNothing: another host answers at the token's address.
func TestAnImpostorLearnsNothing(t *testing.T) {
	o, impostor := newOffice(t), newOffice(t)
	token := o.serve(t, o.invite(t))
	token.Address = impostor.serve(t, Secret{}).Address
	if _, err := Join(t.Context(), token, []byte("x"), ""); !errors.Is(err, ErrImpostor) {
		t.Errorf("an impostor: %v", err)
	}
	if len(o.Nodes()) != 0 {
		t.Error("the token is used up")
	}
}

// TestSecretsAreKeptAsHashes: who reads the store cannot use a token.
func TestSecretsAreKeptAsHashes(t *testing.T) {
	o := newOffice(t)
	s := o.invite(t)
	for k, v := range o.store.records {
		if bytes.Contains(v, s[:]) || strings.Contains(string(v), Token{Secret: s}.String()) {
			t.Errorf("%s holds the secret", k)
		}
	}
}

// TestNothingIsAnsweredThatIsNotTrue: the token stays good when the home
// agent or the disk fails.
func TestNothingIsAnsweredThatIsNotTrue(t *testing.T) {
	o := newOffice(t)
	s := o.invite(t)
	claim := Claim{Secret: s[:], Client: []byte("x")}
	o.refuse = errors.New("not configured")
	if _, err := o.Claim(claim); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("the home agent did not take it: %v", err)
	}
	o.refuse, o.store.err = nil, errors.New("disk full")
	if _, err := o.Claim(claim); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("the disk is full: %v", err)
	}
	o.store.err = nil
	if _, err := o.Claim(claim); err != nil {
		t.Errorf("in the end: %v", err)
	}
}

func TestRemoval(t *testing.T) {
	o := newOffice(t)
	s := o.invite(t)
	if _, err := o.Claim(Claim{Secret: s[:], Client: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if gone, err := o.Remove(van.NAI); err != nil || !gone {
		t.Errorf("%v, %v", gone, err)
	}
	if gone, _ := o.Remove(van.NAI); gone {
		t.Error("removed twice")
	}
	if _, err := o.Claim(Claim{Secret: s[:], Client: []byte("x")}); !errors.Is(err, ErrRefused) {
		t.Errorf("the removed node's token: %v", err)
	}
	o.reopen(t)
	if len(o.Nodes()) != 0 {
		t.Error("it is back after a restart")
	}
}

func TestTwoInvitationsHaveTwoAddresses(t *testing.T) {
	o := newOffice(t)
	next := netip.MustParseAddr("10.10.0.1")
	choose := func(taken func(netip.Addr) bool) (netip.Addr, error) {
		a := next
		for taken(a) {
			a = a.Next()
		}
		return a, nil
	}
	_, one, err1 := o.Invite(Node{}, time.Hour, choose)
	_, two, err2 := o.Invite(Node{}, time.Hour, choose)
	if err1 != nil || err2 != nil || one.Node.HomeAddress == two.Node.HomeAddress {
		t.Errorf("%v %v, %v %v", one.Node, err1, two.Node, err2)
	}
	if _, _, err := o.Invite(one.Node, time.Hour, nil); !errors.Is(err, ErrTaken) {
		t.Errorf("the same again: %v", err)
	}
}

// TestWrongTokensAreRefused: one letter wrong, whichever, or cut.
func TestWrongTokensAreRefused(t *testing.T) {
	text := Token{Address: "vps.example:4434", Secret: Secret{1, 2, 3}}.String()
	for at := range text {
		for _, letter := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") {
			b := []byte(text)
			if strings.EqualFold(string(b[at]), string(letter)) {
				continue
			}
			b[at] = letter
			if got, err := ParseToken(string(b)); err == nil {
				t.Fatalf("letter %d of %d as %c: %+v", at, len(text), letter, got)
			}
		}
		if _, err := ParseToken(text[:at]); err == nil {
			t.Fatalf("cut to %d letters", at)
		}
	}
	if _, err := ParseToken("  " + strings.ToLower(text[:20]) + "\n " + text[20:] + "\n"); err != nil {
		t.Errorf("broken into lines, in small letters: %v", err)
	}
}

// A network has one router: while one node has it, or is invited to, nobody
// else is invited with a part of it.
func TestANetworkIsOneNodes(t *testing.T) {
	o := newOffice(t)
	first, second := van, Node{HomeAddress: van.HomeAddress.Next()}
	first.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24")}
	second.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.20.0.128/25")}
	if _, _, err := o.Invite(first, time.Hour, nil); err != nil {
		t.Fatal(err)
	}
	o.reopen(t)
	_, _, err := o.Invite(second, time.Hour, nil)
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "a token for "+first.Name()+" promises the network 10.20.0.0/24, which 10.20.0.128/25 overlaps") {
		t.Errorf("a part of an invited node's network: %v", err)
	}
	o.wall = o.wall.Add(2 * time.Hour)
	if _, _, err := o.Invite(second, time.Hour, nil); err != nil {
		t.Errorf("a network whose invitation has expired: %v", err)
	}
}
