// Package message is the Message String extension: RFC 4917. A home agent and a
// foreign agent can put a text for the user into their replies: why a
// registration was refused, or a welcome. It "MUST NOT affect the operation of
// the protocol" (section 3).
//
//	section 3   the extension                          wire/mip4
//	section 4   texts by code, in replies              message.go home, deny, deliver
//	section 5   the order: subtype 1 before extension  the zones of wire/mip4; heard
//	            32, subtype 2 behind it
//
// Left out: texts in revocations, which come with RFC 3543.
package message

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "message-string"

// Longest is how many octets a text can have.
const Longest = 254

// Texts are what an agent says with each code of its replies. The text of code
// 0 is also for code 1, when that has none of its own.
type Texts map[mip4.Code]string

// with finds the text for a code.
func (t Texts) with(c mip4.Code) (string, bool) {
	text, ok := t[c]
	if !ok && c == mip4.CodeAcceptedNoSimultaneous {
		text, ok = t[mip4.CodeAccepted]
	}
	return text, ok
}

// check finds the first mistake: "The message MUST be in UTF-8" (section 3).
//
//rfc:4917#3-3
func (t Texts) check() error {
	for code := range mip4.Code(255) {
		if text, ok := t[code]; ok && (text == "" || len(text) > Longest || !utf8.ValidString(text)) {
			return fmt.Errorf("message: the text for code %d is not 1 to %d octets of UTF-8", code, Longest)
		}
	}
	return nil
}

// New is the feature; texts are the agent's, none at a mobile node.
func New(texts Texts) feature.Feature {
	return feature.Feature{
		Name:  Name,
		RFC:   []int{4917},
		After: []string{"fa-error"}, // which makes another reply of a denial
		Home: func(a *ha.Agent) error {
			if len(texts) > 0 {
				a.Reply.Add(Name, "text", texts.home)
			}
			return texts.check()
		},
		Foreign: func(a *fa.Agent) error {
			if len(texts) > 0 {
				a.Deny.Add(Name, "text", texts.deny)
				a.Deliver.Add(Name, "text", texts.deliver)
			}
			return texts.check()
		},
		Mobile: func(n *mn.Node) error {
			n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtMessageString})
			n.Reply.Add(Name, "text", heard)
			return nil
		},
	}
}

// home: "it MUST appear before Mobile-Home Authentication Extension" (RFC 4917
// section 5).
//
//rfc:4917#5
//rfc:4917#4
//rfc:4917#5-1
func (t Texts) home(x *ha.Exchange) engine.Verdict {
	if text, ok := t.with(x.Code); ok {
		x.Draft.Add(mip4.ZoneHome, &mip4.MessageString{From: mip4.MessageFromHomeAgent, Text: text})
	}
	return engine.Next()
}

// deny and deliver: "it MUST appear after Mobile-Home Authentication Extension
// whenever present. Also the extension MUST appear before the Mobile-Foreign
// Authentication Extension whenever present" (RFC 4917 section 5).
//
//rfc:4917#5
//rfc:4917#4
//rfc:4917#5-2
//rfc:4917#5-3
func (t Texts) deny(d *fa.Denial) engine.Verdict {
	if text, ok := t.with(d.Code); ok {
		d.Draft.Add(mip4.ZoneForeign, &mip4.MessageString{From: mip4.MessageFromForeignAgent, Text: text})
	}
	return engine.Next()
}

func (t Texts) deliver(r *fa.Return) engine.Verdict {
	if text, ok := t.with(r.Reply.Code); ok && r.Accepted() {
		r.Draft.Add(mip4.ZoneForeign, &mip4.MessageString{From: mip4.MessageFromForeignAgent, Text: text})
	}
	return engine.Next()
}

// Heard notes that an agent has something to say to the user.
const Heard note.Kind = "message"

// heard keeps what the agents say and tells of it, once: "The Mobile Node may
// throttle how often the user is notified of the message" (RFC 4917 section 4).
// A home agent's text that its authenticator does not cover is nobody's, and so
// is a foreign agent's without one on the way.
//
//rfc:4917#4
//rfc:4917#5
//rfc:4917#3-2
func heard(x *mn.Response) engine.Verdict {
	r := x.Registration
	last, signed := x.Message.LastAuthorizing()
	var said []string
	for _, e := range x.Message.Exts {
		v, err := mip4.Decode[mip4.MessageString](e)
		if err != nil {
			continue // skippable: a malformed one is skipped
		}
		covered := signed && e.Off < last.Off
		if v.From == mip4.MessageFromHomeAgent && (!x.Authentic || signed && !covered) ||
			v.From == mip4.MessageFromForeignAgent && (covered || !r.Key.Agent.IsValid() || x.Packet.Src.Addr() != r.Key.Agent) {
			continue
		}
		if text := Printable(v.Text); text != "" {
			said = append(said, text)
		}
	}
	text := strings.Join(said, " / ")
	if text == r.Message {
		return engine.Next()
	}
	if r.Message = text; text != "" {
		x.Node.Tell(note.Note{
			Kind: Heard, Level: note.Info, Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: r.Key.HomeAgent,
			Endpoint: netip.AddrPortFrom(r.Key.Agent, 0), Code: uint8(x.Reply.Code), Why: text,
		})
	}
	return engine.Next()
}

// Printable makes a stranger's text fit for a terminal and a log: one line of
// what a person can see. Octets that are no UTF-8 and runes that are no graphic
// characters, as escape sequences and those that turn the direction of writing,
// become the replacement character; runs of space become one.
//
//rfc:4917#3
//rfc:4917#3-3
func Printable(text string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r):
			return utf8.RuneError
		}
		return r
	}, text)
	return strings.Join(strings.Fields(clean), " ")
}
