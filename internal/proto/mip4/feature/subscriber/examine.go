package subscriber

import (
	"errors"
	"fmt"
	"slices"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/ha"
)

// Examine is an operator's question: what would come of a grant of AAA's if a node
// registered with it? It is answered with a [Finding] by each shard, and changes
// nothing.
type Examine struct {
	NAI   ident.NAI
	Grant aaa.Grant
}

// A Finding is why requests with the grant are discarded; empty: they are not.
type Finding struct{ Why string }

var errPoolless = errors.New("AAA grants no home address, and no home network has a pool to take one from")

func (h *home) examines() {
	// AAA makes keys when a node asks for them: until then one stands for them.
	stands, err := assoc.New(256, assoc.HMACMD5, assoc.NewKey(make([]byte, 16)), assoc.Timestamps)
	if err == nil {
		h.later = []*assoc.Association{stands}
	}
	engine.AddCommand(&h.agent.Desk, func(e Examine) (any, error) {
		if err := h.examine(e); err != nil {
			return Finding{err.Error()}, nil
		}
		return Finding{}, nil
	})
}

// examine judges a grant as identify does.
func (h *home) examine(e Examine) error {
	there := h.agent.NodeNamed(e.NAI)
	if there != nil && !there.Adopted() {
		return nil // it is configured here, and AAA is not asked
	}
	if !h.mine(e.Grant) {
		return fmt.Errorf("%w, %v", errElsewhere, e.Grant.HomeAgent)
	}
	m := nodeOf(aaa.Authorise{Subject: aaa.Subject{NAI: e.NAI}}, e.Grant)
	if len(m.Keys) == 0 && h.cfg.Keys {
		m.Keys = h.later
	}
	if _, err := h.agent.Candidate(m); err != nil {
		return err
	}
	if there != nil && len(there.Bindings()) > 0 && m.HomeAddress.IsValid() && m.HomeAddress != there.Home() {
		return fmt.Errorf("%v has another home address now, and is registered with %v", e.NAI, there.Home())
	}
	if !m.HomeAddress.IsValid() && !slices.ContainsFunc(h.agent.Config().Networks, func(n ha.Network) bool { return len(n.Pool) > 0 }) {
		return errPoolless
	}
	return nil
}
