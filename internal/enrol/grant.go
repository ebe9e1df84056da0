package enrol

import (
	"errors"
	"net/netip"
)

// Path is where a node joins.
const Path = "/v1/join"

// A Claim is what a node sends. Client is its own random choice: whoever asks
// again with the same token and the same Client, because the answer was lost,
// gets the same answer.
type Claim struct {
	Secret []byte `json:"secret"`
	Client []byte `json:"client"`
	Host   string `json:"host,omitempty"` // the node's name for itself, for the operator to see
}

// A Grant is what a node gets for its token.
type Grant struct {
	HomeAddress netip.Addr   `json:"home_address,omitzero"`
	NAI         string       `json:"nai,omitempty"`
	HomeAgent   string       `json:"home_agent"`     // address or name
	Port        uint16       `json:"port,omitempty"` // the home agent's, when it is not 434
	Network     netip.Prefix `json:"home_network,omitzero"`
	// Networks are those behind the node, which is a mobile router then (RFC
	// 5177). An invalid one is assigned by the home agent (RFC 6626).
	Networks  []netip.Prefix `json:"mobile_networks,omitempty"`
	SPI       uint32         `json:"spi"`
	Algorithm string         `json:"algorithm"`
	Key       []byte         `json:"key"`
	// WireGuardKey is the home agent's public key, in base64, when it grants
	// encrypted tunnels to this node; the node is then to ask for one. Its
	// registrations bring the key again, authenticated by the node's own.
	WireGuardKey string `json:"wireguard_key,omitempty"`
}

// ErrRefused answers a claim: the token is wrong, used or expired. Which of
// them, a stranger does not hear.
var ErrRefused = errors.New("enrol: the home agent does not take this token: it was used, it has expired, or it was made elsewhere (make a new one there with careof enrol)")
