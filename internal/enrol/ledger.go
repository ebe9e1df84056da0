package enrol

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"careof/internal/core/engine"
)

// An Invitation is a token that was given out. Its secret is kept as a hash.
type Invitation struct {
	Node    Node      `json:"node"`
	Hash    []byte    `json:"hash"`             // SHA-256 of the secret
	Until   time.Time `json:"until"`            // wall clock
	Client  []byte    `json:"client,omitempty"` // who used it, as SHA-256; until it expires
	Created time.Time `json:"created"`
}

// A Node is a mobile node that has enrolled, or is invited to: then it has no
// key yet.
type Node struct {
	HomeAddress netip.Addr `json:"home_address,omitzero"`
	NAI         string     `json:"nai,omitempty"`
	// Prefixes are the networks behind the node, when it is a mobile router;
	// Assigned says that it asks for one of the home agent's pools besides.
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	Assigned bool           `json:"assigned,omitempty"`
	SPI      uint32         `json:"spi,omitempty"`
	Key      []byte         `json:"key,omitempty"`
	Host     string         `json:"host,omitempty"` // what the node calls itself
	Enrolled time.Time      `json:"enrolled,omitzero"`
}

// Name is the node's name: its NAI, else its home address.
func (n *Node) Name() string {
	if n.NAI != "" {
		return n.NAI
	}
	return n.HomeAddress.String()
}

// A Store keeps the ledger's records.
type Store interface {
	Apply(role string, records []engine.Record) error
	Load(role string, yield func(engine.Record) error) error
}

// Role is under whose name the records are stored.
const Role = "enrol"

const (
	nodePrefix       = "enrol/node/"
	invitationPrefix = "enrol/invitation/"
	certificateKey   = "enrol/certificate"
)

// maxInvitations bounds the tokens that are out.
const maxInvitations = 10_000

// A Ledger holds invitations and enrolled nodes. It is safe for concurrent
// use; what it answers is durable.
type Ledger struct {
	store  Store
	random io.Reader
	now    func() time.Time
	admit  func(Node) error

	mu          sync.Mutex
	nodes       map[string]Node
	invitations map[string]Invitation // by hash
	certificate []byte
}

// Open reads the ledger. admit is called with a node that has just enrolled,
// and makes the home agent know it; when it fails, so does the enrolment.
func Open(store Store, random io.Reader, now func() time.Time, admit func(Node) error) (*Ledger, error) {
	l := &Ledger{store: store, random: random, now: now, admit: admit, nodes: map[string]Node{}, invitations: map[string]Invitation{}}
	err := store.Load(Role, func(r engine.Record) error {
		key := string(r.Key)
		switch {
		case strings.HasPrefix(key, nodePrefix):
			var n Node
			if err := json.Unmarshal(r.Value, &n); err != nil {
				return fmt.Errorf("enrol: record %s: %w", key, err)
			}
			l.nodes[n.Name()] = n
		case strings.HasPrefix(key, invitationPrefix):
			var i Invitation
			if err := json.Unmarshal(r.Value, &i); err != nil {
				return fmt.Errorf("enrol: record %s: %w", key, err)
			}
			l.invitations[string(i.Hash)] = i
		case key == certificateKey:
			l.certificate = bytes.Clone(r.Value)
		}
		return nil
	})
	return l, err
}

// Nodes lists the enrolled nodes by name.
func (l *Ledger) Nodes() []Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Node, 0, len(l.nodes))
	for _, n := range l.nodes {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b Node) int { return cmp.Compare(a.Name(), b.Name()) })
	return list
}

// Invitations lists the tokens that are out and were not used, the first to
// expire first.
func (l *Ledger) Invitations() []Invitation {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []Invitation{}
	for _, i := range l.invitations {
		if i.Client == nil && l.now().Before(i.Until) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b Invitation) int {
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Node.Name(), b.Node.Name()))
	})
	return list
}

// taken tells whether a node or an invitation has the name, the address or a
// part of a prefix.
func (l *Ledger) taken(n Node) bool { return l.inTheWay(n) != "" }

