package scene

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"careof/internal/lab/topology"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A hopReader reads the packets of all links as a story: which registration messages
// went over which link, and what each box on the way did to them. It is an error
// when a box changed what it may not change.
//
// The story has no times, no Identifications and no ports that luck chooses,
// and tells of the same thing once. So it is the same in every laboratory.
type hopReader struct {
	topology *topology.Topology
	records  map[string]func() [][]byte
	seen     map[string]int // of each segment's packets, those that were told already
}

// recordAll begins to record all segments.
func recordAll(l Lab) *hopReader {
	r := &hopReader{topology: l.Topology(), records: make(map[string]func() [][]byte), seen: make(map[string]int)}
	for _, s := range r.topology.Segments {
		r.records[s.Name] = l.Record(s.Name)
	}
	return r
}

// fresh returns the packets of a segment since skip was called last.
func (r *hopReader) fresh(segment string) [][]byte { return r.records[segment]()[r.seen[segment]:] }

// skip passes over what has been recorded so far.
func (r *hopReader) skip() {
	for name, packets := range r.records {
		r.seen[name] = len(packets())
	}
}

// A sighting is a registration message on one link.
type sighting struct {
	segment string
	ip      encap.IPv4
	udp     encap.UDPDatagram
	message *mip4.Message
}

// request tells whether the message goes to the home agent.
func (s *sighting) request() bool { return s.message.Type == mip4.TypeRegistrationRequest }

// authentic is the part that nobody on the way may touch, and tells the message
// from others.
func (s *sighting) authentic() string { return string(s.message.Head()) }

// signalling tells the registration messages on links, in the order in which
// a message comes to them: path leads from the mobile node to the home agent.
func (r *hopReader) signalling(path []string) ([]string, error) {
	var order []string
	passages := make(map[string][]*sighting)
	for _, segment := range path {
		for _, p := range r.fresh(segment) {
			ip, u, err := encap.ParseUDP(p)
			if err != nil || len(u.Payload) == 0 || u.Src.Port() != encap.Port && u.Dst.Port() != encap.Port {
				continue
			}
			m, err := mip4.Parse(u.Payload)
			if err != nil || m.Type != mip4.TypeRegistrationRequest && m.Type != mip4.TypeRegistrationReply {
				continue
			}
			s := &sighting{segment, ip, u, m}
			key := s.authentic()
			if passages[key] == nil {
				order = append(order, key)
			}
			passages[key] = append(passages[key], s)
		}
	}
	var story []string
	tell := func(line string) {
		if !slices.Contains(story, line) {
			story = append(story, line)
		}
	}
	for _, key := range order {
		list := passages[key]
		if !list[0].request() {
			slices.Reverse(list) // it came from the other end
		}
		for i, s := range list {
			if i == 0 || list[i-1].segment == s.segment {
				tell(s.String())
				continue
			}
			change, err := r.change(list[i-1], s)
			if err != nil {
				return story, fmt.Errorf("%v on its way from %s to %s: %w", s.message.Type, list[i-1].segment, s.segment, err)
			}
			tell(s.String() + ": " + change)
		}
	}
	return story, nil
}

func (s *sighting) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s to %s, ttl %d, ", s.segment, endpoint(s.udp.Src), endpoint(s.udp.Dst), s.ip.TTL)
	if q, err := s.message.Request(); s.request() && err == nil {
		fmt.Fprintf(&b, "request %v lifetime %d home %v agent %v care-of %v", q.Flags, q.Lifetime, q.HomeAddress, q.HomeAgent, q.CareOfAddress)
	} else if p, err := s.message.Reply(); err == nil {
		fmt.Fprintf(&b, "reply %d lifetime %d home %v agent %v", p.Code, p.Lifetime, p.HomeAddress, p.HomeAgent)
	}
	fmt.Fprintf(&b, " %v", numbers(s.message.Exts))
	return b.String()
}

// endpoint leaves out a port that luck has chosen.
func endpoint(a netip.AddrPort) string {
	if a.Port() == encap.Port {
		return a.String()
	}
	return a.Addr().String() + ":*"
}

func numbers(extensions []mip4.Ext) []mip4.ExtType {
	list := []mip4.ExtType{}
	for _, e := range extensions {
		list = append(list, e.Type)
	}
	return list
}

// between finds the box that connects two segments.
func (r *hopReader) between(a, b string) *topology.Node {
	for i := range r.topology.Nodes {
		on := make(map[string]bool)
		for _, f := range r.topology.Nodes[i].Interfaces {
			on[f.Segment] = true
		}
		if on[a] && on[b] {
			return &r.topology.Nodes[i]
		}
	}
	return nil
}

