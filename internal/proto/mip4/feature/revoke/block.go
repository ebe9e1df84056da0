package revoke

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// The operator's commands to a home agent. Each is the Value of an
// [engine.Command]; its comment names the Value of the [engine.Result].
type (
	// Revoke ends all bindings of a node at both ends, and with Block keeps
	// it out from now on. It is answered with a [Report], when the other
	// ends have answered or [patience] is over, or with an error that is
	// [ha.ErrNotFound].
	Revoke struct {
		Node  ident.Node
		Block bool
	}
	// Unblock lets a node in again. It is answered with a Report, or with an
	// error that is [ha.ErrNotFound].
	Unblock struct{ Node ident.Node }
	// ListBlocked is answered with []BlockedNode, by name; of several shards
	// the first one has them.
	ListBlocked struct{}
	// Standing asks whether one node is blocked. It is answered with a
	// [BlockedNode], whose Since is zero when it is not.
	Standing struct{ Node ident.Node }
	// Spread tells all shards what has come of Revoke or Unblock at the one
	// that has the node: all know of all who are blocked, since nodes come and
	// go with the configuration. It is answered with nil.
	Spread BlockedNode
)

// Subject is whom the command concerns: see [ha.Routed].
func (r Revoke) Subject() ident.Node { return r.Node }

// Subject is whom the command concerns: see [ha.Routed].
func (u Unblock) Subject() ident.Node { return u.Node }

// Subject is whom the command concerns: see [ha.Routed].
func (s Standing) Subject() ident.Node { return s.Node }

// A Report is what came of a command.
type Report struct {
	Node     string // its name
	Bindings int    // that were ended
	// Peers are the other ends that were told; a binding without one did not
	// have revocation agreed.
	Peers   []Peer
	Blocked bool // the node is kept out now
}

// A Peer is one other end of a binding.
type Peer struct {
	CareOfAddress netip.Addr
	Acknowledged  bool
	Informed      bool // a foreign agent says that it has told the visitor
}

// A BlockedNode is a node that is kept out.
type BlockedNode struct {
	Node  string
	Since time.Time // wall clock
}

// blockPrefix is where blocked nodes are kept, by name:
//
//	version8 | since 8 (Unix milliseconds)
const blockPrefix = "ha/blocked/"

// patience is how long a command waits for acknowledgments. The revocation is
// retransmitted beyond it.
const patience = 4 * time.Second

// An order is a command that waits for acknowledgments.
type order struct {
	ticket engine.Ticket
	node   *ha.Node
	report Report
	waits  int
	ready  bool // the bindings are gone
	until  time.Time
}

// answered takes an acknowledgment, nil where none came. A node with a co-located
// care-of address is who acknowledges: there is nobody who could tell it.
func (o *order) answered(careOf netip.Addr, ack *mip4.RevocationAck, relayed bool) {
	o.waits--
	o.report.Peers = append(o.report.Peers, Peer{CareOfAddress: careOf, Acknowledged: ack != nil, Informed: relayed && ack != nil && ack.Inform})
}

func (h *home) addBlocks() {
	h.agent.Admit.Add(Name, "blocked", h.admit)
	h.agent.AddRecords(blockPrefix, h.restoreBlock)
}

// admit refuses a blocked node. Its request is authentic: the answer tells
// nobody else anything.
func (h *home) admit(x *ha.Exchange) engine.Verdict {
	if _, out := h.blocked[x.Node.String()]; out {
		return engine.Deny(uint8(mip4.CodeHAProhibited), "blocked by the operator")
	}
	return engine.Next()
}

func (h *home) restoreBlock(_ engine.Now, rec engine.Record) error {
	if rec.Value == nil {
		return nil
	}
	if len(rec.Value) != 9 || rec.Value[0] != recordVersion {
		return errRecord
	}
	// Also of a node that is not configured: it may come back.
	h.blocked[strings.TrimPrefix(string(rec.Key), blockPrefix)] = time.UnixMilli(int64(binary.BigEndian.Uint64(rec.Value[1:])))
	return nil
}

func (h *home) command(c engine.Command) bool {
	switch v := c.Value.(type) {
	case Revoke:
		h.order(c.Ticket, v)
	case Unblock:
		h.unblock(c.Ticket, v.Node)
	case ListBlocked:
		list := []BlockedNode{}
		if h.agent.Config().Shard == 0 {
			for name, since := range h.blocked {
				list = append(list, BlockedNode{name, since})
			}
		}
		slices.SortFunc(list, func(x, y BlockedNode) int { return cmp.Compare(x.Node, y.Node) })
		h.agent.Do(engine.Result{Ticket: c.Ticket, Value: list})
	case Standing:
		name := h.nameOf(v.Node)
		h.agent.Do(engine.Result{Ticket: c.Ticket, Value: BlockedNode{name, h.blocked[name]}})
	case Spread:
		delete(h.blocked, v.Node)
		if !v.Since.IsZero() {
			h.blocked[v.Node] = v.Since
		}
		h.agent.Do(engine.Result{Ticket: c.Ticket})
	default:
		return false
	}
	return true
}

