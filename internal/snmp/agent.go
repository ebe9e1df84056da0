package snmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"careof/internal/control"
	"careof/wire/agentx"
)

// An Agent is a sub-agent that stays connected to its master.
type Agent struct {
	network, address string
	source           Source
	log              *slog.Logger
	violations       violations

	trouble atomic.Pointer[error] // why there is no session; nil when there is one

	view    view
	read    time.Time     // when view was
	reading time.Duration // how long that took
}

const (
	// answerLimit is how long the master may take to answer, and, told in
	// Open, how long it waits for us; in seconds.
	answerLimit = 5
	// viewAge is how old an answer may be at least: a walk asks once for each
	// object, and should see one moment.
	viewAge = 2 * time.Second
	// readingShare bounds the time spent on reading a large daemon: to a
	// twentieth.
	readingShare = 20
	// bulkLimit is how many variables one answer carries at most.
	bulkLimit = 512
	// trapEvery is the least time between two traps: a flood of failures
	// must not become a flood of traps.
	trapEvery = time.Second
	// pingEvery is how often the master is asked whether it is still there.
	pingEvery = 30 * time.Second
)

// New makes a sub-agent for the master at an address such as
// "unix:/var/agentx/master" or "tcp:127.0.0.1:705".
func New(master string, source Source, log *slog.Logger) (*Agent, error) {
	network, address, ok := strings.Cut(master, ":")
	if !ok || address == "" || (network != "unix" && network != "tcp") {
		return nil, fmt.Errorf("snmp: master agent %q: write unix:PATH or tcp:HOST:PORT", master)
	}
	a := &Agent{network: network, address: address, source: source, log: log, violations: violations{started: time.Now()}}
	a.trouble.Store(&errNotYet)
	return a, nil
}

// errNotYet is the trouble before the first answer.
var errNotYet = errors.New("it has not answered yet")

// Trouble tells why nothing is served to SNMP managers now; nil when something
// is.
func (a *Agent) Trouble() error {
	if err := a.trouble.Load(); err != nil {
		return fmt.Errorf("no session with the SNMP agent at %s:%s: %w (is it running as an AgentX master there? For snmpd: master agentx, agentXSocket; it is tried again)", a.network, a.address, *err)
	}
	return nil
}

// Run keeps a session with the master until ctx ends. A master that is away
// is tried again, ever more rarely, up to once in half a minute.
func (a *Agent) Run(ctx context.Context) {
	const longest = 30 * time.Second
	pause := time.Second
	for said := ""; ctx.Err() == nil; {
		began := time.Now()
		err := a.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("it ended the session")
		}
		a.trouble.Store(&err)
		if time.Since(began) > longest {
			pause = time.Second
		}
		if text := err.Error(); text != said {
			a.log.Warn("no session with the SNMP agent; trying again", "error", err)
			said = text
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longest)
	}
}

// A session is one connection to the master.
type session struct {
	conn    net.Conn
	in      *bufio.Reader
	id      uint32
	packets uint32
}

