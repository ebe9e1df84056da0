package config

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/ident"
)

// AAA is the [aaa] section. Subscribers are looked up first, and then servers are
// asked.
type AAA struct {
	Hold          time.Duration   // how long an answer holds that does not say itself
	Timeout       time.Duration   // of one try
	Tries         int             // at one server
	DeadTime      time.Duration   // a server that does not answer is left alone for so long
	Algorithm     assoc.Algorithm // of MN-HA keys, when a server does not say
	Questions     int             // a second about nodes that are not registered
	PerSource     int             // of those, open at a time from one address
	NASIdentifier string
	Source        netip.Addr     // that questions come from; invalid: routing decides
	Dynamic       netip.AddrPort // where servers may send Disconnect and CoA requests; invalid: nowhere
	Timestamps    Switch         // whether orders there need an Event-Timestamp
	Accounting    Switch
	Interim       time.Duration // 0: as the server says
	Keys          AAAKeys       // RFC 3957
	KeyLifetime   time.Duration // of keys that are made for subscribers
	Servers       []AAAServer
	Subscribers   []Subscriber
	Diameter      *Diameter // nil: no Diameter
	Serve         *AAAServe // nil: this host is no AAA server
}

// An AAAServer is an [[aaa.server]] table. The first one that lives is asked.
type AAAServer struct {
	Address        netip.Addr
	Port           uint16
	AccountingPort uint16 // 0 with TLS
	Secret         assoc.Key
	TLS            Switch           // RFC 6614
	Attributes     AAAAttributes    // that it speaks
	Name           string           // that the server's certificate has
	Certificate    *tls.Certificate // nil without TLS
	Authorities    *x509.CertPool   // nil without TLS

	inline, file  string
	cert, key, ca string
}

// AAAAttributes says whose attributes a RADIUS server speaks.
type AAAAttributes uint8

// The dictionaries.
const (
	AttributesThreeGPP2 AAAAttributes = iota
	AttributesWiMAX
)

var attributesWords = []string{"3gpp2", "wimax"}

func (a AAAAttributes) String() string { return enumString(a, "AAAAttributes", attributesWords) }

// A Subscriber is an [[aaa.subscriber]] table: a node that needs no server.
type Subscriber struct {
	NAI         ident.NAI
	HomeAddress netip.Addr // invalid: from a pool
	AAASecret
	Security // between the node and home agents; without associations it is only authenticated
}

// An AAASecret is what a node shares with AAA.
type AAASecret struct {
	Secret assoc.Key
	// Association is what the secret is used in; nil: in the manner of CHAP.
	Association *assoc.Association
	// Keys: a mobile node asks for keys (RFC 3957).
	Keys bool

	spi          uint32
	algorithm    assoc.Algorithm
	inline, file string
}

// AAAKeys says what agents do about keys that nodes ask for.
type AAAKeys uint8

// What they do.
const (
	AAAKeysOn       AAAKeys = iota // have them made for who asks
	AAAKeysOff                     // leave them be
	AAAKeysRequired                // and a foreign agent serves nobody without one
)

var aaaKeysWords = []string{"on", "off", "required"}

func (k AAAKeys) String() string { return enumString(k, "AAAKeys", aaaKeysWords) }

// secretText reads a shared secret: characters, or octets after "hex:". It must
// not be empty. The key never prints itself.
func secretText(s string) (assoc.Key, error) {
	if h, ok := strings.CutPrefix(s, "hex:"); ok {
		octets, err := hex.DecodeString(strings.TrimSpace(h))
		if err != nil {
			return assoc.Key{}, mistakef("an even number of hexadecimal digits after hex:", "is no secret")
		}
		s = string(octets)
	}
	if s == "" {
		return assoc.Key{}, mistakef("", "is empty")
	}
	return assoc.NewKey([]byte(s)), nil
}

// ParseSecret reads a shared secret as it stands in the configuration.
func ParseSecret(s string) (assoc.Key, error) { return secretText(s) }

