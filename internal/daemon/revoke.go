package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/control"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/revoke"
	"careof/internal/proto/mip4/ha"
)

// Revoke implements [control.Revoker]: at a home agent its bindings, at a
// foreign agent its visits.
func (d *daemon) Revoke(ctx context.Context, order control.RevokeOrder) (control.Revocation, error) {
	who, err := named(order.Node)
	if err != nil {
		return control.Revocation{}, err
	}
	if d.home != nil {
		out, err := d.revoke(ctx, revoke.Revoke{Node: who, Block: order.Block})
		if d.foreign == nil || !errors.Is(err, control.ErrNotFound) {
			return out, err
		}
	}
	switch {
	case d.foreign == nil:
		return control.Revocation{}, fmt.Errorf("%w: this daemon is no home agent and no foreign agent: revoke at the one that serves the node", control.ErrNotFound)
	case order.Block:
		return control.Revocation{}, fmt.Errorf("%w: only a home agent keeps a node out", control.ErrInvalid)
	}
	answers, err := d.foreign.Command(ctx, fa.ClearVisitor{Node: who})
	if err != nil {
		return control.Revocation{}, notFound(err)
	}
	out := control.Revocation{Node: order.Node, Peers: []control.RevocationPeer{}}
	for _, a := range answers {
		if n, ok := a.(int); ok {
			out.Visits += n
		}
	}
	return out, nil
}

// Unblock implements [control.Revoker].
func (d *daemon) Unblock(ctx context.Context, order control.UnblockOrder) (control.Revocation, error) {
	who, err := named(order.Node)
	if err != nil {
		return control.Revocation{}, err
	}
	if d.home == nil {
		return control.Revocation{}, fmt.Errorf("%w: this daemon is no home agent", control.ErrNotFound)
	}
	return d.barOrder(ctx, who, revoke.Unblock{Node: who})
}

func (d *daemon) revoke(ctx context.Context, order revoke.Revoke) (control.Revocation, error) {
	if order.Block {
		return d.barOrder(ctx, order.Node, order)
	}
	return d.homeOrder(ctx, order)
}

// orderLimit bounds an order in time.
const orderLimit = 10 * time.Second

// barOrder gives the home agent an order that keeps a node out, or lets it in
// again, and then tells all its shards. It is brought to its end though whoever
// has asked may go.
func (d *daemon) barOrder(ctx context.Context, who ident.Node, order any) (control.Revocation, error) {
	d.barring.Lock()
	defer d.barring.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orderLimit)
	defer cancel()
	out, err := d.homeOrder(ctx, order)
	// Also when it failed: the block may stand, and a binding still be ending.
	stands, spreading := ask[revoke.BlockedNode](ctx, d.home, revoke.Standing{Node: who})
	for _, s := range stands {
		_, failure := d.home.Command(ctx, revoke.Spread(s))
		spreading = errors.Join(spreading, failure)
	}
	return out, cmp.Or(err, spreading)
}

// homeOrder gives the home agent an order about one node.
func (d *daemon) homeOrder(ctx context.Context, order any) (control.Revocation, error) {
	out := control.Revocation{Peers: []control.RevocationPeer{}}
	answers, err := d.home.Command(ctx, order)
	if err != nil {
		return out, notFound(err)
	}
	for _, a := range answers {
		r, ok := a.(revoke.Report)
		if !ok {
			continue
		}
		out.Node, out.Bindings, out.Blocked = r.Node, r.Bindings, r.Blocked
		for _, p := range r.Peers {
			out.Peers = append(out.Peers, control.RevocationPeer{CareOfAddress: p.CareOfAddress, Acknowledged: p.Acknowledged, Informed: p.Informed})
		}
	}
	return out, nil
}

// named reads who an operator means.
func named(node string) (ident.Node, error) {
	if a, err := netip.ParseAddr(node); err == nil {
		return ident.Node{HomeAddress: a}, nil
	}
	nai, err := ident.ParseNAI(node)
	if err != nil {
		return ident.Node{}, fmt.Errorf("%w: %q is neither a home address nor a NAI", control.ErrInvalid, node)
	}
	return ident.Node{NAI: nai}, nil
}

// notFound gives a role's error the API's kind.
func notFound(err error) error {
	for _, of := range []error{ha.ErrNotFound, fa.ErrNotFound} {
		if errors.Is(err, of) {
			return fmt.Errorf("%w: %s", control.ErrNotFound, strings.TrimPrefix(err.Error(), of.Error()+": "))
		}
	}
	return err
}

// blocked lists the nodes that the home agent keeps out.
func (d *daemon) blocked(ctx context.Context) (any, error) {
	list, err := ask[revoke.BlockedNode](ctx, d.home, revoke.ListBlocked{})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b revoke.BlockedNode) int { return strings.Compare(a.Node, b.Node) })
	out := []control.Blocked{}
	for _, b := range list {
		out = append(out, control.Blocked{Node: b.Node, Since: b.Since})
	}
	return out, nil
}
