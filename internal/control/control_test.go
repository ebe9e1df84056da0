package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"careof/internal/core/note"
)

// desk is a backend with one binding and a stream of events.
type desk struct {
	events  chan Event
	past    []Event
	many    []Binding // instead of the one
	asked   int
	unready error
}

func (d *desk) Show(ctx context.Context, what, argument string) (any, error) {
	switch what {
	case "bindings":
		if d.asked++; d.many != nil {
			return d.many, nil
		}
		return []Binding{sample()}, nil
	case "binding":
		if argument != "10.10.0.5" {
			return nil, fmt.Errorf("%w: no binding of %s", ErrNotFound, argument)
		}
		return []Binding{sample()}, nil
	case "counters":
		return nil, context.DeadlineExceeded
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, what)
}

func (d *desk) Subscribe(after *uint64) ([]Event, <-chan Event, func()) {
	var past []Event
	for _, e := range d.past {
		if after != nil && e.ID > *after {
			past = append(past, e)
		}
	}
	return past, d.events, func() {}
}

func (d *desk) Ready(context.Context) error { return d.unready }

func sample() Binding {
	return Binding{
		HomeAddress: netip.MustParseAddr("10.10.0.5"), CareOfAddress: netip.MustParseAddr("192.168.8.100"),
		Endpoint: Endpoint(netip.MustParseAddrPort("203.0.113.7:40001")), Encapsulation: "udp", NAT: true, ReverseTunnel: true,
		State: "active", Granted: Seconds(10 * time.Minute), Remaining: Seconds(9*time.Minute + 1500*time.Millisecond),
	}
}

// serving has a server serve until the test ends.
func serving(t *testing.T, s *Server) {
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
}

func serve(t *testing.T, d *desk) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "careof.sock")
	s, err := Listen(path, "no such group", d)
	if err != nil {
		t.Fatal(err)
	}
	serving(t, s)
	return NewClient(path)
}

func TestWhatTheBackendShowsReachesTheClient(t *testing.T) {
	c := serve(t, &desk{})
	var list []Binding
	if err := c.Show(t.Context(), "bindings", "", &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || !reflect.DeepEqual(list[0], sample()) {
		t.Errorf("got %+v, want %+v", list, sample())
	}
	raw, err := c.Raw(t.Context(), "bindings", "")
	if err != nil {
		t.Fatal(err)
	}
	var shape struct {
		Schema   int
		Bindings []map[string]any
	}
	if err := json.Unmarshal(raw, &shape); err != nil {
		t.Fatal(err)
	}
	if shape.Schema != 1 || shape.Bindings[0]["remaining"] != 541.5 || shape.Bindings[0]["care_of_address"] != "192.168.8.100" {
		t.Errorf("the JSON is %s", raw)
	}
	var table bytes.Buffer
	if err := Table(&table, "bindings", raw); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"HOME ADDRESS", "10.10.0.5", "203.0.113.7:40001", "udp,nat,clear", "9m2s"} {
		if !strings.Contains(table.String(), word) {
			t.Errorf("the table lacks %q:\n%s", word, table.String())
		}
	}
}

func TestErrorsKeepTheirMeaningAcrossTheSocket(t *testing.T) {
	c := serve(t, &desk{})
	var list []Binding
	if err := c.Show(t.Context(), "binding", "10.10.0.9", &list); !errors.Is(err, ErrNotFound) || err.Error() != "not found: no binding of 10.10.0.9" {
		t.Errorf("error is %q, want ErrNotFound, said once", err)
	}
	if err := c.Show(t.Context(), "counters", "", &list); !errors.Is(err, ErrTimeout) {
		t.Errorf("error is %v, want ErrTimeout", err)
	}
	nobody := NewClient(filepath.Join(t.TempDir(), "none.sock"))
	if err := nobody.Show(t.Context(), "status", "", &list); !errors.Is(err, ErrUnreachable) {
		t.Errorf("error is %v, want ErrUnreachable", err)
	}
}

func TestOnlyRootChangesAndOnlyTheGroupReads(t *testing.T) {
	served := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for _, c := range []struct {
		name   string
		who    caller
		method string
		want   int
	}{
		{"root reads", caller{known: true}, http.MethodGet, http.StatusOK},
		{"root changes", caller{known: true}, http.MethodPost, http.StatusOK},
		{"a member reads", caller{known: true, uid: 1000, gids: []int{1000, 77}}, http.MethodGet, http.StatusOK},
		{"a member changes", caller{known: true, uid: 1000, gids: []int{77}}, http.MethodPost, http.StatusForbidden},
		{"a stranger reads", caller{known: true, uid: 1000, gids: []int{1000}}, http.MethodGet, http.StatusForbidden},
		{"nobody knows who", caller{}, http.MethodGet, http.StatusForbidden},
	} {
		r := httptest.NewRequest(c.method, "/v1/status", nil)
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c.who))
		w := httptest.NewRecorder()
		authorise(77, served).ServeHTTP(w, r)
		want := c.want
		if os.Geteuid() == c.who.uid && c.who.known {
			want = http.StatusOK
		}
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", c.name, w.Code, want)
		}
	}
}

func TestTheSocketIsNotOpenToAll(t *testing.T) {
	c := serve(t, &desk{})
	info, err := os.Stat(c.path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		t.Errorf("the socket's mode is %v", info.Mode())
	}
}

func TestASecondDaemonIsRefusedAndADeadOnesSocketReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "careof.sock")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	first, err := Listen(path, "", &desk{})
	if err != nil {
		t.Fatalf("a dead daemon's socket was not replaced: %v", err)
	}
	go first.Serve()
	if second, err := Listen(path, "", &desk{}); err == nil {
		second.Close()
		t.Error("a second daemon took the socket of a living one")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there after Close: %v", err)
	}
}

func TestEventsAreStreamed(t *testing.T) {
	d := &desk{events: make(chan Event, 2)}
	c := serve(t, d)
	d.events <- Event{Note: note.Note{Kind: note.Bound, HomeAddress: netip.MustParseAddr("10.10.0.5")}}
	d.events <- Event{Note: note.Note{Kind: note.Unbound}}
	var kinds []string
	err := c.Monitor(t.Context(), func(text []byte) bool {
		var e Event
		if err := json.Unmarshal(text, &e); err != nil {
			t.Error(err)
		}
		kinds = append(kinds, string(e.Kind))
		return len(kinds) < 2
	})
	if err != nil || strings.Join(kinds, " ") != "bound unbound" {
		t.Errorf("events %q, %v", kinds, err)
	}
}

func TestAnEndpointHasAPortOnlyWhereItsTunnelHasOne(t *testing.T) {
	for _, text := range []string{"203.0.113.7", "203.0.113.7:434"} {
		var e Endpoint
		if err := e.UnmarshalText([]byte(text)); err != nil || e.String() != text {
			t.Errorf("%q came back as %q, %v", text, e, err)
		}
	}
}

func TestSizesHaveBinaryUnits(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

// TestOnlyASocketIsReplaced: a wrong path must not cost a file.
func TestOnlyASocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Listen(path, "", nil); err == nil {
		s.Close()
		t.Error("a file was taken for an old socket")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "secret" {
		t.Errorf("the file is %q, %v", text, err)
	}
}
