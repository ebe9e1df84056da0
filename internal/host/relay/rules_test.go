package relay

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	now    = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	home   = netip.MustParseAddr("10.10.0.5")
	other  = netip.MustParseAddr("10.10.0.6")
	relay  = netip.MustParseAddr("10.10.0.1")
	server = netip.MustParseAddr("10.10.0.67")
	van    = Node{Name: "van7@fleet.example", Networks: []netip.Prefix{netip.MustParsePrefix("10.20.7.0/24")}}
)

func newRules() *rules {
	return &rules{
		address: relay, servers: []netip.Addr{server}, networks: []netip.Prefix{netip.MustParsePrefix("10.10.0.0/24")},
		information: Information{Circuit: true, Remote: true}, pending: make(map[exchange]question), budgets: make(map[netip.Addr]budget),
	}
}

func yes() (Node, bool)      { return van, true }
func always(netip.Addr) bool { return true }

// asks is a message of the client at the home address.
func asks(kind dhcpv4.MessageType, change ...dhcpv4.Modifier) []byte {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 10, 10, 0, 5}), dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4}), dhcpv4.WithMessageType(kind),
	}, change...)...)
	if err != nil {
		panic(err)
	}
	return m.ToBytes()
}

func requested(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}
func client(a netip.Addr) dhcpv4.Modifier { return dhcpv4.WithClientIP(a.AsSlice()) }
func via(a netip.Addr) dhcpv4.Modifier    { return dhcpv4.WithGatewayIP(a.AsSlice()) }

// answers is what the server says to a relayed message, with what it echoes.
func answers(question []byte, kind dhcpv4.MessageType, change ...dhcpv4.Modifier) []byte {
	q, err := dhcpv4.FromBytes(question)
	if err != nil {
		panic(err)
	}
	r, err := dhcpv4.NewReplyFromRequest(q, append([]dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(home.AsSlice())}, change...)...)
	if err != nil {
		panic(err)
	}
	return r.ToBytes()
}

// A node's message goes to the servers with the relay's address, one hop more, and the relay
// agent information as the last option; everything else stays as it is.
//
//rfc:3046#2.0
//rfc:3046#2.1
//rfc:3046#3.1
//rfc:3046#3.2
func TestWhatServersAreTold(t *testing.T) {
	b := asks(dhcpv4.MessageTypeDiscover, requested(home), dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(254), []byte("last"))))
	before := bytes.Clone(b)
	out, o := newRules().up(now, home, b, yes)
	if o != Relayed {
		t.Fatal(o)
	}
	if !bytes.Equal(b, before) {
		t.Error("the node's message was written into")
	}
	end := bytes.LastIndexByte(before[:bytes.Index(before, []byte("last"))+5], 255)
	want := append(bytes.Clone(before[:end]), 82, 31, 1, 9)
	want = append(append(want, "10.10.0.5"...), 2, 18)
	want = append(append(want, "van7@fleet.example"...), 255)
	want = append(want, make([]byte, max(0, len(b)-len(want)))...)
	want[3] = 1
	copy(want[24:], relay.AsSlice())
	if !bytes.Equal(out, want) {
		t.Errorf("relayed\n%x, want\n%x", out, want)
	}
	if _, err := dhcpv4.FromBytes(out); err != nil {
		t.Error(err)
	}
}

