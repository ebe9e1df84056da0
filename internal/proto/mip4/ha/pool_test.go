package ha_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

func (d *driver) named(nai string, spi uint32, secret string) *request {
	r := d.van()
	r.nai, r.key = nai, mustAssoc(d.t, spi, secret, assoc.Timestamps)
	return r
}
func (d *driver) bus() *request { return d.named("bus@fleet", 258, "bus-bus-bus-bus-") }
func (d *driver) cab() *request { return d.named("cab@fleet", 259, "cab-cab-cab-cab-") }

// A node that asks by name gets an address of the pool, and the name back.
//
//rfc:2794#2
//rfc:2794#3
//rfc:5944#3.8.1
//rfc:3024#A.4-11
//rfc:2794#3-3
//rfc:2794#3-5
//rfc:5944#3.8.1-4
//rfc:5944#3.8.3.2-7
func TestAddressByName(t *testing.T) {
	d := newDriver(t, config(t))
	p := d.want(mip4.CodeAccepted, d.van())
	if p.HomeAddress != netip.MustParseAddr("10.10.0.100") {
		t.Fatalf("home address %v", p.HomeAddress)
	}
	nai, n, err := mip4.Get[mip4.NAI](p.message)
	if err != nil || n != 1 || nai.Value != "van@fleet" {
		t.Errorf("NAI in the reply: %q, %d, %v", nai.Value, n, err)
	}
	if p.message.Exts[0].Type != mip4.ExtNAI {
		t.Error("the NAI does not stand before the authenticator")
	}
	if _, ok := d.entry(p.HomeAddress); !ok {
		t.Error("no entry for the assigned address")
	}
	// The address stays: by zero, by naming it, in a denial, and afterwards.
	if again := d.want(mip4.CodeAccepted, d.van()); again.HomeAddress != p.HomeAddress {
		t.Errorf("another address: %v", again.HomeAddress)
	}
	r := d.van()
	r.home = p.HomeAddress
	d.want(mip4.CodeAccepted, r)
	r = d.van()
	r.home, r.nai = p.HomeAddress, "" // by the address alone
	d.want(mip4.CodeAccepted, r)
	r = d.van()
	r.lifetime, r.careOf = 0, r.home
	if p := d.want(mip4.CodeAccepted, r); p.HomeAddress != netip.MustParseAddr("10.10.0.100") || len(d.plane) != 0 {
		t.Errorf("deregistration by name: %v", p.HomeAddress)
	}
	if again := d.want(mip4.CodeAccepted, d.van()); again.HomeAddress != p.HomeAddress {
		t.Errorf("after coming back: %v", again.HomeAddress)
	}
	d = d.restart(config(t), time.Second)
	if again := d.want(mip4.CodeAccepted, d.van()); again.HomeAddress != p.HomeAddress {
		t.Errorf("after a restart: %v", again.HomeAddress)
	}
}

// Two nodes never share an address; when all are bound the answer is 130; an
// address of a node that is away can be given to another.
func TestPoolExhaustion(t *testing.T) {
	d := newDriver(t, config(t))
	a := d.want(mip4.CodeAccepted, d.van())
	b := d.want(mip4.CodeAccepted, d.bus())
	if a.HomeAddress == b.HomeAddress {
		t.Fatal("two nodes have one address")
	}
	p := d.want(mip4.CodeHAResources, d.cab())
	if !p.HomeAddress.IsUnspecified() {
		t.Errorf("a denial names %v", p.HomeAddress)
	}
	r := d.cab()
	r.home = a.HomeAddress // somebody else's
	d.want(mip4.CodeHAProhibited, r)

	r = d.van()
	r.lifetime, r.careOf = 0, r.home
	d.want(mip4.CodeAccepted, r)
	c := d.want(mip4.CodeAccepted, d.cab())
	if c.HomeAddress != a.HomeAddress {
		t.Errorf("cab got %v, want the freed %v", c.HomeAddress, a.HomeAddress)
	}
	d.want(mip4.CodeHAResources, d.van())
	d = d.restart(config(t), time.Second)
	if got := d.want(mip4.CodeAccepted, d.cab()); got.HomeAddress != a.HomeAddress {
		t.Errorf("after a restart cab has %v", got.HomeAddress)
	}
	d.want(mip4.CodeHAResources, d.van())
	if n := len(d.bindings()); n != 2 {
		t.Errorf("%d bindings", n)
	}
}

