package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"careof/client"
	"careof/internal/config"
	"careof/internal/control"
)

// desk is a daemon with one binding.
type desk struct{ events chan control.Event }

func (desk) Show(_ context.Context, what, argument string) (any, error) {
	if what == "binding" && argument != "10.10.0.5" {
		return nil, control.ErrNotFound
	}
	return []control.Binding{{HomeAddress: netip.MustParseAddr("10.10.0.5"), NAI: "van7@fleet.example", Endpoint: control.Endpoint(netip.MustParseAddrPort("203.0.113.7:434"))}}, nil
}

func (d desk) Subscribe(*uint64) ([]control.Event, <-chan control.Event, func()) {
	return nil, d.events, func() {}
}
func (desk) Ready(context.Context) error { return nil }

func ask(t *testing.T, c *client.Client) {
	t.Helper()
	var bindings []client.Binding
	if err := c.Show(t.Context(), "bindings", "", &bindings); err != nil || len(bindings) != 1 || bindings[0].NAI != "van7@fleet.example" {
		t.Errorf("%+v, %v", bindings, err)
	}
	if page, err := c.Page(t.Context(), "bindings", "search=van7&limit=1", &bindings); err != nil || page.Matched != 1 {
		t.Errorf("%+v, %v", page, err)
	}
	if err := c.Show(t.Context(), "binding", "10.10.0.9", &bindings); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("the error is %v", err)
	}
}

func TestAProgramAsksOverTheSocketAndHearsEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "careof.sock")
	d := desk{make(chan control.Event, 1)}
	s, err := control.Listen(path, "no such group", d)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	defer s.Close()
	c := client.New(path)
	ask(t, c)
	d.events <- client.Event{ID: 7}
	err = c.Monitor(t.Context(), func(text []byte) bool {
		var e client.Event
		if err := json.Unmarshal(text, &e); err != nil || e.ID != 7 {
			t.Errorf("%s, %v", text, err)
		}
		return false
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAProgramAsksOverTCPWithItsToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("0123456789abcdefghij\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := control.ListenTCP(config.Control{Listen: netip.MustParseAddrPort("127.0.0.1:0"), ReadToken: config.NewToken("0123456789abcdefghij")}, desk{})
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	defer s.Close()
	c := client.New("http://" + s.Addr().String())
	var bindings []client.Binding
	if err := c.Show(t.Context(), "bindings", "", &bindings); !errors.Is(err, client.ErrDenied) {
		t.Errorf("without a token: %v", err)
	}
	t.Setenv(control.TokenVariable, file)
	ask(t, c)
}