// Each sub-option is added only when it is configured; a node without a name is told by its
// address; where the relay is outside of the home network, that one is named.
//
//rfc:3046#2.1
func TestWhatServersAreToldIsConfigurable(t *testing.T) {
	for _, c := range []struct {
		circuit, remote bool
		address         netip.Addr
		node            Node
		want            string
	}{
		{true, false, relay, van, "\x01\x0910.10.0.5"},
		{false, true, relay, van, "\x02\x12van7@fleet.example"},
		{false, true, relay, Node{}, "\x02\x0910.10.0.5"},
		{false, false, relay, van, ""},
		{false, false, netip.MustParseAddr("198.51.100.1"), van, "\x05\x04\x0a\x0a\x00\x00"},
	} {
		r := newRules()
		r.information, r.address = Information{c.circuit, c.remote}, c.address
		out, o := r.up(now, home, asks(dhcpv4.MessageTypeDiscover), func() (Node, bool) { return c.node, true })
		if o != Relayed {
			t.Fatal(o)
		}
		m, err := parse(out)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if m.agent[1] > 0 {
			got = string(out[m.agent[0]+2 : m.agent[1]])
		}
		if got != c.want {
			t.Errorf("%v %v %v: told %q, want %q", c.circuit, c.remote, c.address, got, c.want)
		}
	}
}

// What a node must not say does not reach a server: with an information option or a relay's
// address of its own ("SHALL discard the packet and increment an error count"), about
// addresses of others, as a server, or without a binding. Each is counted.
//
//rfc:3046#2.1
//rfc:3046#2.1.1
//rfc:3046#4.0
func TestWhatNodesMayNotSay(t *testing.T) {
	option := dhcpv4.WithOption(dhcpv4.OptRelayAgentInfo(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(1), []byte("10.10.0.6"))))
	hops := func(m *dhcpv4.DHCPv4) { m.HopCount = mostHops }
	nobody := func() (Node, bool) { return Node{}, false }
	truncated := asks(dhcpv4.MessageTypeDiscover)
	for _, c := range []struct {
		what  string
		b     []byte
		bound func() (Node, bool)
		want  Outcome
	}{
		{"information of its own", asks(dhcpv4.MessageTypeDiscover, option), yes, Forged},
		{"the relay's address", asks(dhcpv4.MessageTypeDiscover, via(relay)), yes, Forged},
		{"another's address as relay", asks(dhcpv4.MessageTypeDiscover, via(other)), yes, Forged},
		{"asks for another's address", asks(dhcpv4.MessageTypeDiscover, requested(other)), yes, OtherAddress},
		{"requests another's address", asks(dhcpv4.MessageTypeRequest, requested(other)), yes, OtherAddress},
		{"requests no address", asks(dhcpv4.MessageTypeRequest), yes, OtherAddress},
		{"renews another's address", asks(dhcpv4.MessageTypeRequest, client(other)), yes, OtherAddress},
		{"releases another's address", asks(dhcpv4.MessageTypeRelease, client(other)), yes, OtherAddress},
		{"declines another's address", asks(dhcpv4.MessageTypeDecline, requested(other)), yes, OtherAddress},
		{"informs about another's address", asks(dhcpv4.MessageTypeInform, client(other)), yes, OtherAddress},
		{"speaks as a server", asks(dhcpv4.MessageTypeAck, client(home)), yes, OtherAddress},
		{"is an answer", answers(asks(dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeAck), yes, Malformed},
		{"has been round", asks(dhcpv4.MessageTypeDiscover, hops), yes, TooManyHops},
		{"has no binding", asks(dhcpv4.MessageTypeDiscover), nobody, Unbound},
		{"is cut off", truncated[:atOptions+2], yes, Malformed},
		{"is nothing", nil, yes, Malformed},
	} {
		r := newRules()
		out, o := r.up(now, home, c.b, c.bound)
		if out != nil || o != c.want || r.counts[c.want] != 1 || len(r.pending) != 0 {
			t.Errorf("who %s: %v, %d octets, %d counted, %d pending; want %v", c.what, o, len(out), r.counts[c.want], len(r.pending), c.want)
		}
	}
	for _, b := range [][]byte{
		asks(dhcpv4.MessageTypeDiscover), asks(dhcpv4.MessageTypeRequest, requested(home)), asks(dhcpv4.MessageTypeRequest, client(home)),
		asks(dhcpv4.MessageTypeRelease, client(home)), asks(dhcpv4.MessageTypeDecline, requested(home)), asks(dhcpv4.MessageTypeInform, client(home)),
	} {
		if out, o := newRules().up(now, home, b, yes); out == nil || o != Relayed {
			t.Errorf("of its own address: %v", o)
		}
	}
}

