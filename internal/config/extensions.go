package config

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"careof/wire/mip4"
)

// A MessageText is a [[….message]] table: what an agent says to the user of a
// mobile node beside a reply code (RFC 4917).
type MessageText struct {
	Code mip4.Code
	Text string
}

// An OpaqueExtension is a [[….vendor-extension]] table (RFC 3115) or an
// [[….experiment]] table (RFC 4064).
type OpaqueExtension struct {
	Critical bool
	Vendor   uint32 // of a vendor's extension
	Type     uint16 // the vendor's type, or the experiment's subtype
	To       Party
	Value    []byte
	Deny     bool // of an experiment
}

func (e *OpaqueExtension) id() string {
	s := fmt.Sprintf("%d", e.Type)
	if e.Vendor != 0 {
		s = fmt.Sprintf("%d/%s", e.Vendor, s)
	}
	if e.Critical {
		s += ", critical"
	}
	return s
}

// A Party is whom an extension is sent to.
type Party uint8

// The parties of a registration.
const (
	PartyNobody Party = iota
	PartyHomeAgent
	PartyForeignAgent
	PartyMobileNode
)

var partyWords = []string{"nobody", "home-agent", "foreign-agent", "mobile-node"}

func (p Party) String() string { return enumString(p, "Party", partyWords) }

// partyKind reads one of some of the parties.
func partyKind(parties ...Party) Kind[Party] {
	var words []string
	for _, p := range parties {
		words = append(words, p.String())
	}
	return Word(func(s string) (Party, error) {
		return Party(slices.Index(partyWords, s)), nil
	}, words...)
}

// octetsKind reads octets in hexadecimal.
var octetsKind = Kind[[]byte]{
	Name: "hexadecimal digits",
	Parse: func(v any) ([]byte, error) {
		s, ok := v.(string)
		if !ok {
			return nil, wrongType(v, "hexadecimal digits", `"00ff"`)
		}
		b, err := hex.DecodeString(s)
		if err != nil {
			return nil, mistakef(`two for each octet, for example "00ff"`, "%q are no hexadecimal digits", s)
		}
		return b, nil
	},
	Format: func(b []byte) string {
		if len(b) == 0 {
			return ""
		}
		return strconv.Quote(hex.EncodeToString(b))
	},
}

// textKind reads a text that fits into extension 145.
var textKind = Kind[string]{
	Name: "a text of 1 to 254 octets",
	Parse: func(v any) (string, error) {
		s, err := String.Parse(v)
		switch {
		case err != nil:
			return "", err
		case len(s) > 254:
			return "", mistakef("make it shorter", "is %d octets long, but at most 254 fit", len(s))
		case !utf8.ValidString(s):
			return "", mistakef("save the file as UTF-8", "is no UTF-8")
		}
		return s, nil
	},
	Format: formatString,
}

// codeKind reads a reply code.
var codeKind = Kind[mip4.Code]{
	Name: "a reply code from 0 to 255",
	Parse: func(v any) (mip4.Code, error) {
		n, err := Int[uint16](0, 255).Parse(v)
		return mip4.Code(n), err
	},
	Format: func(c mip4.Code) string { return strconv.Itoa(int(c)) },
}

// messageRow is the row of an agent's texts. code is an example.
func messageRow[S any](at func(*S) *[]MessageText, code int) Row[S] {
	return tables("message", Table[MessageText]{
		Field("code", codeKind, func(m *MessageText) *mip4.Code { return &m.Code }, Help{
			Required: true, Example: strconv.Itoa(code),
			Doc: "The reply code that the text belongs to; 0 is the welcome of a registration that is accepted.",
		}),
		Field("text", textKind, func(m *MessageText) *string { return &m.Text }, Help{
			Required: true, Example: `"Your quota is used up: call 555-0100"`,
			Doc: "The text, at most 254 octets.",
		}),
	}, at, func(m *MessageText) string { return strconv.Itoa(int(m.Code)) }, Help{
		Doc: "A text for the user of a mobile node, shown there by `careof show registrations` (RFC 4917).",
	})
}

