package aaa

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"layeh.com/radius"

	"careof/internal/core/aaa"
	"careof/internal/core/ident"
)

// Values of Error-Cause (RFC 5176 section 3.5).
const (
	causeMissingAttribute = 402
	causeNASMismatch      = 403
	causeInvalidRequest   = 404
	causeUnsupported      = 401
	causeUnknownSession   = 503
)

// orderWindow is how old an order's Event-Timestamp may be (RFC 5176 section 6.3).
const orderWindow = 300 * time.Second

// Orders listens for Disconnect and CoA requests of RADIUS servers (RFC 5176).
// Nobody but the configured servers is heard.
type Orders struct {
	conn  *net.UDPConn // nil: only over TLS
	heeds atomic.Pointer[heeded]
	carry func(ctx context.Context, order any) (int, error)
	now   func() time.Time
	began time.Time // in whole seconds, as orders have them

	mu       sync.Mutex
	answered map[string]given // by request, so that a repeat is not carried out twice
}

// A heeded is who is heard, and as whom.
type heeded struct {
	secrets       map[netip.Addr][]byte // of servers that are asked by UDP
	nasIdentifier string
	nasAddress    netip.Addr
	timestamps    bool // orders without one are discarded
}

type given struct {
	octets []byte
	at     time.Time
}

// Listen listens at an address; at an invalid one nowhere, for servers that give
// orders over TLS ([RADIUS.Obey]). carry carries out an [aaa.End] or [aaa.Change]
// and says how many sessions it fitted.
func Listen(at netip.AddrPort, c RADIUSConfig, carry func(ctx context.Context, order any) (int, error)) (*Orders, error) {
	o := &Orders{carry: carry, now: time.Now, began: time.Now().Truncate(time.Second), answered: make(map[string]given)}
	o.Reconfigure(c)
	if at.IsValid() {
		var err error
		if o.conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err != nil {
			return nil, fmt.Errorf("aaa: %w", err)
		}
	}
	return o, nil
}

// Reconfigure has other servers heard. One that is asked over TLS is heard over
// TLS alone: its secret is known to everybody.
func (o *Orders) Reconfigure(c RADIUSConfig) {
	h := &heeded{make(map[netip.Addr][]byte), c.NASIdentifier, c.NASAddress, c.Timestamps}
	for _, s := range c.Servers {
		if s.TLS == nil {
			h.secrets[s.Address.Addr()] = s.Secret
		}
	}
	o.heeds.Store(h)
}

// Close stops hearing.
func (o *Orders) Close() error {
	if o.conn == nil {
		return nil
	}
	return o.conn.Close()
}

// Address is where orders are heard.
func (o *Orders) Address() netip.AddrPort { return o.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Run hears orders until ctx ends.
func (o *Orders) Run(ctx context.Context) error {
	if o.conn == nil {
		<-ctx.Done()
		return nil
	}
	stop := context.AfterFunc(ctx, func() { o.conn.Close() })
	defer stop()
	defer o.conn.Close()
	buffer := make([]byte, radius.MaxPacketLength)
	for {
		n, from, err := o.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("aaa: %w", err)
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if answer := o.heard(ctx, append([]byte(nil), buffer[:n]...), from); answer != nil {
			// A lost answer is the server's to ask for again.
			_, _ = o.conn.WriteToUDPAddrPort(answer, from)
		}
	}
}

// heard gives the answer to a datagram, nil for silence.
func (o *Orders) heard(ctx context.Context, b []byte, from netip.AddrPort) []byte {
	secret, known := o.heeds.Load().secrets[from.Addr()]
	if !known {
		return nil
	}
	return o.obey(ctx, b, secret, from.Addr().String(), from.Port())
}

// obey gives the answer to a packet of who knows the secret. An order with an
// Event-Timestamp is the same one from any port, which who repeats it chooses, as
// "the RADIUS Identifier cannot be repeated within the selected time window" (RFC
// 5176 section 6.3). One without may be as old as it likes, and two that were
// meant may have the same octets but for the port.
//
//rfc:5176#6.3
func (o *Orders) obey(ctx context.Context, b, secret []byte, from string, port uint16) []byte {
	if len(b) < 20 {
		return nil
	}
	code := radius.Code(b[0])
	if code != radius.CodeDisconnectRequest && code != radius.CodeCoARequest {
		return nil
	}
	if l := int(b[2])<<8 | int(b[3]); l >= 20 && l <= len(b) {
		b = b[:l]
	}
	if !radius.IsAuthenticRequest(b, secret) || !orderSigned(b, secret) {
		return nil
	}
	p, err := radius.Parse(b, secret)
	if err != nil {
		return nil
	}
	key := from + string(b[:20])
	if _, stamped := getU32(p, attrEventTimestamp); !stamped {
		key += strconv.Itoa(int(port))
	}
	if octets, ok := o.repeat(key); ok {
		return octets
	}
	if !o.current(p) {
		return nil // "MUST be silently discarded" (RFC 5176 section 6.3)
	}
	answer := o.answer(ctx, p)
	octets, err := signAnswer(answer, p)
	if err != nil {
		return nil
	}
	o.remember(key, octets)
	return octets
}

// current says whether an order is of now: "the Event-Timestamp Attribute is
// current within an acceptable time window". One from before this start may have
// been carried out by the process before, which nobody remembers. Without the
// attribute nothing tells an old order from a new one once its repetition is
// forgotten: "Implementations SHOULD be configurable to discard CoA-Request or
// Disconnect-Request packets not containing an Event-Timestamp Attribute".
//
//rfc:5176#6.3
func (o *Orders) current(p *radius.Packet) bool {
	at, ok := getU32(p, attrEventTimestamp)
	if !ok {
		return !o.heeds.Load().timestamps
	}
	when := time.Unix(int64(at), 0)
	off := o.now().Sub(when)
	return off <= orderWindow && off >= -orderWindow && !when.Before(o.began)
}

func (o *Orders) repeat(key string) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g, ok := o.answered[key]
	return g.octets, ok
}

