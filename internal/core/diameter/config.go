package diameter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	wire "careof/wire/diameter"
)

// Config is what a node is made of.
type Config struct {
	Host    string   // Origin-Host
	Realm   string   // Origin-Realm
	Realms  []string // more realms that are processed here
	Product string
	Vendor  uint32
	// State is the Origin-State-Id: it grows with each start that lost its sessions. 0: none is told.
	State        uint32
	Applications []wire.Application
	Peers        []Peer
	Routes       []Route
	// Transit delivers requests for other realms to the application, for it to send them on; otherwise they are refused.
	Transit bool
	// Watchdog is Tw: how long a peer may be silent before it is asked. "The default value of TWINIT is 30 seconds", and RFC 3539 wants
	// 6 at least. 0: the default.
	Watchdog time.Duration
	// Reconnect is Tc: the most between two attempts to connect; "The recommended value is 30 seconds". 0: that.
	Reconnect time.Duration
	// Timeout is how long a request waits for its answer. 0: 10 s.
	Timeout time.Duration
	// Limits; 0 means what is said here.
	MaxPending   int // requests on their way, 4096
	MaxServed    int // requests of one peer that wait for the application, 1024
	MaxStrangers int // connections that have not said who they are, 32
	MaxPerSource int // of them from one address, 4
	MaxAnswers   int // that are kept for duplicates, 4096
}

// A Peer is one that may be talked to; nobody else is.
type Peer struct {
	Host    string // its Origin-Host
	Connect bool   // this node dials; otherwise it waits
	// Addresses that it may connect from when its connection is not secured. None: it may not connect at all without TLS.
	Addresses []netip.Addr
	// Secure wants TLS and a certificate with the peer's name.
	Secure bool
}

// A Route says which peers lead to a realm, the best first.
//
//rfc:6733#2.7
type Route struct {
	Realm string // "": every realm without a route of its own
	Peers []string
}

// Defaults of Config.
const (
	DefaultWatchdog  = 30 * time.Second
	MinWatchdog      = 6 * time.Second
	DefaultReconnect = 30 * time.Second
	DefaultTimeout   = 10 * time.Second
)

// How long a stranger has to say who it is, and a peer to answer CER or DPR.
const patience = 5 * time.Second

// complete fills in defaults and judges.
func (c *Config) complete() error {
	for _, d := range []struct {
		at   *time.Duration
		want time.Duration
	}{{&c.Watchdog, DefaultWatchdog}, {&c.Reconnect, DefaultReconnect}, {&c.Timeout, DefaultTimeout}} {
		if *d.at == 0 {
			*d.at = d.want
		}
	}
	for _, d := range []struct {
		at   *int
		want int
	}{{&c.MaxPending, 4096}, {&c.MaxServed, 1024}, {&c.MaxStrangers, 32}, {&c.MaxPerSource, 4}, {&c.MaxAnswers, 4096}} {
		if *d.at == 0 {
			*d.at = d.want
		}
	}
	switch {
	case c.Host == "" || c.Realm == "":
		return errors.New("diameter: a node needs a host name and a realm")
	case len(c.Applications) == 0:
		return errors.New("diameter: a node needs an application")
	// "Tw MUST NOT be set to a value less than 6 seconds" (RFC 3539 section 3.4.1).
	case c.Watchdog < MinWatchdog:
		return fmt.Errorf("diameter: watchdog of %v, and it must be %v at least", c.Watchdog, MinWatchdog)
	}
	for i, p := range c.Peers {
		switch {
		case p.Host == "":
			return errors.New("diameter: a peer needs a host name")
		case Same(p.Host, c.Host):
			return fmt.Errorf("diameter: peer %s has this node's own name", p.Host)
		case slices.ContainsFunc(c.Peers[:i], func(q Peer) bool { return Same(q.Host, p.Host) }):
			return fmt.Errorf("diameter: peer %s is there twice", p.Host)
		}
	}
	for _, r := range c.Routes {
		for _, host := range r.Peers {
			if !slices.ContainsFunc(c.Peers, func(p Peer) bool { return Same(p.Host, host) }) {
				return fmt.Errorf("diameter: route to %q: no peer %s", r.Realm, host)
			}
		}
	}
	return nil
}

// Same compares DiameterIdentities: "octets that fall in the ASCII range 'a' through 'z' MUST compare equally to their uppercase
// counterparts" (RFC 6733 section 5.6.4). They are ASCII by the dictionary.
func Same(a, b string) bool { return strings.EqualFold(a, b) }

// local reports whether a realm is processed here.
func (c *Config) local(realm string) bool {
	return Same(realm, c.Realm) || slices.ContainsFunc(c.Realms, func(r string) bool { return Same(r, realm) })
}
