package hostconfig

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"careof/internal/proto/mip4/feature/vendor"
	"careof/wire/mip4"
)

// Cisco and HostConfiguration are the numbers of the extension (RFC 4332 section 3).
const (
	Cisco             uint32 = 9
	HostConfiguration uint16 = 14
)

// A SubType says what an extension is about (RFC 4332 sections 3.1 to 3.8).
type SubType uint16

// The sub-types. Of those that are not used here, the client identifier belongs to
// a home agent that is a DHCP client for its nodes.
const (
	Request SubType = iota
	PrefixLength
	DNSServer
	DHCPServer
	DHCPClientID
	DefaultGateway
	DNSSuffix
	ConfigurationURL
)

// maxText is what an extension of 255 octets has room for. RFC 4332 allows a suffix
// one octet more.
const maxText = 245

// A Configuration is what a home agent tells a host of a home network. What is
// invalid or empty it does not know.
type Configuration struct {
	PrefixLength int // 0: unknown
	Router       netip.Addr
	Servers      []netip.Addr // name servers, two at most
	DHCPServer   netip.Addr
	Domain       string
	URL          string // with more; nobody here follows it
}

// Known says whether there is anything in it.
func (c *Configuration) Known() bool {
	return c.PrefixLength > 0 || c.Router.IsValid() || len(c.Servers) > 0 || c.DHCPServer.IsValid() || c.Domain != "" || c.URL != ""
}

// request asks for everything: "0 indicates all host configuration available to the
// Home Agent (HA) is requested" (RFC 4332 section 3.1).
func request() mip4.Payload { return item(Request, []byte{0, 0}) }

func item(s SubType, content []byte) mip4.Payload {
	return &mip4.NVSE{Vendor: Cisco, VendorType: HostConfiguration, Value: append(binary.BigEndian.AppendUint16(nil, uint16(s)), content...)}
}

// extensions lays a configuration out, one extension for each thing.
//
//rfc:4332#3.2
//rfc:4332#3.3
//rfc:4332#3.4
//rfc:4332#3.6
//rfc:4332#3.7
func (c *Configuration) extensions() (list []mip4.Payload) {
	add := func(there bool, s SubType, content ...byte) {
		if there {
			list = append(list, item(s, content))
		}
	}
	address := func(s SubType, a netip.Addr) { add(a.Is4(), s, a.AsSlice()...) }
	add(c.PrefixLength > 0, PrefixLength, 0, byte(c.PrefixLength))
	address(DefaultGateway, c.Router)
	if len(c.Servers) > 0 {
		// Both fields are always there; without a second server it is 0.0.0.0.
		var both [8]byte
		for i, a := range c.Servers[:min(len(c.Servers), 2)] {
			copy(both[4*i:], a.AsSlice())
		}
		add(true, DNSServer, both[:]...)
	}
	address(DHCPServer, c.DHCPServer)
	add(c.Domain != "", DNSSuffix, []byte(c.Domain)...)
	return list
}

// covered calls visit with every host configuration extension that stands before the
// last authorization-enabling one.
func covered(m *mip4.Message, visit func(s SubType, content []byte)) {
	exts := m.Authorized()
	for i := range exts {
		value, found := vendor.Find(exts[i:i+1], false, Cisco, HostConfiguration)
		if found && len(value) >= 2 {
			visit(SubType(binary.BigEndian.Uint16(value)), value[2:])
		}
	}
}

// asks says whether a request wants host configuration. Selectors other than 0 mean
// nothing yet.
//
//rfc:4332#3.1
func asks(m *mip4.Message) (yes bool) {
	covered(m, func(s SubType, content []byte) {
		yes = yes || s == Request && len(content) == 2 && content[0]|content[1] == 0
	})
	return yes
}

// read is what a reply tells. What cannot be so is left out: name servers and routers
// that are no hosts, and names that a file of the host must not contain.
func read(m *mip4.Message) (c Configuration) {
	covered(m, func(s SubType, content []byte) {
		switch s {
		case PrefixLength:
			if len(content) == 2 && content[0] == 0 && content[1] > 0 && content[1] <= 32 {
				c.PrefixLength = int(content[1])
			}
		case DNSServer:
			c.Servers = nil
			if len(content) != 4 && len(content) != 8 {
				return
			}
			for ; len(content) > 0; content = content[4:] {
				if a := host(content[:4]); a.IsValid() {
					c.Servers = append(c.Servers, a)
				}
			}
		case DHCPServer:
			c.DHCPServer = host(content)
		case DefaultGateway:
			c.Router = host(content)
		case DNSSuffix:
			if c.Domain = ""; domain(string(content)) {
				c.Domain = string(content)
			}
		case ConfigurationURL:
			if c.URL = ""; len(content) <= maxText && printable(content) {
				c.URL = string(content)
			}
		}
	})
	return c
}

// host is the address of a host, invalid when the octets are none.
func host(b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if !ok || !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || b[0] >= 240 || b[0] == 0 {
		return netip.Addr{}
	}
	return a
}

// domain says whether a name is one that a host can be given: labels of letters, digits, "-" and "_".
func domain(s string) bool {
	if s == "" || len(s) > maxText {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return true
}

// Sane leaves out what a host must not be given, whoever said it: name servers and
// routers that are no hosts, and domains that are none.
func (c Configuration) Sane() Configuration {
	sane := func(a netip.Addr) netip.Addr { return host(a.AsSlice()) }
	list := c.Servers
	c.Servers = nil
	for _, a := range list {
		if a = sane(a); a.IsValid() {
			c.Servers = append(c.Servers, a)
		}
	}
	c.Router, c.DHCPServer = sane(c.Router), sane(c.DHCPServer)
	if !domain(c.Domain) {
		c.Domain = ""
	}
	return c
}

func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(b) > 0
}