func (o *Orders) remember(key string, octets []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	for k, g := range o.answered {
		if now.Sub(g.at) > 2*orderWindow {
			delete(o.answered, k)
		}
	}
	o.answered[key] = given{octets, now}
}

// orderSigned checks the Message-Authenticator of an order, where there is one.
// The Request Authenticator proves as much that the sender knows the secret, and
// `radclient` sends none unless it is told to.
func orderSigned(b, secret []byte) bool {
	at := attributeAt(b, byte(attrMessageAuth))
	if at < 0 {
		return true
	}
	c := append([]byte(nil), b...)
	clear(c[4:20])
	clear(c[at : at+md5.Size])
	h := hmac.New(md5.New, secret)
	h.Write(c)
	return hmac.Equal(h.Sum(nil), b[at:at+md5.Size])
}

// answer carries an order out.
func (o *Orders) answer(ctx context.Context, p *radius.Packet) *radius.Packet {
	ack, nak := radius.CodeDisconnectACK, radius.CodeDisconnectNAK
	if p.Code == radius.CodeCoARequest {
		ack, nak = radius.CodeCoAACK, radius.CodeCoANAK
	}
	refuse := func(cause uint32) *radius.Packet {
		a := p.Response(nak)
		putU32(a, attrErrorCause, cause)
		return a
	}
	heeds := o.heeds.Load()
	if id := p.Get(attrNASIdentifier); len(id) > 0 && heeds.nasIdentifier != "" && string(id) != heeds.nasIdentifier {
		return refuse(causeNASMismatch)
	}
	if a, ok := getAddr(p, attrNASIPAddress); ok && heeds.nasAddress.IsValid() && a != heeds.nasAddress {
		return refuse(causeNASMismatch)
	}
	end := aaa.End{NAI: ident.NAI(p.Get(attrUserName))}
	if a, ok := getAddr(p, attrFramedIPAddress); ok {
		end.HomeAddress = a
	}
	if id := p.Get(attrAcctSessionID); len(id) > 0 {
		n, err := strconv.ParseUint(string(id), 16, 64)
		if err != nil || n == 0 {
			return refuse(causeUnknownSession)
		}
		end.Session = aaa.Session(n)
	}
	if end == (aaa.End{}) {
		return refuse(causeMissingAttribute)
	}
	var order any = end
	if p.Code == radius.CodeCoARequest {
		lifetime, ok := getU32(p, attrSessionTimeout)
		if !ok {
			return refuse(causeUnsupported) // it is all that can be changed
		}
		order = aaa.Change{End: end, Lifetime: time.Duration(lifetime) * time.Second}
	}
	n, err := o.carry(ctx, order)
	switch {
	case err != nil:
		return refuse(causeInvalidRequest)
	case n == 0:
		return refuse(causeUnknownSession)
	}
	return p.Response(ack)
}

// signAnswer encodes the answer to an order, with its Message-Authenticator.
func signAnswer(a, request *radius.Packet) ([]byte, error) {
	a.Attributes = append(radius.Attributes{{Type: attrMessageAuth, Attribute: make([]byte, md5.Size)}}, a.Attributes...)
	b, err := a.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("aaa: %w", err)
	}
	copy(b[4:20], request.Authenticator[:])
	h := hmac.New(md5.New, a.Secret)
	h.Write(b)
	copy(a.Attributes[0].Attribute, h.Sum(nil))
	if b, err = a.Encode(); err != nil {
		return nil, fmt.Errorf("aaa: %w", err)
	}
	return b, nil
}
