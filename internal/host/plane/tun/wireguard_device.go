package tun

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	wgtun "golang.zx2c4.com/wireguard/tun"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// A cipherEnd is one device of the library. To it this is the TUN device that
// it reads packets from and writes them to, and the sockets that it sends
// messages through and receives them from.
type cipherEnd struct {
	c      *ciphers
	id     endID
	device *device.Device

	out    chan *parcel // packets to be encrypted
	in     chan *parcel // messages to be decrypted
	events chan wgtun.Event

	mu     sync.Mutex
	gone   chan struct{} // closed with the TUN device
	unbind chan struct{} // closed with the sockets
}

// A parcel is a packet or a message on its way to the library.
type parcel struct {
	from   *tunnel // of a message
	copies bool    // of a packet: it goes over every path
	n      int
	b      []byte
}

var parcels = sync.Pool{New: func() any { return &parcel{b: make([]byte, maxCopy)} }}

func parcelOf(b []byte) *parcel {
	x := parcels.Get().(*parcel)
	if len(x.b) < len(b) {
		x.b = make([]byte, len(b))
	}
	x.n, x.from, x.copies = copy(x.b, b), nil, false
	return x
}

const (
	// cipherRoom bounds the packets that wait for a cipher, each way: 20 ms of
	// what one processor can do. More are dropped, as by any full queue.
	cipherRoom = 1024
	// cipherBatch is how many packets the library handles at a time.
	cipherBatch = 64
)

func newEnd(c *ciphers, id endID, secret *Secret) (*cipherEnd, error) {
	e := &cipherEnd{
		c: c, id: id,
		out: make(chan *parcel, cipherRoom), in: make(chan *parcel, cipherRoom),
		events: make(chan wgtun.Event), gone: make(chan struct{}),
	}
	e.device = device.NewDevice(cipherTUN{e}, cipherBind{e}, device.NewLogger(device.LogLevelSilent, ""))
	// A peer's endpoint is then what it was made with: the peer itself.
	e.device.DisableSomeRoamingForBrokenMobileSemantics()
	err := e.device.IpcSet("private_key=" + hex.EncodeToString(secret[:]) + "\n")
	if err == nil {
		err = e.device.Up()
	}
	if err != nil {
		e.device.Close()
		return nil, fmt.Errorf("wireguard: %w", err)
	}
	return e, nil
}

// send queues a packet to be encrypted, and reports whether there was room.
func (e *cipherEnd) send(packet []byte, copies bool) bool {
	x := parcelOf(packet)
	x.copies = copies
	return offer(e.out, x)
}

// receive queues a message that came through t.
func (e *cipherEnd) receive(t *tunnel, message []byte) {
	x := parcelOf(message)
	x.from = t
	if !offer(e.in, x) {
		t.of.stats.drop(&e.c.p.totals.overruns)
	}
}

// What a plane knows of a packet goes with it through the library at the end of
// its buffer: that is an array of [device.MaxMessageSize] octets, which packets are
// encrypted and decrypted in, and no packet is so long. Where a buffer turned out
// to be another, nothing would be known: such a packet goes over one path, and
// has come over any.
const (
	slipLen = 10
	// The last octet of a packet to be encrypted is for all paths.
	slipOne, slipAll = 0, 1
)

// slip is the end of the buffer that a packet is in, nil when it is another.
func slip(packet []byte) []byte {
	if packet = packet[:cap(packet)]; len(packet) != device.MaxMessageSize {
		return nil
	}
	return packet[len(packet)-slipLen:]
}

// note writes where a message came from.
func (w cipherWay) note(slip []byte) {
	local, peer := w.local.As4(), w.peer.Addr().As4()
	copy(slip, local[:])
	copy(slip[4:], peer[:])
	binary.BigEndian.PutUint16(slip[8:], w.peer.Port())
}

// noted reads it again.
func noted(slip []byte) cipherWay {
	return cipherWay{word4(slip), netip.AddrPortFrom(word4(slip[4:]), binary.BigEndian.Uint16(slip[8:]))}
}

func offer(queue chan *parcel, x *parcel) bool {
	select {
	case queue <- x:
		return true
	default:
		parcels.Put(x)
		return false
	}
}

