package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"careof/internal/buildinfo"
	"careof/internal/capture"
	"careof/internal/control"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/host/tap"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
	"careof/wire/mip4"
)

var _ control.Capturer = (*daemon)(nil)

// taps are the captures that go on. While there are none, a message costs one
// look at a pointer.
type taps struct {
	mu   sync.Mutex // of changes
	list atomic.Pointer[[]*capturing]
}

func (t *taps) add(c *capturing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*capturing
	if old := t.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = append(list, c)
	t.list.Store(&list)
}

func (t *taps) remove(c *capturing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*t.list.Load()), func(o *capturing) bool { return o == c })
	if len(list) == 0 {
		t.list.Store(nil)
		return
	}
	t.list.Store(&list)
}

// shown is a packet on its way into a file.
type shown struct {
	time    time.Time
	link    string
	out     bool
	data    []byte // from the IPv4 header on
	comment string

	// of signalling
	kind mip4.MessageType // 0 for anything else
	id   uint64
	said bool // its note has come

	held time.Time // since when the capture has it
}

// message tells of a signalling message.
//
//rfc:5944#1.7-1
func (t *taps) message(out bool, link string, src, dst netip.AddrPort, ttl uint8, payload []byte) {
	list := t.list.Load()
	if list == nil {
		return
	}
	data, err := encap.AppendUDP(nil, encap.IPv4{TTL: ttl}, src, dst, payload)
	if err != nil {
		return // an end that is not known cannot be written down
	}
	s := shown{time: time.Now(), link: link, out: out, data: data}
	if len(payload) > 0 {
		s.kind = mip4.MessageType(payload[0])
	}
	if at, there := identificationAt[s.kind]; there && len(payload) >= at+8 {
		s.id = binary.BigEndian.Uint64(payload[at:])
	}
	for _, c := range *list {
		c.offer(s)
	}
}

// identificationAt is where a message has its Identification (RFC 5944
// sections 3.3 and 3.4).
var identificationAt = map[mip4.MessageType]int{mip4.TypeRegistrationRequest: 16, mip4.TypeRegistrationReply: 12}

// discovery tells of an ICMP router discovery message.
func (t *taps) discovery(out bool, link string, src, dst netip.Addr, ttl uint8, icmp []byte) {
	list := t.list.Load()
	if list == nil || !src.Is4() || !dst.Is4() {
		return
	}
	const protoICMP = 1
	data, err := encap.AppendIPv4(nil, &encap.IPv4{TTL: max(ttl, 1), Protocol: protoICMP, Src: src, Dst: dst}, len(icmp))
	if err != nil {
		return
	}
	s := shown{time: time.Now(), link: link, out: out, data: append(data, icmp...), said: true}
	for _, c := range *list {
		c.offer(s)
	}
}

// sending passes on what a role sends, and shows it.
func (d *daemon) sending(send func(engine.Send) error) func(engine.Send) error {
	return func(m engine.Send) error {
		err := send(m)
		if err == nil {
			d.showSent(&m)
		}
		return err
	}
}

// sendingAll is sending for many at a time.
func (d *daemon) sendingAll(messages []engine.Send, refused func(*engine.Send, error)) {
	d.sockets.SendAll(messages, refused)
	if d.taps.list.Load() == nil {
		return
	}
	for i := range messages {
		d.showSent(&messages[i])
	}
}

func (d *daemon) showSent(m *engine.Send) {
	if d.taps.list.Load() == nil {
		return
	}
	src := m.Src
	if src.Port() == 0 {
		src = netip.AddrPortFrom(src.Addr(), d.sockets.From(m.Link, src.Addr(), m.Aside))
	}
	d.taps.message(true, m.Link, src, m.Dst, m.TTL, m.Data)
}

// discovering passes on the router discovery messages of a role, and shows them.
func (d *daemon) discovering(send func(engine.SendDiscovery) error) func(engine.SendDiscovery) error {
	return func(m engine.SendDiscovery) error {
		err := send(m)
		if err == nil {
			d.taps.discovery(true, m.Link, m.Src, m.Dst, 1, m.Data)
		}
		return err
	}
}

const (
	// captureRoom is how many packets a capture may be behind.
	captureRoom = 4096
	// noteWait is how long a message waits for what the daemon says about it.
	noteWait = 500 * time.Millisecond
	// maxSaid bounds the notes that are remembered meanwhile.
	maxSaid = 256
	// captureSnap is what is kept of a packet when nothing else is asked for.
	captureSnap = 65535
)

