package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/assoc"
	"careof/internal/core/ident"
	"careof/internal/enrol"
	"careof/internal/proto/mip4/feature/revoke"
	"careof/wire/encap"
)

var _ control.Enroller = (*daemon)(nil)

// maxInvitation is how long a token may be good.
const maxInvitation = 30 * 24 * time.Hour

// openLedger reads who has joined, before the home agent is made: enrolled
// nodes are configured like those of the file.
func (d *daemon) openLedger() error {
	if d.cfg.HomeAgent == nil {
		return nil
	}
	var err error
	if d.ledger, err = enrol.Open(d.store, rand.Reader, time.Now, d.admit); err != nil {
		return err
	}
	for _, n := range d.ledger.Nodes() {
		peer, err := peerOf(n)
		if err != nil {
			return err
		}
		d.live.enrolled = append(d.live.enrolled, peer)
	}
	d.cfg = d.withEnrolled(d.cfg)
	d.live.inForce(d.cfg)
	return nil
}

// meet opens the port at which nodes join.
func (d *daemon) meet() (*enrol.Server, error) {
	if d.cfg.Enrolment == nil {
		return nil, nil
	}
	return d.ledger.Listen(d.cfg.Enrolment.Listen.String(), func(g *enrol.Grant) {
		g.HomeAgent = d.cfg.Enrolment.HomeAgent
		if g.HomeAgent == "" {
			g.HomeAgent = d.cfg.HomeAgent.Addresses[0].String()
		}
		if p := d.cfg.HomeAgent.Port; p != encap.Port {
			g.Port = p
		}
		if encryptsForAll(d.cfg.HomeAgent) {
			g.WireGuardKey = d.secret.public.String()
		}
		// On a virtual home network nobody is ever at home.
		for _, n := range d.cfg.HomeAgent.Networks {
			if len(d.cfg.HomeAgent.Interfaces) > 0 && n.Prefix.Contains(g.HomeAddress) {
				g.Network = n.Prefix
			}
		}
	})
}

// peerOf is an enrolled node as the file would have it.
func peerOf(n enrol.Node) (config.MobileNodePeer, error) {
	key, err := assoc.New(n.SPI, assoc.HMACSHA256, assoc.NewKey(n.Key), assoc.Timestamps)
	if err != nil {
		return config.MobileNodePeer{}, fmt.Errorf("enrolled node %s: %w", n.Name(), err)
	}
	return config.MobileNodePeer{
		HomeAddress: n.HomeAddress, NAI: ident.NAI(n.NAI), Prefixes: n.Prefixes, Security: config.Security{Associations: []*assoc.Association{key}},
	}, nil
}

// withEnrolled is the configuration with the enrolled nodes among the mobile
// nodes. One that the file has too, or whose place it has given to another, is
// the file's.
func (d *daemon) withEnrolled(c *config.Config) *config.Config {
	if c.HomeAgent == nil || len(d.live.enrolled) == 0 {
		return c
	}
	all, home := *c, *c.HomeAgent
	home.MobileNodes = slices.Clone(home.MobileNodes)
	for _, n := range d.live.enrolled {
		if i := slices.IndexFunc(c.HomeAgent.MobileNodes, func(o config.MobileNodePeer) bool { return samePeer(o, n) }); i >= 0 {
			if slices.Equal(c.HomeAgent.MobileNodes[i].Associations, n.Associations) {
				continue // it is there already
			}
			d.log.Warn("an enrolled node is in the configuration too, or its place is: the configuration counts", "node", n.Identity())
			continue
		}
		home.MobileNodes = append(home.MobileNodes, n)
	}
	all.HomeAgent = &home
	return &all
}

// samePeer tells whether two nodes have one name or one address.
func samePeer(a, b config.MobileNodePeer) bool {
	return a.NAI != "" && a.NAI == b.NAI || a.HomeAddress.IsValid() && a.HomeAddress == b.HomeAddress
}

