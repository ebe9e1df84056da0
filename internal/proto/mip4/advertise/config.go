package advertise

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"careof/wire/adv4"
	"careof/wire/mip4"
)

// Intervals between advertisements.
const (
	// DefaultInterval is much shorter than the 600 seconds of RFC 1256: a
	// mobile node without link events learns of a move by them.
	DefaultInterval = 10 * time.Second
	// MinimumInterval is below the 4 seconds of RFC 1256, as RFC 5944 section
	// 2.1 allows; a second is what it takes not to consume "a significant
	// amount of network bandwidth".
	MinimumInterval = time.Second
	// MaximumInterval is RFC 1256's (section 4.1).
	MaximumInterval = 1800 * time.Second
)

// InfiniteLifetime is a registration lifetime without an end.
const InfiniteLifetime = time.Duration(1<<63 - 1)

// A Config configures an [Advertiser]. Zero values mean the defaults named.
type Config struct {
	Links []Link

	// Interval is the longest time between two unsolicited advertisements on
	// a link: 10 seconds. The shortest is three quarters of it, and the ICMP
	// Lifetime three times as long (RFC 1256 section 4.1).
	Interval time.Duration
	// RegistrationLifetime is the longest lifetime that the agent accepts in
	// a request (RFC 5944 section 2.1.1).
	RegistrationLifetime time.Duration
	// CareOfAddresses are what a foreign agent offers, the preferred one
	// first.
	CareOfAddresses []netip.Addr
	// Flags are M, G, T, U, X and I: what the agent can do on every link.
	// R, B, H and F are settled by link.
	Flags adv4.Flags
}

// A Link is an interface to advertise on. "A mobility agent MAY use different
// settings for each of the 'R', 'H', and 'F' bits on different network
// interfaces" (RFC 5944 section 2.3).
type Link struct {
	Name string
	// Home and Foreign say which services are offered there: H and F.
	Home, Foreign bool
	// Registration wants even co-located mobile nodes to register here: R.
	Registration bool
	// NoCommonTraffic says that the agent routes for mobile nodes only: ICMP
	// Code 16.
	NoCommonTraffic bool
	// NoRouters leaves the agent's own addresses out of the router addresses.
	NoRouters bool
	// Preference among routers (RFC 1256 section 4.1).
	Preference int32
	// PrefixLengths adds the Prefix-Lengths extension. All agents of a subnet
	// do or none does (RFC 5944 section 2.3).
	PrefixLengths bool
	// Broadcast sends to 255.255.255.255 in place of 224.0.0.1.
	Broadcast bool
	// SolicitedOnly sends nothing without being asked.
	SolicitedOnly bool
}

// withDefaults fills in the defaults.
func (c Config) withDefaults() Config {
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	return c
}

// check finds the first mistake.
//
//rfc:5944#2.1.1
//rfc:1256#4.1-2
func (c *Config) check() error {
	const perLink = adv4.FlagR | adv4.FlagB | adv4.FlagH | adv4.FlagF
	switch {
	case c.Interval < MinimumInterval || c.Interval > MaximumInterval:
		return fmt.Errorf("advertise: interval %v is not between %v and %v", c.Interval, MinimumInterval, MaximumInterval)
	case c.RegistrationLifetime < time.Second:
		return fmt.Errorf("advertise: registration lifetime %v is less than a second", c.RegistrationLifetime)
	case c.Flags&(perLink|adv4.Flagr|adv4.FlagsReserved) != 0:
		return fmt.Errorf("advertise: flags %v are not for the whole agent to set", c.Flags)
	}
	seen := make(map[string]bool)
	for _, l := range c.Links {
		switch {
		case l.Name == "":
			return errors.New("advertise: a link has no name")
		case seen[l.Name]:
			return fmt.Errorf("advertise: link %s is there twice", l.Name)
		case !l.Home && !l.Foreign:
			// "at least one of the 'F' bit and the 'H' bit MUST be set".
			return fmt.Errorf("advertise: link %s offers neither a home agent nor a foreign agent", l.Name)
		case l.Foreign && len(c.CareOfAddresses) == 0:
			return fmt.Errorf("advertise: a foreign agent on link %s without a care-of address", l.Name)
		case l.Registration && !l.Foreign:
			return fmt.Errorf("advertise: link %s requires registration without a foreign agent", l.Name)
		}
		seen[l.Name] = true
	}
	for _, a := range c.CareOfAddresses {
		if !a.Is4() || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("advertise: care-of address %v is not an IPv4 unicast address", a)
		}
	}
	return nil
}

// lifetimeField is a registration lifetime as the extension has it.
func lifetimeField(d time.Duration) uint16 {
	if d/time.Second >= mip4.LifetimeInfinite {
		return mip4.LifetimeInfinite
	}
	return uint16(d / time.Second)
}
