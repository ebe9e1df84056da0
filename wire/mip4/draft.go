package mip4

import (
	"fmt"
)

// Zone is a place in an outgoing message. The order of the zones is the order of RFC 5944 sections 3.6.1.3 and 3.8.3.3, which
// "is REQUIRED"; inside a zone they keep the order in which they were added.
type Zone uint8

// The zones, in the order of the message.
const (
	ZoneHome        Zone = iota // (b) covered by 32: between mobile node and home agent
	ZoneAuthorizing             // (c) 32, then what was added here (the challenge), then 36
	ZoneForeign                 // (d) for the agent on the way only
	ZoneForeignAuth             // (e) 33 or 34
	zoneCount
)

var zoneNames = [...]string{"home", "authorizing", "foreign", "foreign authentication"}

// String names the zone.
func (z Zone) String() string { return named("Zone", zoneNames[:], z) }

// Zones is a set of zones.
type Zones uint8

// Has reports whether z is in the set.
func (s Zones) Has(z Zone) bool { return s&(1<<z) != 0 }

// Signer computes authenticators: a security association.
type Signer interface {
	SPI() uint32
	Size() int                       // octets of the authenticator
	Sign(dst, covered []byte) []byte // appends Size octets to dst; covered may alias the storage of dst
}

// sealed is one authentication extension to be computed.
type sealed struct {
	t      ExtType
	sub    uint8
	signer Signer
}

// Draft is an outgoing message. Its methods remember the first error, Seal returns it.
//
//	d := mip4.NewRequest(r)
//	d.Add(mip4.ZoneHome, &mip4.NAI{Value: "van7@fleet.example"})
//	d.Authenticate(mip4.ExtMobileHome, association)
//	b, err := d.Seal()
type Draft struct {
	fixed Fixed
	head  []byte // RelayDraft: in place of fixed and the zones home and authorizing
	zones [zoneCount][]byte
	auths []sealed
	room  [2]sealed // for auths: there are rarely more
	err   error
}

// NewRequest starts a Registration Request.
func NewRequest(r RegistrationRequest) *Draft { return NewMessage(&r) }

// NewReply starts a Registration Reply.
func NewReply(r RegistrationReply) *Draft { return NewMessage(&r) }

// NewMessage starts a message with a fixed part. The draft keeps f and reads it when it is sealed.
func NewMessage(f Fixed) *Draft { return &Draft{fixed: f} }

// Start makes d the draft of another message with a fixed part, in the memory that it has: for whoever writes very many.
func (d *Draft) Start(f Fixed) {
	*d = Draft{fixed: f, zones: d.zones}
	for z := range d.zones {
		d.zones[z] = d.zones[z][:0]
	}
}

// RelayDraft starts a message with a head that must stay as it is (Message.Head) and new extensions after it: what a foreign agent
// sends on. The draft keeps head without copying it. The zones home and authorizing are closed.
//
//rfc:5944#3.7.2.2
//rfc:5944#3.7.3.2
func RelayDraft(head []byte) *Draft {
	d := &Draft{head: head}
	if len(head) == 0 {
		d.fail(ErrShort)
	}
	return d
}

func (d *Draft) fail(err error) *Draft {
	if d.err == nil {
		d.err = fmt.Errorf("mip4: draft: %w", err)
	}
	return d
}

// Add appends a payload to a zone. A zone where the registry does not allow the extension is ErrZone; data that do not fit are
// ErrTooLong.
func (d *Draft) Add(z Zone, p Payload) *Draft {
	t, sub := p.ExtNumber()
	r := rowOf(t, sub)
	if r == nil {
		return d.fail(fmt.Errorf("%v/%d: %w", t, sub, ErrValue))
	}
	if !r.Zones.Has(z) || !d.open(z) {
		return d.fail(fmt.Errorf("%s in zone %v: %w", r.Name, z, ErrZone))
	}
	b, err := AppendExt(d.zones[z], p)
	if err != nil {
		return d.fail(fmt.Errorf("%s: %w", r.Name, err))
	}
	d.zones[z] = b
	return d
}

// open reports whether extensions may be added in z: a relayed message has its zones home and authorizing behind it.
func (d *Draft) open(z Zone) bool {
	return z < zoneCount && (d.head == nil || z >= ZoneForeign)
}

// AddRaw appends whole extensions, header included, as they are: what is passed on unread, and malformed ones for tests.
func (d *Draft) AddRaw(z Zone, raw []byte) *Draft {
	if !d.open(z) {
		return d.fail(fmt.Errorf("raw octets in zone %v: %w", z, ErrZone))
	}
	d.zones[z] = append(d.zones[z], raw...)
	return d
}

// Authenticate has Seal compute an authentication extension: 32, 33, 34, or 36 with the subtype Mobile-AAA. Each type at most
// once, and one of 33 and 34.
func (d *Draft) Authenticate(t ExtType, s Signer) *Draft {
	sub := uint8(0)
	if t == ExtGeneralizedAuth {
		sub = AuthMobileAAA
	}
	return d.authenticate(t, sub, s)
}

// AuthenticateGeneralized has Seal compute a generalized authentication extension (36) of any subtype.
func (d *Draft) AuthenticateGeneralized(sub uint8, s Signer) *Draft {
	return d.authenticate(ExtGeneralizedAuth, sub, s)
}