// admit makes the running home agent know a node that has just joined.
func (d *daemon) admit(n enrol.Node) error {
	peer, err := peerOf(n)
	if err != nil {
		return err
	}
	return d.change(func(now *config.Config) (*config.Config, error) {
		if i := slices.IndexFunc(now.HomeAgent.MobileNodes, func(o config.MobileNodePeer) bool { return samePeer(o, peer) }); i >= 0 {
			if !slices.ContainsFunc(d.live.enrolled, func(o config.MobileNodePeer) bool { return samePeer(o, peer) }) {
				return nil, fmt.Errorf("the configuration has %v by now", peer.Identity())
			}
		}
		next, home := *now, *now.HomeAgent
		unlike := func(list []config.MobileNodePeer) []config.MobileNodePeer {
			return append(slices.DeleteFunc(slices.Clone(list), func(o config.MobileNodePeer) bool { return samePeer(o, peer) }), peer)
		}
		home.MobileNodes = unlike(home.MobileNodes)
		d.live.enrolled = unlike(d.live.enrolled)
		next.HomeAgent = &home
		d.log.Info("a mobile node joins", "node", peer.Identity(), "host", n.Host)
		return &next, nil
	})
}

// change puts another configuration into force, as a reload does.
func (d *daemon) change(how func(now *config.Config) (*config.Config, error)) error {
	d.live.reloading.Lock()
	defer d.live.reloading.Unlock()
	now := d.live.config()
	next, err := how(now)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), applyLimit)
	defer cancel()
	var out control.Reload
	return d.apply(ctx, now, next, &out)
}

// Enrol implements [control.Enroller].
func (d *daemon) Enrol(ctx context.Context, order control.EnrolOrder) (control.Invitation, error) {
	if d.ledger == nil {
		return control.Invitation{}, fmt.Errorf("%w: this daemon is no home agent: nodes are invited there", control.ErrInvalid)
	}
	if d.cfg.Enrolment == nil {
		return control.Invitation{}, fmt.Errorf(`%w: nobody can join here: the configuration has no [enrolment] section (hint: add it with listen = "0.0.0.0:4434", and restart)`, control.ErrInvalid)
	}
	good := time.Duration(order.For)
	if good <= 0 || good > maxInvitation {
		return control.Invitation{}, fmt.Errorf("%w: a token is good for a time (--for) above 0 and of at most %v", control.ErrInvalid, maxInvitation)
	}
	n := enrol.Node{HomeAddress: order.HomeAddress, Prefixes: order.Prefixes, Assigned: order.Assigned}
	if order.NAI != "" {
		nai, err := ident.ParseNAI(order.NAI)
		if err != nil {
			return control.Invitation{}, fmt.Errorf("%w: %q is no NAI: write van7@fleet.example", control.ErrInvalid, order.NAI)
		}
		n.NAI = string(nai)
	}
	free, err := d.vacancies(ctx)
	if err != nil {
		return control.Invitation{}, err
	}
	if err := d.refuse(ctx, free, ident.Node{HomeAddress: n.HomeAddress, NAI: ident.NAI(n.NAI)}); err != nil {
		return control.Invitation{}, err
	}
	home := free.home
	for i, p := range n.Prefixes {
		if n.Prefixes[i] = p.Masked(); p != p.Masked() {
			return control.Invitation{}, fmt.Errorf("%w: %v is an address in a network: write %v", control.ErrInvalid, p, p.Masked())
		}
		if slices.ContainsFunc(n.Prefixes[:i], p.Overlaps) {
			return control.Invitation{}, fmt.Errorf("%w: %v overlaps another one", control.ErrInvalid, p)
		}
		if err := home.PrefixForNode(p); err != nil {
			return control.Invitation{}, fmt.Errorf("%w: %w", control.ErrInvalid, err)
		}
	}
	if n.Assigned && (len(home.PrefixPools) == 0 || home.MobileNetworks == config.Off) {
		return control.Invitation{}, fmt.Errorf("%w: there is no pool to assign a prefix from (hint: add [[home-agent.prefix-pool]], or name a prefix)", control.ErrInvalid)
	}
	secret, i, err := d.ledger.Invite(n, good, free.free)
	if errors.Is(err, enrol.ErrTaken) {
		return control.Invitation{}, fmt.Errorf("%w: %w (hint: careof show enrolled says who; careof enrol remove takes a token back)", control.ErrInvalid, err)
	}
	if err != nil {
		return control.Invitation{}, err
	}
	_, pin, err := d.ledger.Certificate()
	if err != nil {
		return control.Invitation{}, err
	}
	d.log.Info("a mobile node is invited", "node", i.Node.Name(), "until", i.Until)
	return control.Invitation{
		Token: enrol.Token{Address: d.joinAddress(), Pin: pin, Secret: secret}.String(),
		NAI:   i.Node.NAI, HomeAddress: i.Node.HomeAddress, Prefixes: i.Node.Prefixes, Assigned: i.Node.Assigned, Until: i.Until,
	}, nil
}

