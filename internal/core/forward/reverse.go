package forward

import "fmt"

// A ReverseTunnel says what an agent makes of the T bit: whether packets from
// mobile nodes come through the tunnel, too (RFC 3024).
type ReverseTunnel uint8

// What it does.
const (
	ReverseTunnelAllowed  ReverseTunnel = iota // as the request asks
	ReverseTunnelRequired                      // a request without it is denied
	ReverseTunnelRefused                       // a request for it is denied
)

// ReverseTunnelWords are their names, as they stand in a configuration.
var ReverseTunnelWords = [...]string{"allowed", "required", "refused"}

func (r ReverseTunnel) String() string {
	if int(r) < len(ReverseTunnelWords) {
		return ReverseTunnelWords[r]
	}
	return fmt.Sprintf("ReverseTunnel(%d)", uint8(r))
}
