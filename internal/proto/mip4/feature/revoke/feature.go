package revoke

import (
	"fmt"

	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// Name is the feature's name in stages and tables.
const Name = "revocation"

// A Mode says how a role takes part.
type Mode uint8

// Modes.
const (
	Allowed  Mode = iota // with peers that do
	Off                  // like one that never heard of it
	Required             // only with peers that do
)

var modes = [...]string{Allowed: "allowed", Off: "off", Required: "required"}

func (m Mode) String() string {
	if int(m) < len(modes) {
		return modes[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Config configures revocation, at any end.
type Config struct {
	Mode Mode
	// Quiet keeps a visitor from being told, where this end decides: "the
	// recommended default behavior for a foreign agent is to inform the
	// mobile node" (RFC 3543 section 3.2).
	Quiet bool
}

// New is registration revocation, configured by cfg.
func New(cfg Config) feature.Feature {
	f := feature.Feature{Name: Name, RFC: []int{3543}}
	// The operator's commands and the block list are there also when the
	// protocol is off.
	f.Home = func(a *ha.Agent) error { return addHome(cfg, a) }
	if cfg.Mode != Off {
		f.Foreign = func(a *fa.Agent) error { return addForeign(cfg, a) }
		f.Mobile = func(n *mn.Node) error { return addMobile(n) }
	}
	return f
}

// Notes of this feature.
const (
	Revoking     note.Kind = "revoking"     // a revocation was sent for the first time
	Revoked      note.Kind = "revoked"      // the peer revoked
	Acknowledged note.Kind = "acknowledged" // the peer acknowledged a revocation
	Unanswered   note.Kind = "unanswered"   // it never did
	Blocked      note.Kind = "blocked"      // the operator keeps a node out
	Unblocked    note.Kind = "unblocked"    // and lets it in again
)
