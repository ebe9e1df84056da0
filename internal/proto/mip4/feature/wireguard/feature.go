package wireguard

import (
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "wireguard"

// Key is the number of the extension among the suite's own, in requests and in
// replies.
const Key = vendor.FirstType + 0x30

// A Mode says what a home agent does about encryption.
type Mode uint8

const (
	Off      Mode = iota // it is one that does not know the extension
	Allowed              // who asks gets it
	Required             // who does not ask is denied
)

// Config configures encrypted tunnels, at either end.
type Config struct {
	// Own is this host's public key; none switches the feature off. At a mobile
	// node a key means that nothing but an encrypted tunnel will do.
	Own  forward.PublicKey
	Home Mode
}

// New is the feature.
func New(cfg Config, g *vendor.Registry) feature.Feature {
	f := feature.Feature{Name: Name, RFC: []int{3115, 3519}, Needs: []string{natt.Name, vendor.Name}}
	if !cfg.Own.IsValid() {
		return f
	}
	f.Mobile = func(n *mn.Node) error { return addMobile(cfg, n) }
	if cfg.Home != Off {
		f.Home = func(a *ha.Agent) error { return addHome(cfg, a) }
	}
	g.Recognise(vendor.Row{Feature: Name, Vendor: vendor.Careof, Type: Key, At: vendor.AtHomeAgent | vendor.AtMobileNode})
	return f
}

func extension(own forward.PublicKey) mip4.Payload {
	key := own.Octets()
	return &mip4.NVSE{Vendor: vendor.Careof, VendorType: Key, Value: key[:]}
}

// find is the other end's key among what an authorization-enabling extension
// covers; there says that one was sent, whether or not it is any good.
func find(m *mip4.Message) (key forward.PublicKey, there bool) {
	value, there := vendor.Find(m.Authorized(), false, vendor.Careof, Key)
	if len(value) != 32 {
		return key, there
	}
	return forward.KeyOf([32]byte(value)), true
}
