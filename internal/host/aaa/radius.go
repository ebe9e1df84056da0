package aaa

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"layeh.com/radius"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
)

// Answer implements [Answerer].
//
//rfc:5030#3.1
//rfc:5030#3.1-2
//rfc:5030#3.1-3
func (r *RADIUS) Answer(ctx context.Context, question any) (aaa.Grant, error) {
	var make1 func(*Server) *radius.Packet
	if q, ok := question.(interface{ Name() string }); ok && len(q.Name()) > mostText {
		return aaa.Grant{}, fmt.Errorf("aaa: a name of %d octets does not fit RADIUS: %w", len(q.Name()), aaa.ErrRejected)
	}
	switch q := question.(type) {
	case aaa.Authenticate:
		if q.Proof.SPI != assoc.CHAPSPI {
			return aaa.Grant{}, fmt.Errorf("aaa: %s: RADIUS verifies the CHAP SPI (2) only, not %d: %w", q.NAI, q.Proof.SPI, aaa.ErrRejected)
		}
		if len(q.Proof.Authenticator) != 16 {
			return aaa.Grant{}, fmt.Errorf("aaa: %s: an authenticator of %d octets: %w", q.NAI, len(q.Proof.Authenticator), aaa.ErrRejected)
		}
		make1 = func(s *Server) *radius.Packet { return r.authenticate(s, q) }
	case aaa.Authorise:
		make1 = func(s *Server) *radius.Packet { return r.authorise(s, q) }
	default:
		return aaa.Grant{}, fmt.Errorf("aaa: no such question: %T", question)
	}
	answer, request, server, err := r.exchange(ctx, false, make1)
	if err != nil {
		return aaa.Grant{}, err
	}
	if answer.Code != radius.CodeAccessAccept {
		why := ""
		if m := answer.Get(attrReplyMessage); len(m) > 0 {
			why = fmt.Sprintf(" (%q)", string(m))
		}
		return aaa.Grant{}, fmt.Errorf("aaa: %v said %v%s: %w", server.Address, answer.Code, why, aaa.ErrRejected)
	}
	q, wants := question.(aaa.Authorise)
	proven, _ := question.(aaa.Authenticate)
	grant, err := r.grant(answer, request, server, q.SPI, proven.Wishes)
	if err == nil && wants && len(grant.Associations) == 0 {
		err = fmt.Errorf("aaa: %v gave no key in the attributes of %v: %w", server.Address, server.Dialect, aaa.ErrRejected)
	}
	return grant, err
}

// request starts a request with what all of them have: a name for the node, one
// for this agent, and the agents' addresses.
func (r *RADIUS) request(code radius.Code, s *Server, who aaa.Subject) *radius.Packet {
	p := radius.New(code, s.Secret)
	name := string(who.NAI)
	if name == "" {
		name = who.HomeAddress.String()
	}
	putText(p, attrUserName, name)
	putText(p, attrNASIdentifier, r.cfg.Load().NASIdentifier)
	putAddr(p, attrNASIPAddress, r.cfg.Load().NASAddress)
	putU32(p, attrNASPortType, 5) // Virtual
	putAddr(p, attrFramedIPAddress, who.HomeAddress)
	words := &dialects[s.Dialect]
	words.putAddr(p, words.homeAgent, who.HomeAgent)
	words.putAddr(p, words.foreignAgent, who.CareOfAddress)
	return p
}

// Values of Service-Type.
const (
	serviceFramed        = 2
	serviceAuthorizeOnly = 17
)