// change says what became of a message between two links, and whether that may
// be.
func (r *hopReader) change(before, after *sighting) (string, error) {
	box := r.between(before.segment, after.segment)
	switch {
	case box == nil:
		return "", fmt.Errorf("nothing connects them")
	case !bytes.Equal(before.message.Head(), after.message.Head()):
		return "", fmt.Errorf("%s changed what is authenticated from end to end: %x became %x", box.Name, before.message.Head(), after.message.Head())
	case box.Kind == topology.ForeignAgent:
		return relayed(box, before, after)
	case !bytes.Equal(before.udp.Payload, after.udp.Payload):
		return "", fmt.Errorf("%s, a router, changed the message: %x became %x", box.Name, before.udp.Payload, after.udp.Payload)
	case before.ip.TTL != after.ip.TTL+1:
		return "", fmt.Errorf("%s made a TTL of %d of %d", box.Name, after.ip.TTL, before.ip.TTL)
	}
	source, target := before.udp.Src != after.udp.Src, before.udp.Dst != after.udp.Dst
	switch {
	case !source && !target:
		return box.Name + " forwards it", nil
	case box.NAT == nil:
		return "", fmt.Errorf("%s, a router, sends on from %v to %v what came from %v to %v", box.Name, after.udp.Src, after.udp.Dst, before.udp.Src, before.udp.Dst)
	case source && target:
		return "", fmt.Errorf("%s translated both addresses", box.Name)
	case source:
		return box.Name + " translates where it comes from", nil
	}
	return box.Name + " translates where it goes", nil
}

// relayed judges what a foreign agent has done.
//
// Of a request it "MUST process and remove any extensions that follow" the
// Mobile-Home Authentication Extension, "MAY append any of its own
// non-authentication Extensions", and "MUST append the Foreign-Home
// Authentication Extension, if the foreign agent shares a mobility security
// association with the home agent" (RFC 5944 section 3.7.2.2). A reply goes the
// same way back (section 3.7.3.2).
//
//rfc:5944#3.7.2.2
//rfc:5944#3.7.3.2
func relayed(box *topology.Node, before, after *sighting) (string, error) {
	removed, added := tailOf(before), tailOf(after)
	forbidden, last := mip4.ExtMobileForeign, mip4.ExtForeignHome
	if !before.request() {
		forbidden, last = last, forbidden
	}
	for i, e := range added {
		if e.Type == forbidden || e.Type == mip4.ExtMobileHome || e.Type == mip4.ExtGeneralizedAuth {
			return "", fmt.Errorf("%s added or left extension %v, which is not for there", box.Name, e.Type)
		}
		if e.Type == last && i != len(added)-1 {
			return "", fmt.Errorf("%s put something after its authenticator", box.Name)
		}
	}
	q, _ := before.message.Request()
	switch {
	case before.request() && (after.udp.Src.Addr() != q.CareOfAddress || after.udp.Dst != netip.AddrPortFrom(q.HomeAgent, encap.Port)):
		return "", fmt.Errorf("%s sent it from %v to %v", box.Name, after.udp.Src, after.udp.Dst)
	case !before.request() && after.udp.Src.Port() != encap.Port:
		return "", fmt.Errorf("%s sent it from %v", box.Name, after.udp.Src)
	}
	return fmt.Sprintf("%s relays it, removes %v and adds %v", box.Name, numbers(removed), numbers(added)), nil
}

// tailOf lists the extensions behind the authenticated part.
func tailOf(s *sighting) (list []mip4.Ext) {
	for _, e := range s.message.Exts {
		if e.Off >= len(s.message.Head()) {
			list = append(list, e)
		}
	}
	return list
}

// data tells which forms data packets have on which link.
func (r *hopReader) data(path []string) (story []string) {
	for _, segment := range path {
		var lines []string
		for _, p := range r.fresh(segment) {
			line := dataForm(p)
			if line = segment + ": " + line; line != segment+": " && !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines) // in which order they begin is luck
		story = append(story, lines...)
	}
	return story
}

// dataForm says how a packet of a stream travels; empty for all others.
func dataForm(p []byte) string {
	ip, err := encap.ParseIPv4(p)
	if err != nil {
		return ""
	}
	h, inner, err := encap.Pull(bytes.Clone(p))
	switch {
	case err == nil && dataForm(inner) == "":
		return "" // a keepalive
	case err == nil && h.Kind == encap.UDP:
		return fmt.Sprintf("%s in UDP from %s to %s with %s", form(h, cmp.Or(h.Inner, encap.IPIP)), endpoint(netip.AddrPortFrom(h.Src, h.SrcPort)), endpoint(netip.AddrPortFrom(h.Dst, h.DstPort)), dataForm(inner))
	case err == nil:
		return fmt.Sprintf("%s from %v to %v with %s", form(h, h.Kind), h.Src, h.Dst, dataForm(inner))
	case ip.Protocol == 6:
		return fmt.Sprintf("packet from %v to %v", ip.Src, ip.Dst)
	case ip.Protocol == 17:
		if _, u, err := encap.ParseUDP(p); err == nil && u.Src.Port() != encap.Port && u.Dst.Port() != encap.Port {
			return fmt.Sprintf("packet from %v to %v", ip.Src, ip.Dst)
		}
	}
	return ""
}

// form names an encapsulation; which key it has is luck.
func form(h encap.Header, kind encap.Kind) string {
	if h.HasKey {
		return kind.String() + " with a key"
	}
	return kind.String()
}