// gather waits for a parcel and takes what else is there, until closed is.
func gather(queue chan *parcel, closed <-chan struct{}, most int, take func(i int, x *parcel)) int {
	var x *parcel
	select {
	case x = <-queue:
	case <-closed:
		return 0
	}
	for n := 0; ; {
		take(n, x)
		parcels.Put(x)
		if n++; n == most {
			return n
		}
		select {
		case x = <-queue:
		default:
			return n
		}
	}
}

// A cipherTUN is a [cipherEnd] as the library's TUN device.
type cipherTUN struct{ *cipherEnd }

var _ wgtun.Device = cipherTUN{}

func (e cipherTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n := gather(e.out, e.gone, min(len(bufs), cipherBatch), func(i int, x *parcel) {
		sizes[i] = copy(bufs[i][offset:], x.b[:x.n])
		if end := slip(bufs[i]); end != nil {
			end[slipLen-1] = slipOne
			if x.copies {
				end[slipLen-1] = slipAll
			}
		}
	})
	if n == 0 {
		return 0, os.ErrClosed
	}
	return n, nil
}

func (e cipherTUN) Write(bufs [][]byte, offset int) (int, error) {
	p := e.c.p
	b := p.scratch.Get().(*batch)
	defer p.scratch.Put(b)
	b.used = 0
	now := p.now()
	for _, buf := range bufs {
		var from cipherWay
		if end := slip(buf); end != nil {
			from = noted(end)
		}
		p.opened(b, e.cipherEnd, buf[offset:], from, now)
	}
	p.write(b)
	return len(bufs), nil
}

// MTU keeps the library from filling packets up to less than a multiple of 16:
// the tunnels' own MTU has room for that.
func (e cipherTUN) MTU() (int, error) { return maxPacket, nil }

func (e cipherTUN) File() *os.File             { return nil }
func (e cipherTUN) Name() (string, error)      { return "careof", nil }
func (e cipherTUN) Events() <-chan wgtun.Event { return e.events }
func (e cipherTUN) BatchSize() int             { return cipherBatch }

func (e cipherTUN) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.gone:
	default:
		close(e.gone)
		close(e.events)
	}
	return nil
}

// A cipherBind is a [cipherEnd] as the library's sockets.
type cipherBind struct{ *cipherEnd }

var _ conn.Bind = cipherBind{}

func (e cipherBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unbind != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	closed := make(chan struct{})
	e.unbind = closed
	receive := func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n := gather(e.in, closed, min(len(bufs), cipherBatch), func(i int, x *parcel) {
			sizes[i] = copy(bufs[i], x.b[:x.n])
			eps[i] = messageFrom{x.from}
			if end := slip(bufs[i]); end != nil {
				cipherWay{x.from.t.Local.Addr(), x.from.t.Peer}.note(end)
			}
			x.from = nil
		})
		if n == 0 {
			return 0, net.ErrClosed
		}
		return n, nil
	}
	return []conn.ReceiveFunc{receive}, port, nil
}

func (e cipherBind) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unbind != nil {
		close(e.unbind)
		e.unbind = nil
	}
	return nil
}

func (e cipherBind) SetMark(uint32) error { return nil }
func (e cipherBind) BatchSize() int       { return cipherBatch }

// ParseEndpoint finds the peer with a public key: that is all the endpoint that
// the library is told.
func (e cipherBind) ParseEndpoint(s string) (conn.Endpoint, error) {
	var key [32]byte
	if n, err := hex.Decode(key[:], []byte(s)); err != nil || n != len(key) {
		return nil, fmt.Errorf("no public key: %q", s)
	}
	e.c.mu.RLock()
	defer e.c.mu.RUnlock()
	if w := e.c.peers[peerID{e.id.role, forward.KeyOf(key)}]; w != nil {
		return w, nil
	}
	return nil, fmt.Errorf("no peer has this key")
}

