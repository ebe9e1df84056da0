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
