// Package roles translates the sections of a configuration into what the
// roles' machines and their features are configured with. The daemon and the
// laboratory use it alike, so that a scene runs what a user would.
package roles

import (
	"slices"
	"time"

	"careof/internal/config"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/aaakey"
	"careof/internal/proto/mip4/feature/assignment"
	"careof/internal/proto/mip4/feature/challenge"
	"careof/internal/proto/mip4/feature/grekey"
	"careof/internal/proto/mip4/feature/hostconfig"
	"careof/internal/proto/mip4/feature/liveness"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/feature/notification"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/pathmtu"
	"careof/internal/proto/mip4/feature/redundant"
	"careof/internal/proto/mip4/feature/revoke"
	"careof/internal/proto/mip4/feature/service"
	"careof/internal/proto/mip4/feature/validate"
	"careof/internal/proto/mip4/feature/wireguard"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/adv4"
	"careof/wire/encap"
)

// HomeAgent translates the [home-agent] section.
func HomeAgent(c *config.HomeAgent) (ha.Config, standard.Config) {
	out := ha.Config{
		Addresses:                c.Addresses,
		LocalAddress:             c.LocalAddress,
		Port:                     c.Port,
		Links:                    c.Interfaces,
		MaxLifetime:              c.MaxLifetime,
		ReverseTunnel:            c.ReverseTunnel,
		Encapsulations:           c.Encapsulations,
		SimultaneousBindings:     c.SimultaneousBindings,
		RequestsPerNode:          c.RequestsPerNode,
		BadAuthenticatorInterval: c.FailureReplies,
		StrictReservedBits:       c.StrictReservedBits,
	}
	for _, n := range c.Networks {
		network := ha.Network{Prefix: n.Prefix, Virtual: len(c.Interfaces) == 0}
		network.Reserved = slices.ContainsFunc(c.Services, func(s config.Service) bool { return s.Network == n.Prefix })
		for _, r := range n.Pool {
			network.Pool = append(network.Pool, ha.Range{From: r.First, To: r.Last})
		}
		out.Networks = append(out.Networks, network)
	}
	out.Nodes = slices.Grow(out.Nodes, len(c.MobileNodes))
	for i := range c.MobileNodes {
		n := &c.MobileNodes[i]
		out.Nodes = append(out.Nodes, ha.MobileNode{
			Node: n.Identity(), Keys: n.Associations, Source: n.Source, Prefixes: n.Prefixes,
		})
	}
	for _, f := range c.ForeignAgents {
		out.ForeignAgents = append(out.ForeignAgents, ha.ForeignAgent{Address: f.Address, Keys: f.Associations})
	}
	return out, standard.Config{
		NATTraversal: natt.Config{
			Mode: modes[c.NATTraversal], Keepalive: c.Keepalive, StrictReserved: c.StrictReservedBits,
			RefuseForce: c.ForcedUDP == config.Off, NATLifetime: c.NATLifetime,
		},
		GREKeys:      grekey.Config{RefuseHome: c.GREKeys == config.Off},
		Revocation:   revoke.Config{Mode: revocations[c.Revocation]},
		Validation:   validate.Config{Mode: validations[c.PathValidation]},
		Networks:     homeNetworks(c),
		Service:      services(c),
		Host:         told(c),
		Notification: notifications(c.Notifying),
		Assignment:   homeAssignment(c),
		WireGuard:    wireguard.Config{Home: encryption[c.WireGuard]},
		Messages:     texts(c.Messages), Identity: c.Identity,
		Vendors: vendors(c.VendorExtensions), Experiments: experiments(c.Experiments),
	}
}

// ForeignAgent translates the [foreign-agent] section. home is the
// [home-agent] section of the same file, or nil: one agent advertises for both
// roles, and a visitor may be registered with the home agent beside it.
func ForeignAgent(c *config.ForeignAgent, home *config.HomeAgent) (fa.Config, standard.Config) {
	out := fa.Config{
		Links:              c.Interfaces,
		CareOfAddresses:    c.CareOfAddresses,
		Port:               c.Port,
		DirectDeliveryOnly: c.EncapsulatingDelivery == config.Off,
		Encapsulations:     c.Encapsulations,
		AllowHomeAgents:    c.AllowHomeAgents,
		MaxVisitors:        c.MaxVisitors,
		MaxPending:         c.MaxPending,
		Interval:           c.AdvertiseInterval,
		StrictReservedBits: c.StrictReservedBits,
		MaxLifetime:        c.MaxLifetime,
		ReverseTunnel:      c.ReverseTunnel,
	}
	out.Port = c.Port
	for _, h := range c.HomeAgents {
		out.HomeAgents = append(out.HomeAgents, fa.HomeAgent{Address: h.Address, Keys: h.Associations})
	}
	for i := range c.MobileNodes {
		n := &c.MobileNodes[i]
		out.MobileNodes = append(out.MobileNodes, fa.MobileNode{Node: n.Identity(), Keys: n.Associations})
	}
	var homes []advertise.Link
	if home != nil {
		out.OwnHomeAgents = home.Addresses
		homes = homeLinks(home)
	}
	for _, name := range c.Interfaces {
		l := advertise.Link{Name: name}
		if at := slices.IndexFunc(homes, func(h advertise.Link) bool { return h.Name == name }); at >= 0 {
			l = homes[at]
			homes = slices.Delete(homes, at, at+1)
		}
		l.Foreign, l.Preference = true, 0
		l.Registration, l.PrefixLengths = c.RequireRegistration, c.PrefixLengths
		l.Broadcast, l.SolicitedOnly = c.Advertise == config.AdvertiseBroadcast, c.Advertise == config.AdvertiseSolicited
		out.Advertise = append(out.Advertise, l)
	}
	out.Advertise = append(out.Advertise, homes...)
	return out, standard.Config{
		NATTraversal: natt.Config{Mode: modes[c.NATTraversal], Keepalive: c.Keepalive},
		GREKeys:      grekey.Config{Foreign: greKeys[c.GREKeys]},
		Challenge:    challenge.Config{Window: c.ChallengeWindow},
		Revocation:   revoke.Config{Mode: revocations[c.Revocation]},
		Assignment:   assignment.Config{Assign: c.AssignHomeAgents},
		Notification: notifications(c.Notifying),
		Messages:     texts(c.Messages), Vendors: vendors(c.VendorExtensions), Experiments: experiments(c.Experiments),
	}
}

