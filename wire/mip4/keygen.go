package mip4

// KeyAlgorithm is the algorithm of a new security association: the IPsec Authentication Algorithm attribute (RFC 3957 section 6).
type KeyAlgorithm uint16

// The algorithms in use; RFC 4004 section 9.8 knows only the second.
const (
	KeyHMACMD5  KeyAlgorithm = 1
	KeyHMACSHA1 KeyAlgorithm = 2
)

var keyAlgorithmNames = [...]string{1: "HMAC-MD5", 2: "HMAC-SHA1"}

// String names the algorithm.
func (v KeyAlgorithm) String() string {
	return named("KeyAlgorithm", keyAlgorithmNames[:], v)
}

// KeyReplay is the replay protection of a new Mobile-Home association (RFC 3957 section 4).
type KeyReplay uint16

// The methods; 0 and 1 are reserved.
const (
	KeyReplayTimestamps KeyReplay = 2
	KeyReplayNonces     KeyReplay = 3
)

var keyReplayNames = [...]string{2: "timestamps", 3: "nonces"}

// String names the method.
func (v KeyReplay) String() string {
	return named("KeyReplay", keyReplayNames[:], v)
}

// MobileForeignKeyRequest asks AAA for a key between mobile node and foreign agent (RFC 3957 section 6.1).
//
//	Type8=40 Sub8=1 Length16=4 SPI32
type MobileForeignKeyRequest struct{ SPI uint32 } // the mobile node's choice

// ExtNumber implements Payload.
func (*MobileForeignKeyRequest) ExtNumber() (ExtType, uint8) { return ExtMobileForeignKeyRequest, 1 }

// AppendBody implements Payload.
func (p *MobileForeignKeyRequest) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *MobileForeignKeyRequest) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:3957#6.1
func (p *MobileForeignKeyRequest) layout(c *cursor) { u32(c, "Mobile Node SPI", &p.SPI) }

// MobileForeignKeyReply carries the nonce for the key between mobile node and foreign agent (RFC 3957 section 6.2).
//
//	Type8=41 Sub8=1 Length16=14+n Lifetime32 AAASPI32 FASPI32 Algorithm16 Nonce n      n >= 16
type MobileForeignKeyReply struct {
	Lifetime        uint32 // seconds
	AAASPI          uint32
	ForeignAgentSPI uint32
	Algorithm       KeyAlgorithm
	Nonce           []byte
}

// ExtNumber implements Payload.
func (*MobileForeignKeyReply) ExtNumber() (ExtType, uint8) { return ExtMobileForeignKeyReply, 1 }

// AppendBody implements Payload.
func (p *MobileForeignKeyReply) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *MobileForeignKeyReply) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:3957#6.2
func (p *MobileForeignKeyReply) layout(c *cursor) {
	u32(c, "Lifetime", &p.Lifetime)
	u32(c, "AAA SPI", &p.AAASPI)
	u32(c, "FA SPI", &p.ForeignAgentSPI)
	u16(c, "Algorithm Identifier", &p.Algorithm)
	c.nonce(&p.Nonce)
}

// nonce is key material; at least 128 bits (RFC 3957 section 6).
func (c *cursor) nonce(p *[]byte) {
	c.octets("Key Generation Nonce", p)
	c.least(16, *p)
}

// MobileHomeKeyRequest asks AAA for a key between mobile node and home agent (RFC 3957 section 6.3).
//
//	Type8=42 Sub8=1 Length16=4 SPI32
type MobileHomeKeyRequest struct{ SPI uint32 } // the mobile node's choice

// ExtNumber implements Payload.
func (*MobileHomeKeyRequest) ExtNumber() (ExtType, uint8) { return ExtMobileHomeKeyRequest, 1 }

// AppendBody implements Payload.
func (p *MobileHomeKeyRequest) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *MobileHomeKeyRequest) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:3957#6.3
func (p *MobileHomeKeyRequest) layout(c *cursor) { u32(c, "Mobile Node SPI", &p.SPI) }

// MobileHomeKeyReply carries the nonce for the key between mobile node and home agent (RFC 3957 section 6.4).
//
//	Type8=43 Sub8=1 Length16=16+n Lifetime32 AAASPI32 HASPI32 Algorithm16 Replay16 Nonce n      n >= 16
type MobileHomeKeyReply struct {
	Lifetime     uint32 // seconds
	AAASPI       uint32
	HomeAgentSPI uint32
	Algorithm    KeyAlgorithm
	Replay       KeyReplay
	Nonce        []byte
}

// ExtNumber implements Payload.
func (*MobileHomeKeyReply) ExtNumber() (ExtType, uint8) { return ExtMobileHomeKeyReply, 1 }

// AppendBody implements Payload.
func (p *MobileHomeKeyReply) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *MobileHomeKeyReply) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:3957#6.4
func (p *MobileHomeKeyReply) layout(c *cursor) {
	u32(c, "Lifetime", &p.Lifetime)
	u32(c, "AAA SPI", &p.AAASPI)
	u32(c, "HA SPI", &p.HomeAgentSPI)
	u16(c, "Algorithm Identifier", &p.Algorithm)
	u16(c, "Replay Method", &p.Replay)
	c.nonce(&p.Nonce)
}