// hidden is a text of which only a fingerprint is shown.
var hidden = Kind[string]{
	Name: "a text",
	Parse: func(v any) (string, error) {
		s, ok := v.(string)
		if !ok {
			return "", mistakef("", "must be a text")
		}
		return s, nil
	},
	Format: func(s string) string {
		k, err := secretText(s)
		if err != nil {
			return ""
		}
		return strconv.Quote(k.String())
	},
}

// secretRows are the keys of a shared secret.
func secretRows[S any](inline, file func(*S) *string, example string) Table[S] {
	return Table[S]{
		Field("secret-file", String, file, Help{
			Example: example, Shown: true,
			Doc: "A file of mode 0600 with the shared secret: its characters, or \"hex:\" and digits. A line feed at the end is not part of it.",
		}),
		Field("secret", hidden, inline, Help{
			Example: `"a long secret"`,
			Doc:     "The shared secret itself instead of a secret-file, for a laboratory.",
		}),
	}
}

// loadSecret finds the secret of the table at path.
func (d *decoder) loadSecret(path, inline, file string) (k assoc.Key) {
	switch {
	case inline != "" && file != "":
		d.problem(path+".secret", "keep one", "secret and secret-file are both there")
	case inline == "" && file == "":
		if !d.wrong(path+".secret") && !d.wrong(path+".secret-file") {
			d.problem(path+".secret-file", "a file of mode 0600 with the shared secret", "is missing")
		}
	default:
		at := path + ".secret"
		if file != "" {
			at = path + ".secret-file"
			content, err := d.readSecret(file, 4096)
			if err != nil {
				d.mistake(at, err)
				return k
			}
			inline = string(bytes.TrimRight(content, "\r\n"))
		}
		k, err := secretText(inline)
		if err != nil {
			d.mistake(at, err)
			return k
		}
		return k
	}
	return k
}

// aaaSecretRows are the keys of what a node shares with AAA.
func aaaSecretRows[S any](at func(*S) *AAASecret, example string) Table[S] {
	return append(secretRows(func(s *S) *string { return &at(s).inline }, func(s *S) *string { return &at(s).file }, example), Table[S]{
		Field("spi", spiKind, func(s *S) *uint32 { return &at(s).spi }, Help{
			Example: "512",
			Doc: "The number under which node and AAA keep the secret. Left out, it is used in the manner of CHAP (SPI 2, RFC 4721 section 8):\n" +
				"RADIUS servers know nothing else.",
		}),
		Field("algorithm", algorithmKind, func(s *S) *assoc.Algorithm { return &at(s).algorithm }, Help{
			Example: `"hmac-md5"`,
			Doc:     "With spi: how requests are authenticated. hmac-md5 is the default of RFC 4721.",
		}),
	}...)
}

// checkAAASecret completes what a node shares with AAA.
func (d *decoder) checkAAASecret(path string, s *AAASecret) {
	s.Secret = d.loadSecret(path, s.inline, s.file)
	if s.spi == 0 {
		if s.algorithm != 0 {
			d.problem(path+".algorithm", "add spi, or leave algorithm out", "has no meaning without spi: the secret is used in the manner of CHAP")
		}
		return
	}
	algorithm := cmp.Or(s.algorithm, assoc.HMACMD5)
	if algorithm == assoc.None {
		d.problem(path+".algorithm", `for example algorithm = "hmac-md5"`, "none proves nothing")
		return
	}
	if s.Secret.Len() == 0 {
		return // reported
	}
	var err error
	if s.Association, err = assoc.New(s.spi, algorithm, s.Secret, assoc.Timestamps); err != nil {
		d.problem(path, "", "%s", reason(err))
	}
}