// Of two options, or of one in another field, a server may read another than the relay does:
// dnsmasq takes the first, and leased the address in it. None of them goes on.
//
//rfc:3046#4.0
//rfc:2131#4.1
func TestAMessageThatCanBeReadInTwoWays(t *testing.T) {
	raw := func(kind dhcpv4.MessageType, ciaddr netip.Addr, options ...byte) []byte {
		b := asks(kind, client(ciaddr))
		return append(append(b[:atOptions:atOptions], options...), optionEnd)
	}
	nowhere := netip.IPv4Unspecified()
	in := func(field int, b []byte, options ...byte) []byte { copy(b[field:], options); return b }
	another := []byte{optionRequested, 4, 10, 10, 0, 6, optionEnd}
	for what, b := range map[string][]byte{
		"two addresses, another's first": raw(dhcpv4.MessageTypeRequest, nowhere, 53, 1, 3, 50, 4, 10, 10, 0, 6, 50, 4, 10, 10, 0, 5),
		"declines two addresses":         raw(dhcpv4.MessageTypeDecline, nowhere, 53, 1, 4, 50, 4, 10, 10, 0, 6, 50, 4, 10, 10, 0, 5),
		"two types":                      raw(dhcpv4.MessageTypeInform, home, 53, 1, 8, 53, 1, 7),
		"a long type":                    raw(dhcpv4.MessageTypeInform, home, 53, 1, 8, 53, 2, 7, 7),
		"a long address":                 raw(dhcpv4.MessageTypeRequest, home, 53, 1, 3, 50, 8, 10, 10, 0, 6, 10, 10, 0, 5),
		"an address in file":             in(atFile, raw(dhcpv4.MessageTypeRequest, home, 53, 1, 3, 52, 1, 1), another...),
		"an address in sname":            in(atSName, raw(dhcpv4.MessageTypeRequest, home, 53, 1, 3, 52, 1, 3), another...),
		"a type in file":                 in(atFile, raw(dhcpv4.MessageTypeDiscover, nowhere, 53, 1, 1, 52, 1, 1), 53, 1, 3, optionEnd),
		"a cut off file":                 in(atCookie-2, raw(dhcpv4.MessageTypeRequest, home, 53, 1, 3, 52, 1, 1), 12, 200),
	} {
		if out, o := newRules().up(now, home, b, yes); out != nil || o != Malformed {
			t.Errorf("%s: %v, %d octets", what, o, len(out))
		}
	}
	ordinary := in(atFile, raw(dhcpv4.MessageTypeRequest, home, 53, 1, 3, 52, 1, 1), 12, 3, 'v', 'a', 'n', optionEnd)
	if out, o := newRules().up(now, home, ordinary, yes); out == nil || o != Relayed {
		t.Errorf("a host name in file: %v", o)
	}
}

// A server that knows Rapid Commit would lease an address that is not the node's at once;
// so it is not asked for that, and offers.
//
//rfc:3046#4.0
func TestNothingIsLeasedUnasked(t *testing.T) {
	rapid := dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(optionRapid), nil)
	for _, information := range []Information{{}, {Circuit: true, Remote: true}} {
		r := newRules()
		r.information = information
		b := asks(dhcpv4.MessageTypeDiscover, rapid, requested(home))
		out, o := r.up(now, home, b, yes)
		if o != Relayed {
			t.Fatal(o)
		}
		m, err := dhcpv4.FromBytes(out)
		if err != nil {
			t.Fatal(err)
		}
		if m.Options.Has(dhcpv4.GenericOptionCode(optionRapid)) || !m.RequestedIPAddress().Equal(home.AsSlice()) || m.MessageType() != dhcpv4.MessageTypeDiscover {
			t.Errorf("the server is asked %v", m.Summary())
		}
	}
}

