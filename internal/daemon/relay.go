package daemon

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"careof/internal/config"
	"careof/internal/core/ident"
	"careof/internal/host/relay"
	"careof/internal/proto/mip4/ha"
)

// openRelay opens the home agent's DHCP relay, if it is to have one. The device has to be
// there.
func (d *daemon) openRelay() error {
	c := d.cfg.HomeAgent
	if c == nil || c.DHCP == nil {
		return nil
	}
	r := relay.Config{
		Device: d.cfg.Plane.Device, Address: c.RelayAddress(), Servers: c.DHCP.Servers, Bound: d.boundNode,
		Information: relay.Information{
			Circuit: slices.Contains(c.DHCP.Information, config.RelayCircuitID),
			Remote:  slices.Contains(c.DHCP.Information, config.RelayRemoteID),
		},
	}
	for _, n := range c.Networks {
		r.Networks = append(r.Networks, n.Prefix)
	}
	var err error
	d.relay, err = relay.Open(r)
	return d.failed("home-agent.dhcp.address", err)
}

// boundLimit is how long the relay waits for the home agent's word.
const boundLimit = time.Second

// boundNode tells the relay who is bound with a home address.
func (d *daemon) boundNode(ctx context.Context, home netip.Addr) (relay.Node, bool) {
	ctx, enough := context.WithTimeout(ctx, boundLimit)
	defer enough()
	list, err := ask[ha.Binding](ctx, d.home, ha.ShowBinding{Node: ident.Node{HomeAddress: home}})
	if err != nil || len(list) == 0 {
		return relay.Node{}, false
	}
	node := relay.Node{Name: list[0].NAI}
	for _, b := range list {
		node.Networks = append(node.Networks, b.Networks...)
	}
	return node, true
}

// relayMeanings are what the relay's outcomes mean, for people.
var relayMeanings = map[relay.Outcome]string{
	relay.Relayed:      "DHCP messages of bound nodes relayed to the servers",
	relay.Returned:     "DHCP messages of servers returned through a node's tunnel",
	relay.Unmarked:     "DHCP messages relayed without relay agent information, for which they are too long",
	relay.Malformed:    "DHCP messages that cannot be read",
	relay.Unbound:      "DHCP messages of or for an address without a binding",
	relay.Forged:       "DHCP messages of nodes with relay agent information or a relay's address that they may not have",
	relay.OtherAddress: "DHCP messages about an address that is not the node's home address",
	relay.TooFast:      "DHCP messages of nodes above their limit",
	relay.TooManyHops:  "DHCP messages that have passed too many relays",
	relay.Unsolicited:  "DHCP messages that nobody waits for, or that come from no configured server",
}

// addRelayCounters lists what the DHCP relay has counted.
func (d *daemon) addRelayCounters(add func(name, meaning string, value uint64)) {
	if d.relay == nil {
		return
	}
	for _, c := range d.relay.Counts() {
		add(roleHomeAgent+".dhcp."+c.Outcome.String(), relayMeanings[c.Outcome], c.N)
	}
}