// joinAddress is where tokens lead.
func (d *daemon) joinAddress() string {
	e := d.cfg.Enrolment
	if e.Address != "" {
		return e.Address
	}
	return net.JoinHostPort(d.cfg.HomeAgent.Addresses[0].String(), strconv.Itoa(int(e.Listen.Port())))
}

// Unenrol implements [control.Enroller].
func (d *daemon) Unenrol(ctx context.Context, order control.UnenrolOrder) (control.Enrolled, error) {
	list, err := d.enrolled(ctx)
	if err != nil {
		return control.Enrolled{}, err
	}
	for _, one := range list {
		if order.Node != one.Node && order.Node != one.HomeAddress.String() {
			continue
		}
		if _, err := d.ledger.Remove(one.Node); err != nil {
			return control.Enrolled{}, err
		}
		if one.State != "enrolled" {
			return one, nil
		}
		gone := config.MobileNodePeer{HomeAddress: one.HomeAddress, NAI: ident.NAI(one.NAI)}
		return one, d.change(func(now *config.Config) (*config.Config, error) {
			next, home := *now, *now.HomeAgent
			without := func(list []config.MobileNodePeer) []config.MobileNodePeer {
				return slices.DeleteFunc(slices.Clone(list), func(o config.MobileNodePeer) bool { return samePeer(o, gone) })
			}
			home.MobileNodes = without(home.MobileNodes)
			d.live.enrolled = without(d.live.enrolled)
			next.HomeAgent = &home
			return &next, nil
		})
	}
	return control.Enrolled{}, fmt.Errorf("%w: %s has not joined and is not invited (careof show enrolled lists who is)", control.ErrNotFound, order.Node)
}

// enrolled lists who has joined and who is invited.
func (d *daemon) enrolled(ctx context.Context) ([]control.Enrolled, error) {
	out := []control.Enrolled{}
	if d.ledger == nil {
		return out, nil
	}
	kept, err := ask[revoke.BlockedNode](ctx, d.home, revoke.ListBlocked{})
	if err != nil {
		return nil, err
	}
	blocked := make(map[string]bool, len(kept))
	for _, b := range kept {
		blocked[b.Node] = true
	}
	for _, n := range d.ledger.Nodes() {
		out = append(out, control.Enrolled{Node: n.Name(), NAI: n.NAI, HomeAddress: n.HomeAddress, Prefixes: n.Prefixes, Assigned: n.Assigned, Host: n.Host, State: "enrolled", Blocked: blocked[n.Name()], Since: n.Enrolled})
	}
	for _, i := range d.ledger.Invitations() {
		n := i.Node
		out = append(out, control.Enrolled{Node: n.Name(), NAI: n.NAI, HomeAddress: n.HomeAddress, Prefixes: n.Prefixes, Assigned: n.Assigned, State: "invited", Blocked: blocked[n.Name()], Since: i.Created, Until: i.Until})
	}
	return out, nil
}

// ExportEnrolled implements [control.Enroller].
func (d *daemon) ExportEnrolled(context.Context) (control.Export, error) {
	var b strings.Builder
	if d.ledger != nil {
		for _, n := range d.ledger.Nodes() {
			fmt.Fprintf(&b, "[[home-agent.mobile-node]]\n")
			if n.HomeAddress.IsValid() {
				fmt.Fprintf(&b, "home-address = %q\n", n.HomeAddress)
			}
			if n.NAI != "" {
				fmt.Fprintf(&b, "nai = %q\n", n.NAI)
			}
			if len(n.Prefixes) > 0 {
				var list []string
				for _, p := range n.Prefixes {
					list = append(list, strconv.Quote(p.String()))
				}
				fmt.Fprintf(&b, "prefixes = [%s]\n", strings.Join(list, ", "))
			}
			fmt.Fprintf(&b, "spi = %d\nkey = \"hex:%x\"\nalgorithm = \"hmac-sha256\"\n\n", n.SPI, n.Key)
		}
	}
	return control.Export{TOML: b.String()}, nil
}