func (a *Agent) session(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	dialer := net.Dialer{Timeout: answerLimit * time.Second}
	conn, err := dialer.DialContext(ctx, a.network, a.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	s := &session{conn: conn, in: bufio.NewReader(conn)}
	if err := s.open(); err != nil {
		return err
	}
	a.trouble.Store(nil)
	a.log.Info("serving the Mobile IP MIB", "master", a.network+":"+a.address)

	// The reader hands over requests; everything else happens here.
	requests, failed := make(chan *agentx.Request), make(chan error, 1)
	go func() {
		for {
			r, err := s.receive()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	_, events, cancel := a.source.Subscribe(nil)
	defer cancel()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	var trapped time.Time
	for {
		select {
		case <-ctx.Done():
			s.send(agentx.AppendClose(nil, s.header(), agentx.ReasonShutdown))
			return ctx.Err()
		case err := <-failed:
			return err
		case r := <-requests:
			if r.Type == agentx.Close {
				return fmt.Errorf("snmp: the master closed the session, reason %d", r.Reason)
			}
			if r.Type == agentx.Response {
				continue // to a notification or a ping
			}
			if err := s.send(a.answer(ctx, r)); err != nil {
				return err
			}
		case e := <-events:
			row, is := a.violations.hear(e)
			if !is || time.Since(trapped) < trapEvery {
				continue
			}
			trapped = time.Now()
			if err := s.send(agentx.AppendNotify(nil, s.header(), row.trap())); err != nil {
				return err
			}
		case <-ping.C:
			if err := s.send(agentx.AppendPing(nil, s.header())); err != nil {
				return err
			}
		}
	}
}

// open introduces the sub-agent and registers the MIB.
//
//rfc:2741#7.1.1
func (s *session) open() error {
	for _, step := range []struct {
		what    string
		message func() []byte
	}{
		{"open", func() []byte {
			return agentx.AppendOpen(nil, s.header(), answerLimit, mipMIB, "careof: Mobile IP (RFC 2006)")
		}},
		{"register", func() []byte { return agentx.AppendRegister(nil, s.header(), answerLimit, 127, mipMIB) }},
	} {
		if err := s.send(step.message()); err != nil {
			return err
		}
		s.conn.SetReadDeadline(time.Now().Add(answerLimit * time.Second))
		r, err := s.receive()
		if err != nil {
			return fmt.Errorf("snmp: %s: %w", step.what, err)
		}
		if r.Type != agentx.Response || r.Reply.Error != agentx.NoError {
			return fmt.Errorf("snmp: %s: the master answered %v with error %d", step.what, r.Type, r.Reply.Error)
		}
		s.id = r.Session
	}
	return s.conn.SetReadDeadline(time.Time{})
}

func (s *session) header() agentx.Header {
	s.packets++
	return agentx.Header{Session: s.id, Packet: s.packets}
}

func (s *session) send(message []byte) error {
	if message == nil {
		return nil
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(answerLimit * time.Second)); err != nil {
		return err
	}
	_, err := s.conn.Write(message)
	return err
}

func (s *session) receive() (*agentx.Request, error) {
	var head [agentx.HeaderLen]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return nil, err
	}
	h, err := agentx.ParseHeader(head[:])
	if err != nil {
		return nil, err
	}
	payload := make([]byte, h.Payload)
	if _, err := io.ReadFull(s.in, payload); err != nil {
		return nil, err
	}
	return agentx.ParseRequest(h, payload)
}

// answer makes the response to a request; nil where there is none.
//
//rfc:2741#7.2.3
func (a *Agent) answer(ctx context.Context, r *agentx.Request) []byte {
	reply := agentx.Reply{}
	switch r.Type {
	case agentx.Get, agentx.GetNext, agentx.GetBulk:
		if err := a.refresh(ctx); err != nil {
			a.log.Debug("cannot read the daemon", "error", err)
			reply.Error, reply.Index = agentx.GenErr, 1
			break
		}
		reply.Variables = a.look(r)
	case agentx.TestSet:
		reply.Error, reply.Index = agentx.NotWritable, 1
	case agentx.CleanupSet:
		return nil // "no response is sent"
	case agentx.CommitSet, agentx.UndoSet:
	default:
		reply.Error = agentx.ProcessingError
	}
	return agentx.AppendResponse(nil, r.Header, reply)
}

func (a *Agent) look(r *agentx.Request) (out []agentx.VarBind) {
	if r.Type == agentx.GetBulk {
		return a.view.bulk(r.Ranges, r.NonRepeaters, r.MaxRepetitions, bulkLimit)
	}
	for _, one := range r.Ranges {
		if r.Type == agentx.Get {
			out = append(out, a.view.get(one.Start))
		} else {
			out = append(out, a.view.next(one))
		}
	}
	return out
}

// refresh reads the daemon, unless that was a moment ago.
func (a *Agent) refresh(ctx context.Context) error {
	if a.view != nil && time.Since(a.read) < max(viewAge, readingShare*a.reading) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit*time.Second)
	defer cancel()
	began := time.Now()
	v, err := read(ctx, a.source, &a.violations)
	if err != nil {
		return err
	}
	a.view, a.read, a.reading = v, time.Now(), time.Since(began)
	return nil
}

var _ Source = control.Backend(nil)