func (d *Draft) authenticate(t ExtType, sub uint8, s Signer) *Draft {
	switch {
	case !isAuthentication(t):
		return d.fail(fmt.Errorf("authenticate with %v: %w", t, ErrType))
	case s == nil:
		return d.fail(fmt.Errorf("authenticate with %v without a security association: %w", t, ErrAbsent))
	case !d.open(authZone(t, sub)):
		return d.fail(fmt.Errorf("%v on a relayed message: %w", t, ErrZone))
	}
	for _, a := range d.auths {
		same := a.t == t && a.sub == sub
		// A message between two hops carries one of them, never both: 33 is for the mobile node's hop, 34 for the home agent's.
		hops := a.t == ExtMobileForeign && t == ExtForeignHome || a.t == ExtForeignHome && t == ExtMobileForeign
		if same || hops {
			return d.fail(fmt.Errorf("%v beside %v: %w", t, a.t, ErrDuplicate))
		}
	}
	if d.auths == nil {
		d.auths = d.room[:0]
	}
	d.auths = append(d.auths, sealed{t, sub, s})
	return d
}

// authZone is the zone of an authentication extension.
func authZone(t ExtType, sub uint8) Zone {
	if t == ExtMobileForeign || t == ExtForeignHome || t == ExtGeneralizedAuth && sub == AuthForeignForeign {
		return ZoneForeignAuth
	}
	return ZoneAuthorizing
}

// SetReply changes the fixed part of a Registration Reply before it is sealed; on another message it is ErrType.
func (d *Draft) SetReply(change func(*RegistrationReply)) *Draft {
	r, ok := d.fixed.(*RegistrationReply)
	if !ok {
		return d.fail(fmt.Errorf("set reply: %w", ErrType))
	}
	change(r)
	return d
}

// SetRequest changes the fixed part of a Registration Request before it is sealed; on another message it is ErrType.
func (d *Draft) SetRequest(change func(*RegistrationRequest)) *Draft {
	r, ok := d.fixed.(*RegistrationRequest)
	if !ok {
		return d.fail(fmt.Errorf("set request: %w", ErrType))
	}
	change(r)
	return d
}

// Fixed is the fixed part; nil for a relayed message.
func (d *Draft) Fixed() Fixed { return d.fixed }

// Err is the first error so far.
func (d *Draft) Err() error { return d.err }

// Seal lays the message out and computes the authenticators, each over everything before it. It does not change the draft and may
// be called again; the same draft gives the same octets.
//
//rfc:5944#3.6.1.3
//rfc:5944#3.8.3.3
//rfc:5944#3.5.1
func (d *Draft) Seal() ([]byte, error) { return d.Append(nil) }

// Append is Seal into the memory of b: the message follows b.
//
//rfc:5944#3.2-3
//rfc:5944#3.3-3
func (d *Draft) Append(b []byte) ([]byte, error) {
	if d.err != nil {
		return b, d.err
	}
	start := len(b)
	out, err := b, error(nil)
	if d.head != nil {
		out = append(out, d.head...)
	} else if out, err = d.fixed.AppendFixed(out); err != nil {
		return b, fmt.Errorf("mip4: draft: %v: %w", d.fixed.MessageType(), err)
	}
	out = append(out, d.zones[ZoneHome]...)
	// "the Mobile-Home Authentication extension MUST appear prior to the Mobile-AAA Authentication extension" (RFC 4721 section 6);
	// the challenge comes between them (section 3.1).
	out, err = d.sign(out, start, err, func(a sealed) bool { return a.t == ExtMobileHome })
	out = append(out, d.zones[ZoneAuthorizing]...)
	out, err = d.sign(out, start, err, func(a sealed) bool {
		return a.t != ExtMobileHome && authZone(a.t, a.sub) == ZoneAuthorizing
	})
	out = append(out, d.zones[ZoneForeign]...)
	out = append(out, d.zones[ZoneForeignAuth]...)
	out, err = d.sign(out, start, err, func(a sealed) bool { return authZone(a.t, a.sub) == ZoneForeignAuth })
	if err != nil {
		return b, err
	}
	return out, nil
}

// sign appends the authentication extensions that are due here.
func (d *Draft) sign(out []byte, start int, err error, due func(sealed) bool) ([]byte, error) {
	for _, a := range d.auths {
		if err != nil || !due(a) {
			continue
		}
		header, size, spi := len(out), a.signer.Size(), a.signer.SPI()
		format := FormatSimple
		if a.t == ExtGeneralizedAuth {
			format = FormatLong
			out = append(out, byte(a.t), a.sub, 0, 0)
		} else {
			out = append(out, byte(a.t), 0)
		}
		out = append(out, byte(spi>>24), byte(spi>>16), byte(spi>>8), byte(spi))
		if size <= 0 || !putLength(out[header:], format, len(out)-header+size) {
			err = fmt.Errorf("mip4: draft: %v: %d octets: %w", a.t, size, ErrTooLong)
			continue
		}
		covered := len(out)
		out = a.signer.Sign(out, out[start:covered:covered])
		if len(out)-covered != size {
			panic(fmt.Sprintf("mip4: signer of %v promised %d octets and wrote %d", a.t, size, len(out)-covered))
		}
	}
	return out, err
}