// extensionRows are the rows of vendors' extensions and experiments, which a
// role can send to the parties named.
func extensionRows[S any](vendors, experiments func(*S) *[]OpaqueExtension, parties ...Party) Table[S] {
	type E = OpaqueExtension
	example := strconv.Quote(parties[0].String())
	common := Table[E]{
		Field("to", partyKind(parties...), func(e *E) *Party { return &e.To }, Help{
			Example: example,
			Doc:     "Whom it is sent to, in every request or reply. Left out, it is only understood when it comes in.",
		}),
		Field("value", octetsKind, func(e *E) *[]byte { return &e.Value }, Help{
			Example: `"00ff"`,
			Doc:     "What is sent in it, in hexadecimal.",
		}),
	}
	id := func(e *E) string { return e.id() }
	return Table[S]{
		tables("vendor-extension", append(Table[E]{
			Field("vendor", Int[uint32](1, 1<<24-1), func(e *E) *uint32 { return &e.Vendor }, Help{
				Required: true, Example: "32473",
				Doc: "The vendor's SMI private enterprise number.",
			}),
			Field("type", Int[uint16](0, 65535), func(e *E) *uint16 { return &e.Type }, Help{
				Required: true, Example: "1",
				Doc: "The vendor's number of the extension.",
			}),
			Field("critical", Bool, func(e *E) *bool { return &e.Critical }, Help{
				Default: "false",
				Doc:     "Whether it is the critical extension 38, which is refused by who does not know it, or 134, which is skipped.",
			}),
		}, common...), vendors, id, Help{
			Doc: "A vendor's extension (RFC 3115) that is sent, or understood. What comes in is told of in `careof monitor`.",
		}),
		tables("experiment", append(Table[E]{
			Field("sub-type", Int[uint16](0, 255), func(e *E) *uint16 { return &e.Type }, Help{
				Required: true, Example: "1",
				Doc: "The subtype by which the experiment is known to those who take part.",
			}),
			Field("critical", Bool, func(e *E) *bool { return &e.Critical }, Help{
				Default: "false",
				Doc:     "Whether it is extension 127, for which who does not know it discards the message, or 255, which is skipped.",
			}),
			Field("deny", Bool, func(e *E) *bool { return &e.Deny }, Help{
				Default: "false",
				Doc:     "Whether an agent refuses requests with it, with the experimental code 192, or 127 at a foreign agent.",
			}),
		}, common...), experiments, id, Help{
			Doc: "An experimental extension (RFC 4064) that is sent, or understood. Not for products.",
		}),
	}
}

// checkExtensions finds extensions that are there twice, and values that go
// nowhere.
func (d *decoder) checkExtensions(at string, list []OpaqueExtension) {
	seen := map[string]int{}
	for i := range list {
		e := &list[i]
		path := indexed(at, i)
		if first, twice := seen[e.id()]; twice {
			d.problem(path, "remove one of the two", "is on line %d already", d.lines.find(indexed(at, first)))
		}
		seen[e.id()] = i
		if len(e.Value) > 0 && e.To == PartyNobody {
			d.problem(path+".value", "add to", "is sent to nobody")
		}
		if most := 240; !e.Critical && len(e.Value) > most {
			d.problem(path+".value", "critical = true has room for more", "is %d octets long, but at most %d fit", len(e.Value), most)
		}
	}
}

func (d *decoder) checkMessages(at string, list []MessageText) {
	seen := map[mip4.Code]int{}
	for i, m := range list {
		if first, twice := seen[m.Code]; twice {
			d.problem(indexed(at, i), "remove one of the two", "code %d has a text on line %d already", m.Code, d.lines.find(indexed(at, first)))
		}
		seen[m.Code] = i
	}
}