// authenticate makes what any RADIUS server verifies of a Mobile-AAA
// authenticator: "CHAP-Password" is the challenge's first octet and the
// authenticator, and "CHAP-Challenge" the rest of what was digested (RFC 4721
// section 8, RFC 2865 section 5.3).
//
//rfc:4721#8
func (r *RADIUS) authenticate(s *Server, q aaa.Authenticate) *radius.Packet {
	p := r.request(radius.CodeAccessRequest, s, q.Subject)
	challenge := q.Proof.Against()
	p.Add(attrCHAPPassword, append([]byte{challenge[0]}, q.Proof.Authenticator...))
	p.Add(attrCHAPChallenge, assoc.CHAPChallenge(q.Proof.Covered, challenge))
	putU32(p, attrServiceType, serviceFramed)
	wish(p, q.Wishes)
	return p
}

// authorise asks for the key that an SPI names, as home agents of 3GPP2 do
// (RFC 4784 section 4.7).
func (r *RADIUS) authorise(s *Server, q aaa.Authorise) *radius.Packet {
	p := r.request(radius.CodeAccessRequest, s, q.Subject)
	putU32(p, attrServiceType, serviceAuthorizeOnly)
	dialects[s.Dialect].putU32(p, dialects[s.Dialect].spi, q.SPI)
	return p
}

// grant reads an Access-Accept.
func (r *RADIUS) grant(answer, request *radius.Packet, s *Server, spi uint32, wishes aaa.KeyWishes) (aaa.Grant, error) {
	var g aaa.Grant
	// 255.255.255.255 and 255.255.255.254 leave the address to others (RFC 2865
	// section 5.8).
	if a, ok := getAddr(answer, attrFramedIPAddress); ok && a.As4()[0] < 224 && !a.IsUnspecified() {
		g.HomeAddress = a
	}
	words := &dialects[s.Dialect]
	g.HomeAgent = words.homeAgentOf(answer)
	if n, ok := getU32(answer, attrSessionTimeout); ok {
		g.Lifetime = time.Duration(n) * time.Second
	}
	if n, ok := getU32(answer, attrAcctInterim); ok {
		g.Interim = max(time.Duration(n)*time.Second, time.Minute)
	}
	g.Class = answer.Get(attrClass)
	for _, v := range vendorValues(answer, vendorCareof, vsaPrefix) {
		if p, err := netip.ParsePrefix(string(v)); err == nil && p.Addr().Is4() {
			g.Prefixes = append(g.Prefixes, p.Masked())
		}
	}
	algorithm, replay := r.cfg.Load().Algorithm, assoc.Timestamps
	var err error
	if v := vendorValues(answer, vendorCareof, vsaAlgorithm); len(v) > 0 {
		if algorithm, err = assoc.ParseAlgorithm(string(v[0])); err != nil || algorithm == assoc.None {
			return g, fmt.Errorf("aaa: %v: algorithm %q: %w", s.Address, v[0], aaa.ErrRejected)
		}
	}
	if v := vendorValues(answer, vendorCareof, vsaReplay); len(v) > 0 {
		if replay, err = assoc.ParseStyle(string(v[0])); err != nil {
			return g, fmt.Errorf("aaa: %v: %w: %w", s.Address, err, aaa.ErrRejected)
		}
	}
	open := func(v []byte) ([]byte, error) { return unsalt(v, s.Secret, request.Authenticator) }
	if g.Associations, err = words.associations(answer, spi, algorithm, replay, open); err == nil {
		g.Keys, err = sessionKeys(answer, wishes, replay, r.cfg.Load().KeyLifetime, open)
	}
	if err != nil {
		return aaa.Grant{}, fmt.Errorf("aaa: %v: %w: %w", s.Address, err, aaa.ErrRejected)
	}
	return g, nil
}

// keyOf is a key as a server has it. FreeRADIUS's dictionary has it for a text,
// so octets that are none are written in hexadecimal there, after "0x" or "hex:".
func keyOf(octets []byte) assoc.Key {
	for _, prefix := range []string{"0x", "hex:"} {
		if digits, ok := strings.CutPrefix(string(octets), prefix); ok {
			if k, err := assoc.ParseKey(digits); err == nil {
				return k
			}
		}
	}
	return assoc.NewKey(octets)
}