// What a relay behind a mobile router has relayed goes on "WITHOUT adding any relay agent
// options", with that relay's address; the answer goes there without this relay.
//
//rfc:3046#2.1.1
func TestARelayBehindAMobileRouter(t *testing.T) {
	r := newRules()
	inside := netip.MustParseAddr("10.20.7.1")
	b := asks(dhcpv4.MessageTypeDiscover, via(inside))
	out, o := r.up(now, home, b, yes)
	want := bytes.Clone(b)
	want[atHops]++
	if o != Relayed || !bytes.Equal(out, want) || len(r.pending) != 0 {
		t.Errorf("%v, relayed\n%x, want\n%x", o, out, want)
	}
}

// A message that the information does not fit into goes without: "shall be forwarded WITHOUT
// adding the Agent Information option".
//
//rfc:3046#2.1
func TestTooLongForInformation(t *testing.T) {
	b := asks(dhcpv4.MessageTypeDiscover)
	end := bytes.LastIndexByte(b, 255)
	if end < 0 {
		t.Fatal("no end")
	}
	b = b[:end]
	for len(b)+202 < mostOctets-20 {
		b = append(append(b, 200, 200), make([]byte, 200)...)
	}
	b = append(b, make([]byte, mostOctets-21-len(b))...)
	b = append(b, 255)
	r := newRules()
	out, o := r.up(now, home, b, yes)
	if o != Unmarked || len(out) != len(b) || r.counts[Unmarked] != 1 {
		t.Errorf("%v with %d octets of %d", o, len(out), len(b))
	}
}

// An answer reaches the node that asked, without the information; whoever else answers, and
// whatever names another node or comes too late, reaches nobody.
//
//rfc:3046#2.1
//rfc:3046#3.1
func TestWhoseAnswerItIs(t *testing.T) {
	r := newRules()
	question, _ := r.up(now, home, asks(dhcpv4.MessageTypeRequest, requested(home)), yes)
	ack := answers(question, dhcpv4.MessageTypeAck)
	to, out, o := r.down(now, server, ack, always)
	if o != Returned || to != home {
		t.Fatalf("%v to %v", o, to)
	}
	m, err := dhcpv4.FromBytes(out)
	if err != nil || m.RelayAgentInfo() != nil || m.MessageType() != dhcpv4.MessageTypeAck || !m.YourIPAddr.Equal(home.AsSlice()) {
		t.Errorf("the node hears %v, %v", m, err)
	}
	circuit := func(name string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptRelayAgentInfo(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(1), []byte(name))))
	}
	for _, c := range []struct {
		what  string
		at    time.Time
		from  netip.Addr
		b     []byte
		bound func(netip.Addr) bool
		want  Outcome
	}{
		{"another server", now, other, ack, always, Unsolicited},
		{"too late", now.Add(answerWait + 1), server, ack, always, Unsolicited},
		{"another circuit", now, server, answers(question, dhcpv4.MessageTypeAck, circuit("10.10.0.6")), always, Unsolicited},
		{"another relay", now, server, answers(question, dhcpv4.MessageTypeAck, via(other)), always, Unsolicited},
		{"another exchange", now, server, answers(question, dhcpv4.MessageTypeAck, dhcpv4.WithTransactionID(dhcpv4.TransactionID{9})), always, Unsolicited},
		{"another's lease", now, server, answers(question, dhcpv4.MessageTypeAck, dhcpv4.WithYourIP(other.AsSlice())), always, OtherAddress},
		{"no binding any more", now, server, ack, func(netip.Addr) bool { return false }, Unbound},
		{"a question", now, server, question, always, Malformed},
		{"nothing", now, server, nil, always, Malformed},
	} {
		if _, out, o := r.down(c.at, c.from, c.b, c.bound); out != nil || o != c.want {
			t.Errorf("%s: %v with %d octets, want %v", c.what, o, len(out), c.want)
		}
	}
	// "DHCP servers unaware of the Relay Agent Information option will [...] not echo it".
	silent := newRules()
	silent.information = Information{}
	question, _ = silent.up(now, home, asks(dhcpv4.MessageTypeRequest, requested(home)), yes)
	if to, _, o := silent.down(now, server, answers(question, dhcpv4.MessageTypeAck), always); o != Returned || to != home {
		t.Errorf("without an echo: %v to %v", o, to)
	}
}