// inTheWay says in words which node has, or was promised, something that n would
// have; nothing when no node has.
func (l *Ledger) inTheWay(n Node) string {
	common := func(o Node) string {
		if n.NAI != "" && n.NAI == o.NAI {
			return "the name " + n.NAI
		}
		if n.HomeAddress.IsValid() && n.HomeAddress == o.HomeAddress {
			return "the address " + n.HomeAddress.String()
		}
		for _, p := range n.Prefixes {
			if i := slices.IndexFunc(o.Prefixes, p.Overlaps); i >= 0 {
				return fmt.Sprintf("the network %v, which %v overlaps", o.Prefixes[i], p)
			}
		}
		return ""
	}
	var found []string // the first of them is always the same one
	for _, o := range l.nodes {
		if what := common(o); what != "" {
			found = append(found, fmt.Sprintf("%s has joined with %s", o.Name(), what))
		}
	}
	for _, i := range l.invitations {
		if i.Client == nil && l.now().Before(i.Until) {
			if what := common(i.Node); what != "" {
				found = append(found, fmt.Sprintf("a token for %s promises %s", i.Node.Name(), what))
			}
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.Min(found)
}

// ErrTaken says that there is such a node, or an invitation for it.
var ErrTaken = errors.New("enrol: that is another node's")

// Invite makes an invitation for a node, good for so long, and returns its
// secret. With an invalid home address, choose is asked for free ones until
// one is not invited.
func (l *Ledger) Invite(n Node, good time.Duration, choose func(taken func(netip.Addr) bool) (netip.Addr, error)) (Secret, Invitation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tidy()
	if len(l.invitations) >= maxInvitations {
		return Secret{}, Invitation{}, fmt.Errorf("enrol: %d invitations are out: wait until some expire", maxInvitations)
	}
	if !n.HomeAddress.IsValid() && choose != nil {
		a, err := choose(func(a netip.Addr) bool { return l.taken(Node{HomeAddress: a}) })
		if err != nil {
			return Secret{}, Invitation{}, err
		}
		n.HomeAddress = a
	}
	if who := l.inTheWay(n); who != "" {
		return Secret{}, Invitation{}, fmt.Errorf("%w: %s", ErrTaken, who)
	}
	var s Secret
	if _, err := io.ReadFull(l.random, s[:]); err != nil {
		return Secret{}, Invitation{}, err
	}
	hash := sha256.Sum256(s[:])
	i := Invitation{Node: n, Hash: hash[:], Created: l.now(), Until: l.now().Add(good)}
	if err := l.save(invitationKey(i), i); err != nil {
		return Secret{}, Invitation{}, err
	}
	l.invitations[string(i.Hash)] = i
	return s, i, nil
}

// Claim takes a token: the node becomes an enrolled one, with a key of its
// own, and the token is used up, before the answer is given.
func (l *Ledger) Claim(c Claim) (Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	hash := sha256.Sum256(c.Secret)
	i, ok := l.invitations[string(hash[:])]
	if !ok || len(c.Secret) != len(Secret{}) || len(c.Client) == 0 || !l.now().Before(i.Until) {
		return Node{}, ErrRefused
	}
	client := sha256.Sum256(c.Client)
	if i.Client != nil {
		n, there := l.nodes[i.Node.Name()]
		if !there || subtle.ConstantTimeCompare(i.Client, client[:]) != 1 {
			return Node{}, ErrRefused
		}
		return n, nil // its answer was lost
	}
	n := i.Node
	n.Host, n.Enrolled = printable(c.Host), l.now()
	n.Key = make([]byte, 32)
	if _, err := io.ReadFull(l.random, n.Key); err != nil {
		return Node{}, err
	}
	if err := l.newSPI(&n); err != nil {
		return Node{}, err
	}
	i.Client = client[:]
	records, err := l.records(map[string]any{nodePrefix + n.Name(): n, invitationKey(i): i})
	if err != nil {
		return Node{}, err
	}
	// The home agent first: a node that it does not take must not use the
	// token up. Should the store then fail, it knows a key that nobody has.
	if err := l.admit(n); err != nil {
		return Node{}, err
	}
	if err := l.store.Apply(Role, records); err != nil {
		return Node{}, err
	}
	l.nodes[n.Name()], l.invitations[string(i.Hash)] = n, i
	return n, nil
}

func (l *Ledger) newSPI(n *Node) error {
	var b [4]byte
	for n.SPI < 256 {
		if _, err := io.ReadFull(l.random, b[:]); err != nil {
			return err
		}
		n.SPI = uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	return nil
}

// Remove forgets an enrolled node, or an invitation for one, and says whether
// there was one.
func (l *Ledger) Remove(name string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var records []engine.Record
	if _, there := l.nodes[name]; there {
		records = append(records, engine.Record{Key: []byte(nodePrefix + name)})
	}
	for _, i := range l.invitations {
		if i.Node.Name() == name {
			records = append(records, engine.Record{Key: []byte(invitationKey(i))})
		}
	}
	if len(records) == 0 {
		return false, nil
	}
	if err := l.store.Apply(Role, records); err != nil {
		return false, err
	}
	delete(l.nodes, name)
	for h, i := range l.invitations {
		if i.Node.Name() == name {
			delete(l.invitations, h)
		}
	}
	return true, nil
}

// tidy forgets invitations that have expired.
func (l *Ledger) tidy() {
	var records []engine.Record
	for h, i := range l.invitations {
		if !l.now().Before(i.Until) {
			records = append(records, engine.Record{Key: []byte(invitationKey(i))})
			delete(l.invitations, h)
		}
	}
	if len(records) > 0 {
		// One that stays in the store has expired all the same.
		_ = l.store.Apply(Role, records)
	}
}

func invitationKey(i Invitation) string { return invitationPrefix + fmt.Sprintf("%x", i.Hash) }

func (l *Ledger) save(key string, v any) error {
	records, err := l.records(map[string]any{key: v})
	if err != nil {
		return err
	}
	return l.store.Apply(Role, records)
}

func (l *Ledger) records(values map[string]any) ([]engine.Record, error) {
	var out []engine.Record
	for key, v := range values {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("enrol: %w", err)
		}
		out = append(out, engine.Record{Key: []byte(key), Value: b})
	}
	slices.SortFunc(out, func(a, b engine.Record) int { return bytes.Compare(a.Key, b.Key) })
	return out, nil
}

// printable keeps of a stranger's text what a terminal may see.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 64)]
}