var aaaTable = Table[AAA]{
	Field("hold", Duration(time.Minute, 30*24*time.Hour), func(a *AAA) *time.Duration { return &a.Hold }, Help{
		Default: `"1h"`,
		Doc:     "How long an answer about a node holds when the server does not say (Session-Timeout). Renewals in that time ask nobody.",
	}),
	Field("timeout", Duration(100*time.Millisecond, time.Minute), func(a *AAA) *time.Duration { return &a.Timeout }, Help{
		Default: `"1s"`,
		Doc:     "How long one try waits for a server.",
	}),
	Field("tries", Int[int](1, 10), func(a *AAA) *int { return &a.Tries }, Help{
		Default: "2",
		Doc:     "How often a server is asked before the next one is.",
	}),
	Field("dead-time", Duration(time.Second, time.Hour), func(a *AAA) *time.Duration { return &a.DeadTime }, Help{
		Default: `"30s"`,
		Doc:     "How long a server that did not answer is left alone, unless no other lives. The first one listed is used again after that.",
	}),
	Field("questions", Int[int](1, 100000), func(a *AAA) *int { return &a.Questions }, Help{
		Default: "50",
		Doc:     "How many questions a second are asked about nodes that are not registered, with a burst of twice as many. Further ones are refused.",
	}),
	Field("questions-per-source", Int[int](1, 100000), func(a *AAA) *int { return &a.PerSource }, Help{
		Default: "16",
		Doc:     "How many of those may be open at a time for requests from one IP address.",
	}),
	Field("mobile-home-algorithm", Word(assoc.ParseAlgorithm, "hmac-sha256", "hmac-sha1", "hmac-md5", "keyed-md5"), func(a *AAA) *assoc.Algorithm { return &a.Algorithm }, Help{
		Default: `"hmac-md5"`,
		Doc:     "What keys between nodes and home agents are used in, when the server gives a key and does not say (Careof-MN-HA-Algorithm).",
	}),
	Field("nas-identifier", String, func(a *AAA) *string { return &a.NASIdentifier }, Help{
		Example: `"fa1.visited.example"`,
		Doc:     "The agent's name towards servers (NAS-Identifier). Left out, the agent's address names it.",
	}),
	Field("source", Address, func(a *AAA) *netip.Addr { return &a.Source }, Help{
		Example: `"203.0.113.1"`,
		Doc:     "The address that servers are asked from. Left out, routing decides.",
	}),
	Field("dynamic-authorisation", addrPort, func(a *AAA) *netip.AddrPort { return &a.Dynamic }, Help{
		Example: `"203.0.113.1:3799"`,
		Doc:     "Where the servers may order sessions to be ended or changed (RFC 5176). Only those listed are heard.",
	}),
	Field("order-timestamps", switchKind, func(a *AAA) *Switch { return &a.Timestamps }, Help{
		Default: `"off"`,
		Doc: "Whether such orders need an Event-Timestamp of the last five minutes. One without can be sent again, much later, by who has\n" +
			"seen it on the way. `radclient` sends one when it is told to.",
	}),
	Field("accounting", switchKind, func(a *AAA) *Switch { return &a.Accounting }, Help{
		Default: `"on"`,
		Doc:     "Whether servers are told of sessions: when they begin, meanwhile, and when they end, with what the data plane counted.",
	}),
	Field("interim", Duration(time.Minute, 24*time.Hour), func(a *AAA) *time.Duration { return &a.Interim }, Help{
		Example: `"10m"`,
		Doc:     "How often servers are told of sessions that go on, when they do not say (Acct-Interim-Interval). Left out, not at all.",
	}),
	optional("diameter", diameterTable, func(a *AAA) **Diameter { return &a.Diameter }, Help{
		Doc: "Diameter (RFC 6733): how this host's agents ask AAA servers (RFC 4004), and how an AAA server is reached.",
	}),
	optional("serve", serveTable, func(a *AAA) **AAAServe { return &a.Serve }, Help{
		Doc: "This host is the AAA server of its realm (RFC 4004): it knows the subscribers, chooses home agents and makes keys; and it takes\n" +
			"visitors' requests to their home realms.",
	}),
	Field("keys", Enum[AAAKeys](aaaKeysWords...), func(a *AAA) *AAAKeys { return &a.Keys }, Help{
		Default: `"on"`,
		Doc: "Whether nodes that ask for keys get them (RFC 3957): with their home agent, and with this foreign agent. required: a\n" +
			"foreign agent denies with code 107 who has none.",
	}),
	Field("key-lifetime", Duration(10*time.Second, 30*24*time.Hour), func(a *AAA) *time.Duration { return &a.KeyLifetime }, Help{
		Default: `"4h"`,
		Doc:     "How long a key holds that is made for a subscriber. The node asks for the next one before it ends.",
	}),
	tables("server", append(Table[AAAServer]{
		Field("address", Address, func(s *AAAServer) *netip.Addr { return &s.Address }, Help{
			Required: true, Example: `"192.0.2.10"`,
			Doc: "The server's address.",
		}),
		Field("port", Int[uint16](1, math.MaxUint16), func(s *AAAServer) *uint16 { return &s.Port }, Help{
			Example: "1645",
			Doc:     "Its UDP port for authentication. Left out, 1812. With TLS, the TCP port for everything, and left out 2083.",
		}),
		Field("accounting-port", Int[uint16](1, math.MaxUint16), func(s *AAAServer) *uint16 { return &s.AccountingPort }, Help{
			Example: "1646",
			Doc:     "Its UDP port for accounting. Left out, 1813.",
		}),
		Field("attributes", Enum[AAAAttributes](attributesWords...), func(s *AAAServer) *AAAAttributes { return &s.Attributes }, Help{
			Default: `"3gpp2"`,
			Doc:     "Whose attributes it speaks about home agents, SPIs and keys, as FreeRADIUS's dictionaries have them.",
		}),
		Field("tls", switchKind, func(s *AAAServer) *Switch { return &s.TLS }, Help{
			Default: `"off"`,
			Doc: "Whether it is asked over TLS (RadSec, RFC 6614): then nobody on the way reads or forges anything, and no secret is needed. Orders\n" +
				"come over the same connection.",
		}),
		Field("tls-name", String, func(s *AAAServer) *string { return &s.Name }, Help{
			Example: `"aaa.home.example"`,
			Doc:     "The name that its certificate must have. Left out, its address.",
		}),
		Field("tls-cert", pemKind, func(s *AAAServer) *string { return &s.cert }, Help{
			Example: `"keys.d/radsec.pem"`,
			Doc:     "A PEM file with this host's certificate for the server, and its chain.",
		}),
		Field("tls-key", pemKind, func(s *AAAServer) *string { return &s.key }, Help{
			Example: `"keys.d/radsec.key"`,
			Doc:     "The certificate's key, as PEM, in a file of mode 0600.",
		}),
		Field("tls-ca", pemKind, func(s *AAAServer) *string { return &s.ca }, Help{
			Example: `"keys.d/aaa-ca.pem"`,
			Doc:     "A PEM file with the authorities that sign the server's certificate.",
		}),
	}, secretRows(func(s *AAAServer) *string { return &s.inline }, func(s *AAAServer) *string { return &s.file }, `"keys.d/radius"`)...),
		func(a *AAA) *[]AAAServer { return &a.Servers },
		func(s *AAAServer) string { return netip.AddrPortFrom(s.Address, s.port()).String() }, Help{
			Doc: "A RADIUS server. The first one that lives is asked. Answers without a valid Message-Authenticator are discarded.",
		}),
	tables("subscriber", append(append(Table[Subscriber]{
		Field("nai", NAI, func(s *Subscriber) *ident.NAI { return &s.NAI }, Help{
			Required: true, Example: `"van7@fleet.example"`,
			Doc: "The node.",
		}),
		Field("home-address", Address, func(s *Subscriber) *netip.Addr { return &s.HomeAddress }, Help{
			Example: `"10.10.0.9"`,
			Doc:     "Its home address. Left out, the home agent takes one from a pool.",
		}),
	}, aaaSecretRows(func(s *Subscriber) *AAASecret { return &s.AAASecret }, `"keys.d/van7.aaa"`)...),
		tables("key", associationRows(func(a *association) *association { return a }, nodeAtHome, 256, `"keys.d/van7"`),
			func(s *Subscriber) *[]association { return &s.Security.written().keys },
			func(a *association) string { return formatSPI(a.spi) }, Help{
				Doc: "A security association between the node and its home agent, for home agents that ask.",
			})),
		func(a *AAA) *[]Subscriber { return &a.Subscribers },
		func(s *Subscriber) string { return string(s.NAI) }, Help{
			Doc: "A node that is known here. Servers are asked about all others.",
		}),
}