// Send sends messages to where the peer is registered now: a copy each, when it
// has several bindings, of which the other end takes the first. Redundant ones go
// over the paths for copies, too, and so do handshakes, which nothing gets through
// without.
func (e cipherBind) Send(messages [][]byte, to conn.Endpoint) error {
	p := e.c.p
	if p.config.Datagrams == nil || len(messages) == 0 {
		return nil
	}
	handshake := len(messages[0]) > 0 && messages[0][0] != device.MessageTransportType
	if handshake {
		marked := make([][]byte, len(messages))
		for i, m := range messages {
			marked[i] = append([]byte(encap.WireGuardHandshake), m...)
		}
		messages = marked
	}
	switch to := to.(type) {
	case messageFrom:
		e.sendThrough([]*tunnel{to.t}, (*tunnel).sends, messages)
	case *cipherPeer:
		switch kind := kindOf(messages[0]); {
		case kind == device.MessageInitiationType:
			to.greetUntilAnswered(messages[0])
			return nil
		case kind == device.MessageResponseType, !handshake:
			to.talked.Store(true)
			to.greeted.Store(nil)
		}
		to.say(messages, handshake)
	}
	return nil
}

// say sends messages to the peer: those that are redundant over all paths.
func (w *cipherPeer) say(messages [][]byte, handshake bool) {
	paths := w.paths.Load()
	w.end.sendThrough(paths.sending, (*tunnel).sends, messages)
	if len(paths.copying) == 0 {
		return
	}
	redundant := messages
	if !handshake {
		redundant = nil
		for _, m := range messages {
			if end := slip(m); end != nil && end[slipLen-1] == slipAll && len(m) > device.MessageKeepaliveSize {
				redundant = append(redundant, m)
			}
		}
	}
	if len(redundant) > 0 {
		w.end.sendThrough(paths.copying, (*tunnel).copies, redundant)
	}
}

// kindOf is the type of a message as it is on the wire.
func kindOf(m []byte) byte {
	if m = []byte(strings.TrimPrefix(string(m[:min(5, len(m))]), encap.WireGuardHandshake)); len(m) == 0 {
		return 0
	}
	return m[0]
}

// sendThrough sends messages into all of these tunnels that are good for it now.
func (e *cipherEnd) sendThrough(tunnels []*tunnel, good func(*tunnel, int64) bool, messages [][]byte) {
	p := e.c.p
	now := p.now()
	n := len(messages) * outerHeaders
	for _, m := range messages {
		n += len(m)
	}
	var spare *tunnel
	for _, t := range tunnels {
		if !good(t, now) {
			continue
		}
		if !t.pay(n) {
			if spare = t.of.spare(now); spare == nil {
				p.totals.withheld.Add(uint64(len(messages)))
			}
			continue
		}
		if err := p.config.Datagrams.SendData(t.t.Local, t.t.Peer, t.t.Link, 0, messages); err != nil {
			p.totals.sendErrors.Add(1)
		}
	}
	if spare == nil {
		return
	}
	if err := p.config.Datagrams.SendData(spare.t.Local, spare.t.Peer, spare.t.Link, 0, messages); err != nil {
		p.totals.sendErrors.Add(1)
	}
}

// outerHeaders are IP's and UDP's.
const outerHeaders = 28

// messageFrom is the endpoint of a message that came in: cookie replies go back
// there.
type messageFrom struct{ t *tunnel }

func (m messageFrom) ClearSrc()           {}
func (m messageFrom) SrcToString() string { return m.t.t.Local.String() }
func (m messageFrom) DstToString() string { return m.t.t.Peer.String() }
func (m messageFrom) DstIP() netip.Addr   { return m.t.t.Peer.Addr() }
func (m messageFrom) SrcIP() netip.Addr   { return m.t.t.Local.Addr() }

// DstToBytes is what a cookie is made for.
func (m messageFrom) DstToBytes() []byte {
	b, _ := m.t.t.Peer.MarshalBinary()
	return b
}

var (
	_ conn.Endpoint = messageFrom{}
	_ conn.Endpoint = (*cipherPeer)(nil)
)

func (w *cipherPeer) ClearSrc()           {}
func (w *cipherPeer) SrcToString() string { return "" }
func (w *cipherPeer) DstToString() string { return w.key.String() }
func (w *cipherPeer) DstToBytes() []byte  { return nil }
func (w *cipherPeer) DstIP() netip.Addr   { return netip.Addr{} }
func (w *cipherPeer) SrcIP() netip.Addr   { return netip.Addr{} }
