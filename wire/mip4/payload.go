package mip4

// Payload is the typed content of one extension.
type Payload interface {
	// ExtNumber is the type and, where the format has one, the subtype.
	ExtNumber() (ExtType, uint8)
	// AppendBody appends the data after type, length and subtype.
	AppendBody(b []byte) ([]byte, error)
	// ParseBody reads the data after type, length and subtype. Slices in the payload alias b.
	ParseBody(b []byte) error
}

// family is a Payload that serves several subtypes of one type.
type family interface {
	// setSub makes the payload the one of the subtype, if it serves it.
	setSub(sub uint8) bool
}

// serves reports whether p can decode e, and sets the subtype of a family.
func serves(p Payload, e Ext) bool {
	t, sub := p.ExtNumber()
	if t != e.Type {
		return false
	}
	if f, ok := p.(family); ok {
		return e.HasSub && f.setSub(e.Sub)
	}
	return sub == e.Sub
}

// Decode reads one extension as T. A type or subtype that T does not serve is ErrType.
func Decode[T any, P interface {
	*T
	Payload
}](e Ext) (v T, err error) {
	p := P(&v)
	if !serves(p, e) {
		err = ErrType
	} else {
		err = p.ParseBody(e.Body)
	}
	if err != nil {
		var zero T
		return zero, &ParseError{Off: e.Off, Ext: e.Type, In: true, Err: err}
	}
	return v, nil
}

// Get reads the first extension of m that T serves and says how many such extensions there are. With none it is the zero T, 0
// and no error. An error speaks of the first one.
func Get[T any, P interface {
	*T
	Payload
}](m *Message) (v T, n int, err error) {
	p := P(new(T))
	for _, e := range m.Exts {
		if !serves(p, e) {
			continue
		}
		if n++; n > 1 {
			continue
		}
		if parse := p.ParseBody(e.Body); parse != nil {
			err = &ParseError{Off: e.Off, Ext: e.Type, In: true, Err: parse}
		} else {
			v = *p
		}
	}
	return v, n, err
}

// GetAll reads every extension of m that T serves, in order. The first malformed one ends it with an error.
func GetAll[T any, P interface {
	*T
	Payload
}](m *Message) ([]T, error) {
	var all []T
	probe := P(new(T))
	for _, e := range m.Exts {
		if !serves(probe, e) {
			continue
		}
		v, err := Decode[T, P](e)
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

// AppendExt appends p as a whole extension, header included, in the layout of the registry. Data that do not fit the length
// field are ErrTooLong.
func AppendExt(b []byte, p Payload) ([]byte, error) {
	t, sub := p.ExtNumber()
	start := len(b)
	format := formatOf(0, t)
	if t == ExtNewIPv4Address {
		format = FormatUnits
	}
	if d, ok := p.(*DynamicHA); ok && d.Short {
		format = FormatShort
	}
	switch format {
	case FormatPad:
		return append(b, 0), nil
	case FormatLong, FormatEither:
		b = append(b, byte(t), sub, 0, 0)
	case FormatVendor:
		b = append(b, byte(t), 0, 0, 0)
	case FormatShort:
		b = append(b, byte(t), 0, sub)
	default:
		b = append(b, byte(t), 0)
	}
	b, err := p.AppendBody(b)
	if err != nil {
		return b[:start], err
	}
	if n := len(b) - start; !putLength(b[start:], format, n) {
		return b[:start], ErrTooLong
	}
	return b, nil
}

// putLength fills the length field of an extension of n octets in all.
//
//rfc:5944#1.11
func putLength(ext []byte, format Format, n int) bool {
	switch format {
	case FormatLong, FormatEither, FormatVendor:
		n -= 4
		ext[2], ext[3] = byte(n>>8), byte(n)
		return n <= 0xffff
	case FormatUnits:
		ext[1] = byte(n / 8)
		return n%8 == 0 && n/8 <= 0xff
	}
	n -= 2
	ext[1] = byte(n)
	return n <= 0xff
}