// port is where the server is asked.
func (s *AAAServer) port() uint16 {
	if s.TLS == On {
		return cmp.Or(s.Port, 2083)
	}
	return cmp.Or(s.Port, 1812)
}

// checkServer completes a RADIUS server, and reads what it shares with this host.
func (d *decoder) checkServer(path string, s *AAAServer) {
	s.Port = s.port()
	if s.TLS == Off {
		s.AccountingPort = cmp.Or(s.AccountingPort, 1813)
		s.Secret = d.loadSecret(path, s.inline, s.file)
		if s.Name+s.cert+s.key+s.ca != "" {
			d.problem(path+".tls", `tls = "on"`, "tls-name, tls-cert, tls-key and tls-ca mean nothing without it")
		}
		return
	}
	if s.AccountingPort != 0 {
		d.problem(path+".accounting-port", "remove it", "with TLS everything goes to one port")
	}
	if s.Name == "" {
		s.Name = s.Address.String()
	}
	s.Certificate, s.Authorities = d.loadTLS(path, s.cert, s.key, s.ca)
	if s.cert == "" && s.key == "" && s.ca == "" {
		d.problem(path+".tls-cert", "add tls-cert, tls-key and tls-ca", "TLS needs a certificate of this host's")
	}
	if s.inline == "" && s.file == "" {
		// "The shared secret ... MUST be set to 'radsec'" (RFC 6614 section 2.3).
		s.Secret = assoc.NewKey([]byte("radsec"))
		return
	}
	s.Secret = d.loadSecret(path, s.inline, s.file)
}

