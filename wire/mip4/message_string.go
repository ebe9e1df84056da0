package mip4

// MessageSource says which agent wrote a MessageString.
type MessageSource uint8

// The subtypes of extension 145.
const (
	MessageFromHomeAgent    MessageSource = 1
	MessageFromForeignAgent MessageSource = 2
)

var messageSourceNames = [...]string{1: "from the home agent", 2: "from the foreign agent"}

// String names the source.
func (v MessageSource) String() string { return named("MessageSource", messageSourceNames[:], v) }

// MessageString is the Message String extension (RFC 4917 section 3): text for the user, meant to be UTF-8 but written by a
// stranger; whoever prints it removes control characters.
//
//	Type8=145 Length8=1+n Sub8 Text n       n: 1 to 254
type MessageString struct {
	From MessageSource
	Text string
}

// ExtNumber implements Payload.
func (p *MessageString) ExtNumber() (ExtType, uint8) { return ExtMessageString, uint8(p.From) }

// AppendBody implements Payload.
func (p *MessageString) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *MessageString) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4917#3
func (p *MessageString) layout(c *cursor) { c.text("Text", &p.Text, 1, 254) }

func (p *MessageString) setSub(sub uint8) bool {
	p.From = MessageSource(sub)
	return sub == 1 || sub == 2
}