// An offer of another address reaches the node, so that it knows.
func TestAnOfferOfAnotherAddress(t *testing.T) {
	r := newRules()
	question, _ := r.up(now, home, asks(dhcpv4.MessageTypeDiscover), yes)
	if to, _, o := r.down(now, server, answers(question, dhcpv4.MessageTypeOffer, dhcpv4.WithYourIP(other.AsSlice())), always); o != Returned || to != home {
		t.Errorf("%v to %v", o, to)
	}
}

// One node's exchange is not another's: who says the same numbers gets nothing of it.
func TestAnExchangeIsOneNodes(t *testing.T) {
	r := newRules()
	question, _ := r.up(now, home, asks(dhcpv4.MessageTypeDiscover), yes)
	if out, o := r.up(now, other, asks(dhcpv4.MessageTypeDiscover), yes); out != nil || o != TooFast {
		t.Errorf("the other one: %v", o)
	}
	if to, _, _ := r.down(now, server, answers(question, dhcpv4.MessageTypeOffer), always); to != home {
		t.Errorf("the answer goes to %v", to)
	}
}

// A node that says very much is heard no more than others, nobody else suffers from it, and
// what it leaves behind is forgotten.
func TestANodeThatSaysTooMuch(t *testing.T) {
	r := newRules()
	many := func(n int) (passed int) {
		for i := range n {
			if out, _ := r.up(now, home, asks(dhcpv4.MessageTypeDiscover, dhcpv4.WithTransactionID(dhcpv4.TransactionID{byte(i >> 8), byte(i)})), yes); out != nil {
				passed++
			}
		}
		return passed
	}
	if n := many(1000); n != nodeBurst || r.counts[TooFast] != 1000-nodeBurst {
		t.Errorf("%d passed, %d counted", n, r.counts[TooFast])
	}
	if out, _ := r.up(now, other, asks(dhcpv4.MessageTypeDiscover, dhcpv4.WithTransactionID(dhcpv4.TransactionID{9, 9})), yes); out == nil {
		t.Error("another node is not heard")
	}
	at := now
	defer func() { now = at }()
	now = now.Add(time.Second)
	if n := many(1000); n != nodeRate {
		t.Errorf("%d passed after a second", n)
	}
	now = now.Add(time.Hour)
	r.sweep(now)
	if len(r.pending) != 0 || len(r.budgets) != 0 {
		t.Errorf("%d exchanges and %d budgets are kept", len(r.pending), len(r.budgets))
	}
}

func FuzzMessages(f *testing.F) {
	question, _ := newRules().up(now, home, asks(dhcpv4.MessageTypeRequest, requested(home)), yes)
	f.Add(question)
	f.Add(asks(dhcpv4.MessageTypeDiscover))
	f.Add(answers(question, dhcpv4.MessageTypeAck))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newRules()
		before := fmt.Sprintf("%x", b)
		if out, o := r.up(now, home, b, yes); (out != nil) != (o == Relayed || o == Unmarked) || o == Relayed && len(out) > max(mostOctets, len(b)) {
			t.Errorf("%v with %d octets", o, len(out))
		}
		if _, out, o := r.down(now, server, b, always); (out != nil) != (o == Returned) || len(out) > len(b) {
			t.Errorf("%v with %d octets", o, len(out))
		}
		if fmt.Sprintf("%x", b) != before {
			t.Error("what came in was written into")
		}
	})
}
