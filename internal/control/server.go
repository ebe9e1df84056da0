package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Backend answers what is asked over the API.
type Backend interface {
	// Show returns the value for a name of [Names], for one argument when
	// the name takes one: a slice, or a struct for one thing.
	Show(ctx context.Context, what, argument string) (any, error)
	// Subscribe returns events as they happen, until cancel is called, and
	// before them the remembered ones that came after the event with an id,
	// when after is not nil. A subscriber that reads too slowly loses events,
	// not the daemon time.
	Subscribe(after *uint64) (past []Event, events <-chan Event, cancel func())
	// Ready tells what is missing to serve; nil when nothing is.
	Ready(ctx context.Context) error
}

// Names lists what can be shown, in the order in which help lists it.
var Names = []string{
	"status", "bindings", "binding", "registrations", "visitors", "advertisements", "agents", "uplinks", "associations",
	"networks", "host", "enrolled", "blocked", "pool", "aaa", "stages", "counters", "plane", "config",
}

// Asked lists what can be asked for besides [Names]: what is shown in
// pictures, not in tables.
var Asked = []string{"timeline", "topology"}

// A Server serves the API on one unix socket or one TCP address.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// requestLimit bounds how long one question may take.
const requestLimit = 10 * time.Second

// held says whether somebody listens on a socket, and goes on doing so: one that was
// killed, and is started anew in the same moment, need not have gone yet.
func held(path string) bool {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return true
	}
	var who *unix.Ucred
	_ = raw.Control(func(fd uintptr) { who, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if who == nil || int(who.Pid) == os.Getpid() {
		return true
	}
	return !Ends(int(who.Pid))
}

// Listen makes the socket, with its directory when that is missing, owned by
// group when there is such a group. A socket that nobody listens on any more
// is replaced; one that somebody does is an error.
func Listen(path, group string, backend Backend) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if held(path) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, path)
	}
	// What is left of a daemon that died is taken away, and nothing else: the
	// path may be a mistake.
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("control: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("control: %s is there and is no socket: move it away, or name another control.socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
	}
	// The socket must not be open to all for the moment before its mode is set.
	old := unix.Umask(0o177)
	listener, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	mode := fs.FileMode(0o600)
	reader := -1
	if g, err := user.LookupGroup(group); err == nil {
		reader, _ = strconv.Atoi(g.Gid)
		if os.Chown(path, -1, reader) == nil {
			mode = 0o660
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("control: %w", err), listener.Close())
	}
	s := &Server{listener: listener}
	s.http = &http.Server{
		Handler:           authorise(reader, Handler(backend)),
		ReadHeaderTimeout: requestLimit,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, callerOf(c))
		},
	}
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until Close.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends all connections and removes the socket.
func (s *Server) Close() error {
	err := s.http.Close()
	// Before Serve, the HTTP server does not know the listener yet.
	if closed := s.listener.Close(); !errors.Is(closed, net.ErrClosed) {
		err = errors.Join(err, closed)
	}
	return err
}

// caller is who connected, as the kernel says.
type caller struct {
	known bool
	uid   int
	gids  []int
}

type callerKey struct{}

func callerOf(c net.Conn) caller {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return caller{}
	}
	var who caller
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			who = caller{known: true, uid: int(cred.Uid), gids: []int{int(cred.Gid)}}
		}
	})
	if err != nil || !who.known {
		return caller{}
	}
	if u, err := user.LookupId(strconv.Itoa(who.uid)); err == nil {
		ids, _ := u.GroupIds()
		for _, id := range ids {
			if gid, err := strconv.Atoi(id); err == nil {
				who.gids = append(who.gids, gid)
			}
		}
	}
	return who
}

// all tells whether the caller may do everything.
func (c caller) all() bool { return c.known && (c.uid == 0 || c.uid == os.Geteuid()) }

// authorise lets root and the daemon's own user do everything, and members of
// the group read.
func authorise(group int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := r.Context().Value(callerKey{}).(caller)
		has := nothing
		switch {
		case who.all():
			has = changing
		case who.known && group >= 0 && slices.Contains(who.gids, group):
			has = reading
		}
		admit(has, next, w, r, fmt.Errorf("%w: root may change, members of the socket's group may read (use sudo, or join the group: sudo usermod -a -G careof $USER)", ErrDenied))
	})
}

// quiet is the log of a server whose callers nobody knows: what they do wrong
// is no line in ours.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
