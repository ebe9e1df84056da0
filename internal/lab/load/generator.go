package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/host/sock"
	"careof/wire/mip4"
)

// window is how many requests are on their way at a time: what keeps the
// daemon busy, and less than the socket's buffers hold.
const window = 2048

// patience is after which time without any reply the outstanding requests are
// repeated, as a mobile node would.
const patience = 250 * time.Millisecond

// stuck is how often in a row nothing comes in that time from a daemon that
// answers nobody any more: a busy disk can keep it for seconds.
const stuck = 120

// A generator sends requests and takes replies, on one socket.
type generator struct {
	fleet *fleet
	to    netip.AddrPort
	conn  *net.UDPConn
	in    *sock.BatchReader
	out   *sock.BatchWriter

	repeated int // requests that were sent again
}

func newGenerator(f *fleet, to netip.AddrPort) (*generator, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	g := &generator{fleet: f, to: to, conn: conn}
	buffers(conn)
	g.in, err = sock.NewBatchReader(conn, 256, 2048)
	if err == nil {
		g.out, err = sock.NewBatchWriter(conn, 64)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load: %w", err), conn.Close())
	}
	return g, nil
}

// buffers makes room for a window of datagrams, like the daemon's sockets have.
func buffers(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		// More than the system's limit needs privileges; without them
		// datagrams are lost, and repeated.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20)
	})
}

func (g *generator) close() { g.conn.Close() }

// prepared are signed requests of consecutive nodes, ready to leave.
type prepared struct {
	first   int
	octets  []byte
	borders []int // of request i: octets[borders[i]:borders[i+1]]
}

func (p *prepared) at(i int) []byte { return p.octets[p.borders[i]:p.borders[i+1]] }
func (p *prepared) count() int      { return len(p.borders) - 1 }

// prepare signs the requests of n nodes from first on, with the present time.
func (g *generator) prepare(p *prepared, first, n int) error {
	*p = prepared{first: first, octets: p.octets[:0], borders: append(p.borders[:0], 0)}
	now := time.Now()
	for i := range n {
		var err error
		if p.octets, err = g.fleet.request(p.octets, first+i, now); err != nil {
			return fmt.Errorf("load: %w", err)
		}
		p.borders = append(p.borders, len(p.octets))
	}
	return nil
}

// errStuck says that the daemon answers nothing any more.
var errStuck = errors.New("load: no reply any more")

// run sends all prepared requests and waits for all replies. It returns how
// long that took.
func (g *generator) run(ctx context.Context, p *prepared) (time.Duration, error) {
	n := p.count()
	answered := make([]bool, n)
	began := time.Now()
	next, done, silent := 0, 0, 0
	oldest := 0 // all before it are answered
	send := func(i int) error {
		return g.out.Add(p.at(i), g.to, careOfOf(p.first+i))
	}
	for done < n {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		for next < n && next-done < window {
			// A full buffer shows as a reply that does not come.
			_ = send(next)
			next++
		}
		_ = g.out.Flush()
		g.conn.SetReadDeadline(time.Now().Add(patience))
		got, err := g.in.Read()
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			if silent++; silent > stuck {
				return 0, fmt.Errorf("%w: %d of %d requests answered", errStuck, done, n)
			}
			for i := oldest; i < next; i++ {
				if !answered[i] {
					g.repeated++
					_ = send(i)
				}
			}
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("load: %w", err)
		}
		silent = 0
		for k := range got {
			i, err := g.reply(p, g.in.Payload(k), done)
			if err != nil {
				return 0, err
			}
			if i >= 0 && !answered[i] {
				answered[i] = true
				done++
			}
		}
		for oldest < n && answered[oldest] {
			oldest++
		}
	}
	return time.Since(began), nil
}

// verifyEvery is of how many replies one has its authenticator checked.
const verifyEvery = 64

// reply tells which prepared request a reply answers, -1 for none of them.
func (g *generator) reply(p *prepared, b []byte, done int) (int, error) {
	// RFC 5944 section 3.4: type, code, lifetime, home address, home agent,
	// Identification.
	if len(b) < 20 || mip4.MessageType(b[0]) != mip4.TypeRegistrationReply {
		return -1, fmt.Errorf("load: not a Registration Reply: %x", b)
	}
	i := nodeOf(b[4:8]) - p.first
	if i < 0 || i >= p.count() || !bytes.Equal(b[16:20], p.at(i)[20:24]) {
		return -1, nil // of an earlier round
	}
	if code := mip4.Code(b[1]); !code.Accepted() {
		return -1, fmt.Errorf("load: node %v: %v", homeOf(p.first+i), code)
	}
	if done%verifyEvery == 0 {
		m, err := mip4.Parse(b)
		if err != nil {
			return -1, fmt.Errorf("load: %w", err)
		}
		e, _ := m.Find(mip4.ExtMobileHome)
		auth, err := m.Authentication(e)
		if err != nil || !g.fleet.keys[p.first+i].Verify(m.Covered(e), auth.Authenticator) {
			return -1, fmt.Errorf("load: node %v: the reply's authenticator is wrong", homeOf(p.first+i))
		}
	}
	return i, nil
}

// echo answers every signed request with a signed reply, and does nothing
// else: what no home agent on these sockets can beat.
func echo(ctx context.Context, f *fleet, conn *net.UDPConn) error {
	buffers(conn)
	in, err := sock.NewBatchReader(conn, 64, 2048)
	if err != nil {
		return err
	}
	out, err := sock.NewBatchWriter(conn, 64)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	replies := make([][]byte, 64)
	for {
		n, err := in.Read()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for k := range n {
			b := in.Payload(k)
			if len(b) < 28+32 {
				continue
			}
			sa := f.keys[nodeOf(b[4:8])]
			body := len(b) - sa.Size()
			if !sa.Verify(b[:body], b[body:]) {
				continue
			}
			r := append(replies[k][:0], byte(mip4.TypeRegistrationReply), 0)
			r = binary.BigEndian.AppendUint16(r, lifetime)
			r = append(r, b[4:12]...)
			r = append(r, b[16:24]...)
			r = append(r, byte(mip4.ExtMobileHome), byte(4+sa.Size()))
			r = binary.BigEndian.AppendUint32(r, sa.SPI())
			r = sa.Sign(r, r)
			replies[k] = r
			_ = out.Add(r, in.From(k), netip.Addr{})
		}
		_ = out.Flush()
	}
}
