package translator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	crand "crypto/rand"

	"golang.org/x/net/dns/dnsmessage"

	"careof/wire/nat64"
)

// wellKnown is the name that has IPv4 addresses alone: an IPv6 one in an answer
// is a translator's work (RFC 7050 section 3).
var wellKnown = dnsmessage.MustNewName("ipv4only.arpa.")

// The name's addresses (RFC 7050 section 8.2).
var wellKnownAddresses = [...]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})}

// Bounds of how long an answer is believed.
const (
	leastTTL = time.Minute
	mostTTL  = 24 * time.Hour
)

var errNoTranslator = errors.New("translator: the name server knows of no translator")

// question is a query for the name's IPv6 addresses.
func question(id uint16) []byte {
	m := dnsmessage.Message{
		// The CD bit stays zero, or the server would leave the synthesis to us
		// (RFC 7050 section 3).
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: wellKnown, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		panic("translator: the question does not pack: " + err.Error()) // it is a constant
	}
	return b
}

var errNotOurs = errors.New("translator: no answer to what was asked")

// readAnswer reads the prefixes that an answer tells of, best first, and how long
// they are good.
func readAnswer(b []byte, id uint16) ([]nat64.Prefix, time.Duration, error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || !h.Response || h.ID != id {
		return nil, 0, errNotOurs
	}
	asked, err := p.AllQuestions()
	if err != nil || len(asked) != 1 || asked[0].Type != dnsmessage.TypeAAAA || asked[0].Class != dnsmessage.ClassINET || !sameName(asked[0].Name, wellKnown) {
		return nil, 0, errNotOurs
	}
	if h.RCode != dnsmessage.RCodeSuccess {
		return nil, 0, errNoTranslator
	}
	var list []netip.Addr
	ttl := mostTTL
	// Servers for the name may rename it; where the addresses hang is no matter.
	for len(list) < 16 {
		r, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		} else if err != nil {
			return nil, 0, errNotOurs
		}
		if r.Type != dnsmessage.TypeAAAA || r.Class != dnsmessage.ClassINET {
			if p.SkipAnswer() != nil {
				return nil, 0, errNotOurs
			}
			continue
		}
		a, err := p.AAAAResource()
		if err != nil {
			return nil, 0, errNotOurs
		}
		list = append(list, netip.AddrFrom16(a.AAAA))
		ttl = min(ttl, time.Duration(r.TTL)*time.Second)
	}
	found := prefixesIn(list)
	if len(found) == 0 {
		return nil, 0, errNoTranslator
	}
	return found, max(ttl, leastTTL), nil
}

// sameName compares names, which servers may return in other letters.
func sameName(a, b dnsmessage.Name) bool {
	if a.Length != b.Length {
		return false
	}
	lower := func(c byte) byte {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	for i := range a.Data[:a.Length] {
		if lower(a.Data[i]) != lower(b.Data[i]) {
			return false
		}
	}
	return true
}

// prefixesIn finds the prefixes by which addresses stand for the name's. An
// address in which more than one place holds one of them tells nothing alone:
// then the place counts where the other address's stands too (RFC 7050
// section 3).
func prefixesIn(list []netip.Addr) (found []nat64.Prefix) {
	seen := make(map[nat64.Prefix][len(wellKnownAddresses)]bool)
	var alone, shared []nat64.Prefix
	for _, a := range list {
		var here []nat64.Prefix
		for _, l := range nat64.Lengths {
			p, err := nat64.PrefixOf(netip.PrefixFrom(a, l).Masked())
			if err != nil {
				continue
			}
			v4, ok := p.From(a)
			i := slices.Index(wellKnownAddresses[:], v4)
			if !ok || i < 0 {
				continue
			}
			s := seen[p]
			s[i] = true
			seen[p] = s
			here = append(here, p)
		}
		if len(here) == 1 {
			alone = append(alone, here...)
		} else {
			shared = append(shared, here...)
		}
	}
	for _, p := range alone {
		if !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, p := range shared {
		if s := seen[p]; s[0] && s[1] && !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	if len(found) > 1 {
		return nil
	}
	return found
}

// askTimeout is how long one name server has for its answer.
const askTimeout = 2 * time.Second

// ask asks name servers in turn, over connections that dial makes.
func ask(ctx context.Context, servers []netip.Addr, dial func(context.Context, netip.AddrPort) (net.Conn, error)) (list []nat64.Prefix, ttl time.Duration, err error) {
	err = errors.New("translator: no name server is known")
	for _, server := range servers {
		var prefixes []nat64.Prefix
		if prefixes, ttl, err = askOne(ctx, netip.AddrPortFrom(server, 53), dial); err == nil {
			return prefixes, ttl, nil
		}
		err = fmt.Errorf("%v: %w", server, err)
		if errors.Is(err, errNoTranslator) {
			return nil, 0, err
		}
	}
	return nil, 0, err
}

func askOne(ctx context.Context, server netip.AddrPort, dial func(context.Context, netip.AddrPort) (net.Conn, error)) ([]nat64.Prefix, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := dial(ctx, server)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	if err := conn.SetDeadline(end); err != nil {
		return nil, 0, err
	}
	var number [2]byte
	// crypto/rand.Read never returns an error.
	_, _ = crand.Read(number[:])
	id := uint16(number[0])<<8 | uint16(number[1])
	if _, err := conn.Write(question(id)); err != nil {
		return nil, 0, err
	}
	for buffer := make([]byte, 4096); ; {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, 0, err
		}
		list, ttl, err := readAnswer(buffer[:n], id)
		if errors.Is(err, errNotOurs) {
			continue // a forger's, perhaps: the right one may still come
		}
		return list, ttl, err
	}
}
