package config

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"careof/wire/diameter"
)

// Diameter is the [aaa.diameter] section: this host among Diameter nodes.
type Diameter struct {
	Identity    string
	Realm       string
	Listen      []netip.AddrPort
	ListenTLS   []netip.AddrPort
	Certificate *tls.Certificate // nil: none
	Authorities *x509.CertPool   // nil: none
	Peers       []DiameterPeer
	Watchdog    time.Duration
	Reconnect   time.Duration
	Timeout     time.Duration

	cert, key, ca string
}

// A DiameterPeer is an [[aaa.diameter.peer]] table.
type DiameterPeer struct {
	Identity string
	Address  netip.AddrPort // invalid: it connects
	From     []netip.Addr
	TLS      Switch
	Realms   []string // that it leads to; "*": all others
}

var diameterTable = Table[Diameter]{
	Field("identity", String, func(s *Diameter) *string { return &s.Identity }, Help{
		Required: true, Example: `"fa1.visited.example"`,
		Doc: "This host's Diameter identity: its domain name (Origin-Host).",
	}),
	Field("realm", String, func(s *Diameter) *string { return &s.Realm }, Help{
		Required: true, Example: `"visited.example"`,
		Doc: "Its realm (Origin-Realm).",
	}),
	Field("listen", List(addrPort), func(s *Diameter) *[]netip.AddrPort { return &s.Listen }, Help{
		Example: `["192.0.2.20:3868"]`,
		Doc:     "Where peers may connect without TLS. Only those listed are heard, from their addresses.",
	}),
	Field("listen-tls", List(addrPort), func(s *Diameter) *[]netip.AddrPort { return &s.ListenTLS }, Help{
		Example: `["192.0.2.20:5658"]`,
		Doc:     "Where peers may connect with TLS, with a certificate of their identity.",
	}),
	Field("tls-cert", pemKind, func(s *Diameter) *string { return &s.cert }, Help{
		Example: `"keys.d/diameter.pem"`,
		Doc:     "A PEM file with this host's certificate, which has its identity as DNS name, and its chain; or, for a laboratory, its content.",
	}),
	Field("tls-key", pemKind, func(s *Diameter) *string { return &s.key }, Help{
		Example: `"keys.d/diameter.key"`,
		Doc:     "The certificate's key, as PEM, in a file of mode 0600; or, for a laboratory, the file's content.",
	}),
	Field("tls-ca", pemKind, func(s *Diameter) *string { return &s.ca }, Help{
		Example: `"keys.d/partners.pem"`,
		Doc:     "A PEM file with the authorities that sign peers' certificates; or, for a laboratory, its content.",
	}),
	Field("watchdog", Duration(6*time.Second, 10*time.Minute), func(s *Diameter) *time.Duration { return &s.Watchdog }, Help{
		Default: `"30s"`,
		Doc:     "How long a peer may be silent before it is asked whether it lives (Tw of RFC 3539); after two of it, requests go to another.",
	}),
	Field("reconnect", Duration(time.Second, time.Hour), func(s *Diameter) *time.Duration { return &s.Reconnect }, Help{
		Default: `"30s"`,
		Doc:     "The longest between two attempts to connect to a peer (Tc of RFC 6733).",
	}),
	Field("timeout", Duration(time.Second, 5*time.Minute), func(s *Diameter) *time.Duration { return &s.Timeout }, Help{
		Default: `"10s"`,
		Doc:     "How long a request waits for its answer.",
	}),
	tables("peer", Table[DiameterPeer]{
		Field("identity", String, func(p *DiameterPeer) *string { return &p.Identity }, Help{
			Required: true, Example: `"aaa.visited.example"`,
			Doc: "The peer's Diameter identity.",
		}),
		Field("address", addrPort, func(p *DiameterPeer) *netip.AddrPort { return &p.Address }, Help{
			Example: `"192.0.2.20:3868"`, Shown: true,
			Doc: "Where to connect to it. Left out, it connects.",
		}),
		Field("from", List(Address), func(p *DiameterPeer) *[]netip.Addr { return &p.From }, Help{
			Example: `["203.0.113.1"]`,
			Doc:     "The addresses that it may connect from without TLS.",
		}),
		Field("tls", switchKind, func(p *DiameterPeer) *Switch { return &p.TLS }, Help{
			Default: `"off"`,
			Doc:     "Whether the connection has TLS, and a certificate of the peer's identity is asked for.",
		}),
		Field("realms", List(String), func(p *DiameterPeer) *[]string { return &p.Realms }, Help{
			Example: `["home.example"]`,
			Doc:     "The realms that it leads to, beside its being reached itself; \"*\" stands for all that no peer has. Of several, the first one that lives.",
		}),
	}, func(s *Diameter) *[]DiameterPeer { return &s.Peers }, func(p *DiameterPeer) string { return p.Identity }, Help{
		Doc: "A Diameter peer. Nobody else is talked to.",
	}),
}