// Advertisement is what a home agent alone advertises on its home links; ok is
// false when it has none.
func Advertisement(c *config.HomeAgent) (out advertise.Config, ok bool) {
	out = advertise.Config{Links: homeLinks(c), RegistrationLifetime: c.MaxLifetime}
	for k, f := range map[encap.Kind]adv4.Flags{encap.Minimal: adv4.FlagM, encap.GRE: adv4.FlagG, encap.UDP: adv4.FlagU} {
		if slices.Contains(c.Encapsulations, k) {
			out.Flags |= f
		}
	}
	if c.NATTraversal == config.NATTraversalOff {
		out.Flags &^= adv4.FlagU
	}
	return out, len(out.Links) > 0
}

// homeLinks are a home agent's. It does not offer itself as a router to the
// hosts there.
//
//rfc:5944#2.3-6
//rfc:5944#2.3-7
func homeLinks(c *config.HomeAgent) (list []advertise.Link) {
	for _, l := range c.Interfaces {
		list = append(list, advertise.Link{Name: l, Home: true, Preference: adv4.NotDefault})
	}
	return list
}

// notifications are the same at every role.
func notifications(c config.Notifying) notification.Config {
	return notification.Config{Off: c.Notifications == config.Off, First: c.NotificationWait, Longest: c.NotificationLongest}
}

var revocations = map[config.Revocation]revoke.Mode{
	config.RevocationAllowed:  revoke.Allowed,
	config.RevocationRequired: revoke.Required,
	config.RevocationOff:      revoke.Off,
}

var validations = map[config.PathValidation]validate.Mode{
	config.PathValidationAuto:     validate.Auto,
	config.PathValidationRequired: validate.Required,
	config.PathValidationOff:      validate.Off,
}

var encryption = map[config.WireGuard]wireguard.Mode{
	config.WireGuardAllowed:  wireguard.Allowed,
	config.WireGuardRequired: wireguard.Required,
	config.WireGuardOff:      wireguard.Off,
}

var greKeys = map[config.GREKeys]grekey.Mode{
	config.GREKeysAsked:  grekey.Asked,
	config.GREKeysAlways: grekey.Always,
	config.GREKeysOff:    grekey.Off,
}

var modes = map[config.NATTraversal]natt.Mode{
	config.NATTraversalAuto:  natt.Auto,
	config.NATTraversalForce: natt.Force,
	config.NATTraversalOff:   natt.Off,
}

var profiles = map[config.Profile]path.Profile{
	config.ProfileDefault: path.Default,
	config.ProfileFast:    path.Fast,
	config.ProfileBattery: path.Battery,
	config.ProfileOff:     path.Off,
}

var asking = map[config.Asking]mn.ReverseTunnel{
	config.AskRequired:  mn.ReverseRequired,
	config.AskPreferred: mn.ReversePreferred,
	config.AskOff:       mn.ReverseOff,
}