func (h *home) find(who ident.Node) (*ha.Node, error) {
	if n := h.agent.Find(who); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("%w: no mobile node %v is configured here (careof show associations lists who is)", ha.ErrNotFound, who)
}

func (h *home) order(t engine.Ticket, r Revoke) {
	n, err := h.find(r.Node)
	if err != nil {
		h.agent.Do(engine.Result{Ticket: t, Err: err})
		return
	}
	_, already := h.blocked[n.String()]
	if len(n.Bindings()) == 0 && (!r.Block || already) {
		h.agent.Do(engine.Result{Ticket: t, Err: fmt.Errorf("%w: %v has no binding", ha.ErrNotFound, n)})
		return
	}
	o := &order{ticket: t, node: n, until: h.agent.Now().Mono.Add(patience)}
	o.report = Report{Node: n.String(), Bindings: len(n.Bindings()), Blocked: r.Block || already}
	h.orders = append(h.orders, o)
	end := func() {
		h.agent.Remove(n, binding.ID{}, ha.ByOperator)
		if o.report.Bindings == 0 {
			o.ready = true
			h.overdueOrders()
			return
		}
		// The bindings are gone, durably and from the data plane, when what
		// is committed after that is.
		h.agent.Commit(engine.Commit{}, func(error) {
			o.ready = true
			h.overdueOrders()
		})
	}
	if !r.Block || already {
		end()
		return
	}
	// Out first, so that no request slips in between.
	since := h.agent.Now().Wall
	h.blocked[n.String()] = since
	value := binary.BigEndian.AppendUint64([]byte{recordVersion}, uint64(since.UnixMilli()))
	h.agent.Commit(engine.Commit{Records: []engine.Record{{Key: []byte(blockPrefix + n.String()), Value: value}}}, func(err error) {
		if err != nil {
			delete(h.blocked, n.String())
			h.drop(o, err)
			return
		}
		h.agent.Tell(note.Note{Kind: Blocked, Level: note.Info, HomeAddress: n.Home(), NAI: string(n.Identity().NAI)})
		end()
	})
}

// nameOf is the name under which a node is blocked, also of one that is not
// configured any more.
func (h *home) nameOf(who ident.Node) string {
	if n := h.agent.Find(who); n != nil {
		return n.String()
	}
	return who.String()
}

func (h *home) unblock(t engine.Ticket, who ident.Node) {
	name := h.nameOf(who)
	since, out := h.blocked[name]
	if !out {
		h.agent.Do(engine.Result{Ticket: t, Err: fmt.Errorf("%w: %s is not blocked (careof show blocked lists who is)", ha.ErrNotFound, name)})
		return
	}
	delete(h.blocked, name)
	h.agent.Commit(engine.Commit{Records: []engine.Record{{Key: []byte(blockPrefix + name)}}}, func(err error) {
		if err != nil {
			h.blocked[name] = since
			h.agent.Do(engine.Result{Ticket: t, Err: err})
			return
		}
		h.agent.Tell(note.Note{Kind: Unblocked, Level: note.Info, HomeAddress: who.HomeAddress, NAI: string(who.NAI)})
		h.agent.Do(engine.Result{Ticket: t, Value: Report{Node: name}})
	})
}

// orderOf is the command that ends the node's bindings, nil when none does.
func (h *home) orderOf(n *ha.Node) *order {
	for _, o := range h.orders {
		if o.node == n && !o.ready {
			return o
		}
	}
	return nil
}

func (h *home) orderDeadline() time.Time {
	var first time.Time
	for _, o := range h.orders {
		first = engine.Earliest(first, o.until)
	}
	return first
}

// overdueOrders answers commands that have waited long enough, or for all.
func (h *home) overdueOrders() {
	mono := h.agent.Now().Mono
	h.orders = slices.DeleteFunc(h.orders, func(o *order) bool {
		if (!o.ready || o.waits > 0) && mono.Before(o.until) {
			return false
		}
		h.agent.Do(engine.Result{Ticket: o.ticket, Value: o.report, Err: o.late()})
		return true
	})
}

var errLate = errors.New("revoke: the bindings could not be ended in time")

// late is the error of an order whose bindings are not gone yet.
func (o *order) late() error {
	if o.ready {
		return nil
	}
	return errLate
}

func (h *home) drop(o *order, err error) {
	h.orders = slices.DeleteFunc(h.orders, func(x *order) bool { return x == o })
	h.agent.Do(engine.Result{Ticket: o.ticket, Err: err})
}