func (d *decoder) checkAAA(c *Config) {
	a := c.AAA
	if a == nil {
		return
	}
	if a.Diameter != nil {
		d.checkDiameter(a.Diameter)
	}
	if a.Serve != nil {
		d.checkServe(a)
	}
	if c.HomeAgent == nil && c.ForeignAgent == nil && a.Serve == nil {
		d.problem("aaa", "add [home-agent] or [foreign-agent], or remove this section", "only agents ask AAA; a node's own secret is [mobile-node.aaa]")
	}
	for i := range a.Servers {
		d.checkServer(indexed("aaa.server", i), &a.Servers[i])
	}
	names := map[ident.NAI]bool{}
	for i := range a.Subscribers {
		s := &a.Subscribers[i]
		path := indexed("aaa.subscriber", i)
		if names[s.NAI] && s.NAI != "" {
			d.problem(path+".nai", "remove one of the two", "%s is there twice", s.NAI)
		}
		names[s.NAI] = true
		d.checkAAASecret(path, &s.AAASecret)
		if len(s.Security.written().keys) > 0 {
			d.associate(path, &s.Security, nodeAtHome)
		}
	}
	if len(a.Servers) == 0 && len(a.Subscribers) == 0 && a.Diameter == nil && a.Serve == nil {
		d.problem("aaa", "add [[aaa.server]] or [[aaa.subscriber]]", "there is nobody to ask")
	}
	if f := c.ForeignAgent; f != nil && f.ChallengeWindow == 0 && c.HomeAgent == nil {
		d.warn("aaa", "set foreign-agent.challenge-window = 2", "without challenges a foreign agent has nothing verified")
	}
}
