package netns

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// TransferConfig describes a TCP transfer: one connection, a stream of random bytes each way.
type TransferConfig struct {
	Client, Server *Node
	// Local is the client's address; not valid: the kernel's choice.
	Local netip.AddrPort
	// Listen is where the server listens, Remote what the client connects to; not valid: the same.
	Listen, Remote netip.AddrPort
	// Up and Down are octets from and to the client. Zero sends nothing, a negative number sends until Stop.
	Up, Down int64
	// Rate limits each direction, in bit/s; zero is as fast as TCP goes.
	Rate int64
	// Seed chooses the content.
	Seed uint64
}

// Direction is the record of one direction of a transfer.
type Direction struct {
	Sent, Received int64
	// Intact means that the receiver has seen the end of the stream, that nothing is missing, and that SHA-256 over all
	// octets is the same at both ends.
	Intact bool
	// LargestGap is the longest time without a new octet at the receiver, up to the end of the stream, and GapAt its start.
	LargestGap time.Duration
	GapAt      time.Time
	Hash       string // SHA-256 of what was received, in hex
}

// TransferResult is the outcome of a transfer.
type TransferResult struct {
	Up, Down Direction
	// Resets counts ends of the connection by a reset.
	Resets int
	// Err is the first failure other than the end of the stream; nil after a clean end.
	Err error
}

// Transfer is a running TCP transfer.
type Transfer struct {
	client, server *net.TCPConn
	cancel         context.CancelFunc
	up, down       flowOfBytes
	done           chan struct{}

	mu     sync.Mutex
	resets int
	err    error
}

// flowOfBytes is one direction while it runs. The hashes belong to one goroutine each until the end.
type flowOfBytes struct {
	sent, received atomic.Int64
	sentHash       hash.Hash
	receivedHash   hash.Hash
	gap            time.Duration
	gapAt          time.Time
	ended          bool
}

// StartTransfer connects (within ctx) and starts both directions.
func StartTransfer(ctx context.Context, config TransferConfig) (*Transfer, error) {
	if !config.Remote.IsValid() {
		config.Remote = config.Listen
	}
	listener, err := config.Server.ListenTCP(config.Listen)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	type accepted struct {
		conn *net.TCPConn
		err  error
	}
	incoming := make(chan accepted, 1)
	go func() {
		conn, err := listener.AcceptTCP()
		incoming <- accepted{conn, err}
	}()
	client, err := config.Client.DialTCP(ctx, config.Local, config.Remote)
	if err != nil {
		listener.Close()
		if a := <-incoming; a.conn != nil {
			a.conn.Close()
		}
		return nil, err
	}
	var server accepted
	select {
	case server = <-incoming:
	case <-ctx.Done():
		listener.Close()
		if server = <-incoming; server.conn != nil {
			server.conn.Close()
		}
		server.err = ctx.Err()
	}
	if server.err != nil {
		client.Close()
		return nil, fmt.Errorf("netns: accept: %w", server.err)
	}
	running, cancel := context.WithCancel(context.Background())
	t := &Transfer{client: client, server: server.conn, cancel: cancel, done: make(chan struct{})}
	t.up.sentHash, t.up.receivedHash = sha256.New(), sha256.New()
	t.down.sentHash, t.down.receivedHash = sha256.New(), sha256.New()
	var all sync.WaitGroup
	all.Go(func() { t.write(running, t.client, &t.up, config.Up, config.Rate, config.Seed) })
	all.Go(func() { t.write(running, t.server, &t.down, config.Down, config.Rate, ^config.Seed) })
	all.Go(func() { t.read(t.server, &t.up) })
	all.Go(func() { t.read(t.client, &t.down) })
	go func() {
		all.Wait()
		cancel()
		t.client.Close()
		t.server.Close()
		close(t.done)
	}()
	return t, nil
}

// chunkSize is the unit of writing; a paced sender writes less at a time when the rate is low.
const chunkSize = 16 << 10

func (t *Transfer) write(ctx context.Context, conn *net.TCPConn, f *flowOfBytes, count, rate int64, seed uint64) {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	content := rand.NewChaCha8(key)
	size := int64(chunkSize)
	if rate > 0 {
		size = min(size, max(512, rate/8/50)) // about fifty times a second
	}
	buffer := make([]byte, size)
	start := time.Now()
	for sent := int64(0); sent != count && ctx.Err() == nil; {
		chunk := buffer
		if count > 0 {
			chunk = buffer[:min(size, count-sent)]
		}
		content.Read(chunk)
		n, err := conn.Write(chunk)
		f.sentHash.Write(chunk[:n])
		f.sent.Add(int64(n))
		sent += int64(n)
		if err != nil {
			t.fail(err)
			return
		}
		if rate > 0 {
			due := start.Add(time.Duration(float64(sent) * 8 / float64(rate) * float64(time.Second)))
			pause(ctx, time.Until(due))
		}
	}
	if err := conn.CloseWrite(); err != nil {
		t.fail(err)
	}
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (t *Transfer) read(conn *net.TCPConn, f *flowOfBytes) {
	buffer := make([]byte, 64<<10)
	last := time.Now()
	for {
		n, err := conn.Read(buffer)
		now := time.Now()
		if gap := now.Sub(last); gap > f.gap && (n > 0 || f.received.Load() > 0) {
			f.gap, f.gapAt = gap, last
		}
		last = now
		f.receivedHash.Write(buffer[:n])
		f.received.Add(int64(n))
		if errors.Is(err, io.EOF) {
			f.ended = true
			return
		}
		if err != nil {
			t.fail(err)
			return
		}
	}
}

func (t *Transfer) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		t.resets = 1 // the other goroutine of this end sees the same one
	}
	if t.err == nil {
		t.err = err
	}
	// Nothing useful can follow: let the other three goroutines end as well.
	t.cancel()
	t.client.SetDeadline(time.Now())
	t.server.SetDeadline(time.Now())
}

// Received tells how many octets have arrived so far, to and from the client.
func (t *Transfer) Received() (up, down int64) { return t.up.received.Load(), t.down.received.Load() }

// Done is closed when both directions have ended.
func (t *Transfer) Done() <-chan struct{} { return t.done }

// Stop ends the senders; what they have sent is still delivered. Call Wait or Abort afterwards.
func (t *Transfer) Stop() { t.cancel() }

// Abort ends the transfer at once.
func (t *Transfer) Abort() {
	t.cancel()
	t.client.SetDeadline(time.Now())
	t.server.SetDeadline(time.Now())
	<-t.done
}

// Wait waits until both directions have ended, or for ctx, which aborts the transfer.
func (t *Transfer) Wait(ctx context.Context) TransferResult {
	select {
	case <-t.done:
	case <-ctx.Done():
		t.mu.Lock()
		if t.err == nil {
			t.err = ctx.Err()
		}
		t.mu.Unlock()
		t.Abort()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return TransferResult{Up: t.up.result(), Down: t.down.result(), Resets: t.resets, Err: t.err}
}

func (f *flowOfBytes) result() Direction {
	got := f.receivedHash.Sum(nil)
	d := Direction{
		Sent: f.sent.Load(), Received: f.received.Load(),
		LargestGap: f.gap, GapAt: f.gapAt, Hash: hex.EncodeToString(got),
	}
	d.Intact = f.ended && d.Sent == d.Received && string(got) == string(f.sentHash.Sum(nil))
	return d
}