// A capturing is one capture. Its goroutine is the one that called Capture.
type capturing struct {
	order   control.CaptureOrder
	peer    netip.Addr
	packets chan shown
	dropped atomic.Uint64

	w     *capture.Writer
	links map[string]int
	held  []shown // messages that wait for their note, and what came after them
	said  []said  // the latest notes: a reply may leave after the note about it
	lost  uint64  // as told in the file
}

// said is a note that was told lately.
type said struct {
	at   time.Time
	id   uint32 // low half of the Identification
	text string
}

// offer gives a packet to the capture, or counts it. It never waits.
func (c *capturing) offer(s shown) {
	if c.peer.IsValid() && !concerns(s.data, c.peer) {
		return
	}
	select {
	case c.packets <- s:
	default:
		c.dropped.Add(1)
	}
}

// concerns tells whether a packet is from or to an address, or speaks of it:
// as the inner address of a tunnel, or as the home address of a message.
func concerns(packet []byte, peer netip.Addr) bool {
	p := peer.As4()
	for at := 12; at < min(len(packet)-3, 96); at++ {
		if bytes.Equal(packet[at:at+4], p[:]) {
			return true
		}
	}
	return false
}

// Capture implements [control.Capturer].
func (d *daemon) Capture(ctx context.Context, order control.CaptureOrder, w io.Writer) error {
	switch {
	case d.starting():
		return errStarting
	case d.plane == nil:
		return fmt.Errorf("%w: this daemon is an AAA server alone, and moves no packets", control.ErrNotFound)
	}
	c := &capturing{order: order, packets: make(chan shown, captureRoom), links: make(map[string]int)}
	if order.Snap <= 0 || order.Snap > captureSnap {
		c.order.Snap = captureSnap
	}
	if order.Peer != "" {
		var err error
		if c.peer, err = netip.ParseAddr(order.Peer); err != nil || !c.peer.Is4() {
			return fmt.Errorf("%w: %q is no IPv4 address (for example 192.0.2.1)", control.ErrInvalid, order.Peer)
		}
	}
	if order.Data {
		stop, err := d.tapTunnels(c)
		if err != nil {
			return err
		}
		defer stop()
	}
	_, notes, unsubscribe := d.hub.subscribe(nil)
	defer unsubscribe()
	d.taps.add(c)
	defer d.taps.remove(c)
	c.w = capture.NewWriter(w, "careof "+buildinfo.Read().Version)
	// The file begins at once, so that a reader sees that it does.
	if _, err := c.link("any"); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	tick := time.NewTicker(noteWait / 5)
	defer tick.Stop()
	return c.run(ctx, notes, tick.C)
}

// run writes packets with what is noted about them, until ctx ends.
func (c *capturing) run(ctx context.Context, notes <-chan control.Event, tick <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return c.flush(time.Time{})
		case s := <-c.packets:
			c.hold(s)
		case n := <-notes:
			c.tell(n.Note)
		case <-tick:
			c.catchUp(notes)
			if err := c.flush(time.Now().Add(-noteWait)); err != nil {
				return err
			}
		}
	}
}

// catchUp takes what is there already: after a time in which this host stood still, what
// a message waits for has come, as well as the time to write it without.
func (c *capturing) catchUp(notes <-chan control.Event) {
	for {
		select {
		case s := <-c.packets:
			c.hold(s)
		case n := <-notes:
			c.tell(n.Note)
		default:
			return
		}
	}
}

// tapTunnels gives the capture the tunnels' packets.
func (d *daemon) tapTunnels(c *capturing) (stop func(), err error) {
	port := uint16(ha.DefaultPort)
	if h := d.cfg.HomeAgent; h != nil {
		port = h.Port
	}
	t, err := tap.Open(port, c.order.Snap)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			p, err := t.Read()
			if err != nil {
				return
			}
			if n%256 == 0 {
				c.dropped.Add(uint64(t.Dropped()))
			}
			c.offer(shown{time: p.Time, link: p.Link, out: p.Out, data: bytes.Clone(p.Data), said: true})
		}
	}()
	return func() { t.Close(); <-done }, nil
}