// A node may ask for an address that it once had, as long as it is free.
func TestNodeAsksForAPoolAddress(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.van()
	r.home = netip.MustParseAddr("10.10.0.101")
	d.want(mip4.CodeAccepted, r)
	r = d.bus()
	r.home = netip.MustParseAddr("10.10.0.50") // not in the pool
	d.want(mip4.CodeHAProhibited, r)
	if p := d.want(mip4.CodeAccepted, d.bus()); p.HomeAddress != netip.MustParseAddr("10.10.0.100") {
		t.Errorf("bus got %v", p.HomeAddress)
	}
	r = d.cab()
	r.lifetime, r.careOf = 0, r.home
	d.want(mip4.CodeHAProhibited, r) // nothing to deregister, and nothing spent
}

// A node with a name and an address of its own may use either.
func TestNodeWithNameAndAddress(t *testing.T) {
	cfg := config(t)
	cfg.Nodes[0].NAI = "mule@fleet"
	d := newDriver(t, cfg)
	for _, c := range []struct {
		home netip.Addr
		nai  string
	}{{home, ""}, {home, "mule@fleet"}, {netip.AddrFrom4([4]byte{}), "mule@fleet"}} {
		r := d.req()
		r.home, r.nai = c.home, c.nai
		if p := d.want(mip4.CodeAccepted, r); p.HomeAddress != home {
			t.Errorf("home address %v", p.HomeAddress)
		}
	}
	r := d.req()
	r.nai = "other@fleet"
	d.silence(r)
}

// Mistakes in the configuration are found at construction.
//
//rfc:5944#3.8.1-1
//rfc:5944#3.8.1-2
func TestConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*ha.Config)
	}{
		{"no address", func(c *ha.Config) { c.Addresses = nil }},
		{"address is multicast", func(c *ha.Config) { c.Addresses[0] = netip.MustParseAddr("224.0.0.1") }},
		{"four simultaneous bindings", func(c *ha.Config) { c.SimultaneousBindings = 4 }},
		{"pool outside its network", func(c *ha.Config) { c.Networks[0].Pool[0].To = netip.MustParseAddr("10.11.0.1") }},
		{"networks overlap", func(c *ha.Config) {
			c.Networks = append(c.Networks, ha.Network{Prefix: netip.MustParsePrefix("10.10.0.0/16"), Virtual: true})
		}},
		{"unknown link", func(c *ha.Config) { c.Networks[0].Link = "eth7" }},
		{"home address outside", func(c *ha.Config) { c.Nodes[0].HomeAddress = netip.MustParseAddr("10.12.0.1") }},
		{"home address is the broadcast address", func(c *ha.Config) { c.Nodes[0].HomeAddress = netip.MustParseAddr("10.10.0.255") }},
		{"home address is the home agent's", func(c *ha.Config) {
			c.Addresses = append(c.Addresses, home)
		}},
		{"home address twice", func(c *ha.Config) { c.Nodes[1].HomeAddress = home }},
		{"name twice", func(c *ha.Config) { c.Nodes[2].NAI = "van@fleet" }},
		{"no key", func(c *ha.Config) { c.Nodes[0].Keys = nil }},
		{"SPI twice", func(c *ha.Config) { c.Nodes[0].Keys = append(c.Nodes[0].Keys, c.Nodes[0].Keys[0]) }},
		{"foreign agent twice", func(c *ha.Config) { c.ForeignAgents = append(c.ForeignAgents, c.ForeignAgents[0]) }},
		{"shard 3 of 3", func(c *ha.Config) { c.Shard, c.Shards = 3, 3 }},
	} {
		cfg := config(t)
		c.change(&cfg)
		if _, err := ha.New(cfg, luck()); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
	}
	if _, err := ha.New(config(t), nil); err == nil {
		t.Error("accepted without randomness")
	}
	if _, err := ha.New(config(t), luck()); err != nil {
		t.Error(err)
	}
}