// loadTLS reads this host's certificate and the authorities of its peers, of the
// table at path; nil when nothing is named.
func (d *decoder) loadTLS(path, cert, key, ca string) (*tls.Certificate, *x509.CertPool) {
	switch {
	case cert == "" && key == "" && ca == "":
		return nil, nil
	case cert == "" || key == "" || ca == "":
		d.problem(path+".tls-cert", "tls-cert, tls-key and tls-ca belong together", "one of them is missing")
		return nil, nil
	}
	chain, err := d.pem(cert, false)
	if err != nil {
		d.mistake(path+".tls-cert", err)
		return nil, nil
	}
	private, err := d.pem(key, true)
	if err != nil {
		d.mistake(path+".tls-key", err)
		return nil, nil
	}
	authorities, err := d.pem(ca, false)
	if err != nil {
		d.mistake(path+".tls-ca", err)
		return nil, nil
	}
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		d.problem(path+".tls-cert", "both are PEM files", "%s and %s do not make a certificate: %v", pemName(cert), pemName(key), err)
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		d.problem(path+".tls-ca", "a PEM file", "%s has no certificate", pemName(ca))
	}
	return &pair, pool
}

// pemKind names a PEM file, or is one.
var pemKind = Kind[string]{
	Name: String.Name, Parse: String.Parse,
	// A key that stands in the configuration is not shown.
	Format: func(s string) string { return formatString(pemName(s)) },
}

// isPEM says whether a text is PEM, and not a file's name.
func isPEM(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), "-----BEGIN ") }

// pemName is what a text of pemKind is called.
func pemName(s string) string {
	if isPEM(s) {
		return "the text given here"
	}
	return s
}

// pem is the content of what a text of pemKind names.
func (d *decoder) pem(s string, secret bool) ([]byte, error) {
	const limit = 1 << 20
	switch {
	case isPEM(s):
		return []byte(s), nil
	case secret:
		return d.readSecret(s, limit)
	}
	return readFile(d.resolve(s), limit)
}

// checkDiameter checks who is talked to, and reads the certificate.
func (d *decoder) checkDiameter(s *Diameter) {
	const at = "aaa.diameter"
	if s.Realm != "" && s.Identity != "" && !strings.HasSuffix(s.Identity, "."+s.Realm) {
		d.warn(at+".identity", "for example aaa."+s.Realm, "%s does not lie in the realm: mobile nodes cannot name it (RFC 3846)", s.Identity)
	}
	s.Certificate, s.Authorities = d.loadTLS(at, s.cert, s.key, s.ca)
	if len(s.ListenTLS) > 0 && s.cert == "" {
		d.problem(at+".listen-tls", "add tls-cert, tls-key and tls-ca", "needs a certificate")
	}
	if len(s.Peers) == 0 {
		d.problem(at, "add [[aaa.diameter.peer]]", "there is nobody to talk to")
	}
	seen := map[string]bool{strings.ToLower(s.Identity): true}
	for i := range s.Peers {
		p := &s.Peers[i]
		path := indexed(at+".peer", i)
		if name := strings.ToLower(p.Identity); name != "" {
			if seen[name] {
				d.problem(path+".identity", "every Diameter node has a name of its own", "%s is there twice", p.Identity)
			}
			seen[name] = true
		}
		switch {
		case p.TLS == On && s.cert == "":
			d.problem(path+".tls", "add tls-cert, tls-key and tls-ca to [aaa.diameter]", "needs a certificate")
		case !p.Address.IsValid() && len(s.Listen)+len(s.ListenTLS) == 0:
			d.problem(path+".address", "for example 192.0.2.20:"+portOf(p.TLS), "is missing, and this host does not listen for it")
		case !p.Address.IsValid() && p.TLS == Off && len(p.From) == 0:
			d.problem(path+".from", "the address that it connects from", "is missing: without TLS nothing else tells who connects")
		}
	}
}

func portOf(t Switch) string {
	if t == On {
		return strconv.Itoa(diameter.PortTLS)
	}
	return strconv.Itoa(diameter.Port)
}