// about says which messages a note may be about: of which type, and whether
// this host sent them.
var about = map[note.Kind]struct {
	kind mip4.MessageType
	out  bool
}{
	note.Bound: {mip4.TypeRegistrationRequest, false}, note.Refreshed: {mip4.TypeRegistrationRequest, false},
	note.Moved: {mip4.TypeRegistrationRequest, false}, note.Unbound: {mip4.TypeRegistrationRequest, false},
	note.Denied: {mip4.TypeRegistrationRequest, false}, note.Repeated: {mip4.TypeRegistrationRequest, false},
	note.Discarded: {mip4.TypeRegistrationRequest, false}, "relayed": {mip4.TypeRegistrationRequest, false},

	note.Requesting: {mip4.TypeRegistrationRequest, true},

	note.Registered: {mip4.TypeRegistrationReply, false}, note.Refused: {mip4.TypeRegistrationReply, false},
	note.Home: {mip4.TypeRegistrationReply, false}, note.Deregistered: {mip4.TypeRegistrationReply, false},
	note.Resync: {mip4.TypeRegistrationReply, false},
	"arrived":   {mip4.TypeRegistrationReply, false}, "renewed": {mip4.TypeRegistrationReply, false}, "departed": {mip4.TypeRegistrationReply, false},
}

// tell writes a note on the messages that it is about: by Identification where
// it has one (its low 32 bits are the same in request and reply), else the
// oldest of the kind that has none yet.
func (c *capturing) tell(n note.Note) {
	a, known := about[n.Kind]
	if !known {
		return
	}
	for drained := false; !drained; {
		select {
		case s := <-c.packets:
			c.hold(s)
		default:
			drained = true
		}
	}
	text := strings.TrimSpace(n.Role + " " + n.String())
	if n.Identification != 0 {
		now := time.Now()
		c.said = slices.DeleteFunc(c.said, func(s said) bool { return now.Sub(s.at) > noteWait })
		if len(c.said) >= maxSaid {
			c.said = slices.Delete(c.said, 0, 1)
		}
		c.said = append(c.said, said{now, uint32(n.Identification), text})
	}
	for i := range c.held {
		s := &c.held[i]
		switch {
		case s.kind == 0:
		case n.Identification != 0 && uint32(s.id) == uint32(n.Identification):
			s.say(text)
		case n.Identification == 0 && s.kind == a.kind && s.out == a.out && !s.said:
			s.say(text)
			return
		}
	}
}

// hold takes a packet in, with the notes about it that came before it.
func (c *capturing) hold(s shown) {
	for _, n := range c.said {
		if s.kind != 0 && n.id == uint32(s.id) && time.Since(n.at) <= noteWait {
			s.say(n.text)
		}
	}
	s.held = time.Now()
	c.held = append(c.held, s)
}

func (s *shown) say(text string) {
	s.said = true
	if s.comment != "" {
		s.comment += "\n"
	}
	s.comment += text
}

// flush writes what has its note, or has waited long enough: here since before the
// given time, which is zero at the end. The order of the packets is kept.
func (c *capturing) flush(before time.Time) error {
	n := 0
	for ; n < len(c.held); n++ {
		s := &c.held[n]
		if !before.IsZero() && !s.said && s.held.After(before) {
			break
		}
		if err := c.write(s); err != nil {
			return err
		}
	}
	if n == 0 {
		return nil
	}
	c.held = slices.Delete(c.held, 0, n)
	return c.w.Flush()
}

func (c *capturing) write(s *shown) error {
	id, err := c.link(s.link)
	if err != nil {
		return err
	}
	if s.kind != 0 && !s.said && !s.out {
		s.say("nothing was said about this message: a stranger's, or one that was not understood")
	}
	if lost := c.dropped.Load(); lost != c.lost {
		s.say(fmt.Sprintf("%d packets before this one are missing: they came faster than they were taken", lost-c.lost))
		c.lost = lost
	}
	direction := "received"
	if s.out {
		direction = "sent"
	}
	comment := direction
	if s.comment != "" {
		comment += "\n" + s.comment
	}
	data := s.data
	return c.w.WritePacket(capture.Packet{Time: s.time, Interface: id, Data: data[:min(len(data), c.order.Snap)], Length: len(data), Comment: comment})
}

// link is the number of an interface in the file.
func (c *capturing) link(name string) (int, error) {
	if name == "" {
		name = "any"
	}
	if id, there := c.links[name]; there {
		return id, nil
	}
	what := "what the daemon received and sent on " + name
	if name == "any" {
		what = "what the daemon received and sent where routing decided"
	}
	id, err := c.w.AddInterface(capture.Interface{Name: name, Comment: what, LinkType: capture.Raw})
	if err == nil {
		c.links[name] = id
	}
	return id, err
}