// MobileNode translates the [mobile-node] section.
func MobileNode(c *config.MobileNode) (mn.Config, standard.Config) {
	out := mn.Config{
		HomeAddress: c.HomeAddress,
		HomeNetwork: c.HomeNetwork,
		NAI:         c.NAI,
		Routes:      c.Routes.Prefixes,
		Lifetime:    c.Lifetime.Truncate(time.Second),
		Assigned:    c.Assignment != config.AssignmentOff,
	}
	if len(c.Associations) > 0 {
		out.Association = c.Associations[0]
	}
	traversal := natt.Config{Mode: modes[c.NATTraversal]}
	switch {
	case c.Encapsulation.Auto:
	case c.Encapsulation.Kind == encap.WireGuard:
		// It travels in UDP, and only what is co-located can be encrypted all
		// the way.
		traversal.Mode, out.Encrypted = natt.Force, true
	case c.Encapsulation.Kind == encap.UDP:
		// Asking for UDP is asking for it where no NAT is seen too.
		traversal.Mode = natt.Force
	default:
		out.Encapsulation = c.Encapsulation.Kind
	}
	out.Port = c.Port
	for _, h := range c.HomeAgents {
		out.HomeAgents = append(out.HomeAgents, mn.HomeAgent{Address: h.Addr, Name: h.Name})
	}
	out.ForeignAgents = mn.ForeignAgents{Any: c.ForeignAgents.Any, Allow: c.ForeignAgents.Allow}
	if out.Encrypted {
		out.ForeignAgents = mn.ForeignAgents{}
	}
	out.ReverseTunnel = asking[c.ReverseTunnel]
	out.ForeignAgents.EncapsulatingDelivery = c.Delivery != config.DeliveryDirect
	out.ForeignAgents.PlainUnicast = c.Delivery == config.DeliveryMixed
	out.Direct, out.Broadcast = c.Direct, c.Broadcasts == config.On
	out.LocalGroups = c.Multicast == config.MulticastVisited
	for _, f := range c.ForeignAgentPeers {
		out.ForeignAgents.Associations = append(out.ForeignAgents.Associations, mn.ForeignAssociation{Address: f.Address, Association: f.Associations[0]})
	}
	for _, u := range c.Uplinks {
		out.Uplinks = append(out.Uplinks, mn.UplinkConfig{
			Interface: u.Interface, Priority: u.Priority, Cost: u.Cost, Metered: u.Metered, MaxLoss: u.MaxLoss, MaxRoundTrip: u.MaxRoundTrip,
		})
	}
	revocation := revoke.Config{Mode: revoke.Allowed}
	if c.Revocation == config.Off {
		revocation.Mode = revoke.Off
	}
	validation := validate.Config{Mode: validate.Off}
	if c.PathValidation == config.On {
		validation.Mode = validate.On
	}
	var answers challenge.Config
	var keys aaakey.Config
	if c.AAA != nil {
		own := secret(c.AAA)
		answers.Secret = &own
		if c.AAA.Keys {
			keys = aaakey.Config{Secret: &own, Foreign: true}
			out.KeysOnDemand = true
		}
	}
	return out, standard.Config{
		Revocation: revocation, NATTraversal: traversal, Networks: mobileNetworks(c),
		Vendors: vendors(c.VendorExtensions), Experiments: experiments(c.Experiments),
		Challenge:    answers,
		Keys:         keys,
		Service:      service.Config{Ask: c.Service},
		Host:         hostconfig.Config{Ask: c.DNS != config.DNSOff},
		Notification: notifications(c.Notifying),
		Validation:   validation, Redundant: redundant.Config{Classes: c.Redundant, InDoubt: c.Profile == config.ProfileFast},
		Assignment: assignment.Config{Ask: asked[c.Assignment]},
		Paths:      path.Config{Profile: profiles[c.Profile], FailBack: c.FailBack},
		PathMTU:    discovery(c),
		Liveness:   watch(c),
	}
}

// silences are how long a home agent may be silent, by profile, and never when
// nothing is probed.
var silences = map[config.Profile]time.Duration{
	config.ProfileDefault: liveness.DefaultLimit,
	config.ProfileFast:    liveness.FastLimit,
	config.ProfileBattery: liveness.BatteryLimit,
}

func watch(c *config.MobileNode) liveness.Config {
	switch d := c.HomeAgentTimeout; {
	case d > 0:
		return liveness.Config{Limit: d, Exactly: true}
	case d < 0:
		return liveness.Config{}
	}
	return liveness.Config{Limit: silences[c.Profile]}
}

// restful is the time between confirmations of a path's MTU with the profile
// battery.
const restful = 15 * time.Second

func discovery(c *config.MobileNode) pathmtu.Config {
	out := pathmtu.Config{Enabled: c.PathMTUDiscovery == config.On}
	if c.Profile == config.ProfileBattery {
		out.Every = restful
	}
	return out
}

// told is what nodes of the home networks are told that ask (RFC 4332). A network
// that says nothing of itself is none.
func told(c *config.HomeAgent) (out hostconfig.Config) {
	for _, n := range c.Networks {
		one := hostconfig.Network{Prefix: n.Prefix, Configuration: hostconfig.Configuration{
			Router: n.Router, Servers: n.DNS, DHCPServer: n.DHCPServer, Domain: n.Domain,
		}}
		if c.DHCP != nil {
			one.DHCPServer = c.RelayAddress()
		}
		if one.Known() {
			out.Networks = append(out.Networks, one)
		}
	}
	return out
}

// services are what nodes may register for (RFC 5446).
func services(c *config.HomeAgent) service.Config {
	out := service.Config{NamedOnly: c.DefaultService == config.Off}
	for _, s := range c.Services {
		out.Services = append(out.Services, service.Service{Name: s.Name, Nodes: s.Nodes, Network: s.Network})
	}
	return out
}
