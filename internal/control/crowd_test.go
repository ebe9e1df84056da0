package control

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"careof/internal/config"
)

// besiege opens idle connections from several addresses of loopback and keeps
// them.
func besiege(t *testing.T, address string, sources, each int) {
	t.Helper()
	for s := range sources {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(s+1))}, Timeout: 5 * time.Second}
		for range each {
			c, err := d.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}
	}
}

// Whoever has a token gets in at once, however many idle connections others
// hold, from one address or from many; and who was in before stays.
func TestStrangersKeepNobodyWithATokenOut(t *testing.T) {
	for _, c := range []struct{ sources, each int }{{1, 600}, {100, 6}} {
		t.Run(fmt.Sprintf("%d from each of %d", c.each, c.sources), func(t *testing.T) {
			address := overTCP(t, config.Control{}, &desk{})
			ask := func(client *http.Client, limit time.Duration) (reused bool) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/bindings", nil)
				if err != nil {
					t.Fatal(err)
				}
				bearer(readText)(r)
				response, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, response.Body) // or the connection is not used again
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Fatalf("status %d", response.StatusCode)
				}
				return reused
			}
			early := &http.Client{Transport: &http.Transport{}}
			defer early.CloseIdleConnections()
			ask(early, patienceOfHolders)
			besiege(t, address, c.sources, c.each)
			late := &http.Client{Transport: &http.Transport{}}
			defer late.CloseIdleConnections()
			ask(late, patienceOfHolders)
			if !ask(early, patienceOfHolders) {
				t.Error("a connection that had shown a token was closed for strangers")
			}
		})
	}
}

// patienceOfHolders is less than any time-out of the server.
const patienceOfHolders = 2 * time.Second

// The connection that goes for a new one is the oldest without a token of the
// source with most of them, and never one with a token.
func TestTheLongestStrangerGoes(t *testing.T) {
	c := newCrowd(nil, 4, 2)
	visit := func(source string) *visitor {
		a, _ := net.ResolveTCPAddr("tcp", source+":1")
		return &visitor{crowd: c, source: sourceOf(a)}
	}
	enter := func(v *visitor, want *visitor, in bool) {
		t.Helper()
		if gone, entered := c.enter(v); gone != want || entered != in {
			t.Errorf("for %v goes %v (let in: %v), want %v (%v)", v.source, gone, entered, want, in)
		}
	}
	a1, a2, a3 := visit("192.0.2.1"), visit("192.0.2.1"), visit("192.0.2.1")
	b1, b2 := visit("192.0.2.2"), visit("192.0.2.2")
	enter(a1, nil, true)
	enter(a2, nil, true)
	enter(a3, a1, true) // its source has too many
	enter(b1, nil, true)
	c.known(b1)
	enter(b2, nil, true)
	d1, d2 := visit("[2001:db8::1]"), visit("[2001:db8::2]") // one network
	enter(d1, a2, true)                                      // full: of the source with most
	c.known(a3)
	c.known(b2)
	enter(d2, d1, true)
	c.known(d2)
	enter(visit("192.0.2.3"), nil, false) // nobody can go for it
	c.remove(b1)
	c.remove(b1) // leaves only once
	enter(visit("192.0.2.3"), nil, true)
}
