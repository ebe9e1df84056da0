package daemon

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/diameter"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/mipapp"
	"careof/internal/core/realm"
	host "careof/internal/host/aaa"
	"careof/internal/host/clock"
	hostdiameter "careof/internal/host/diameter"
	"careof/internal/host/drive"
	"careof/internal/roles"
	wire "careof/wire/diameter"
)

// application is the Diameter Mobile IPv4 application of this host: the server of
// its realm, and its agents (RFC 4004).
type application struct {
	d         *daemon
	identity  mipapp.Identity
	service   *hostdiameter.Service
	attendant *host.Attendant
	serve     *drive.Driver // nil: no server
}

// served is how long a peer's request may take.
const served = 30 * time.Second

// newApplication makes the application; its service is given to it before it
// serves.
func (d *daemon) newApplication(c *config.Config, identity mipapp.Identity) (*application, error) {
	a := &application{d: d, identity: identity}
	set := host.AttendantConfig{Identity: identity, Carrier: a, End: d.carryEnd, Warn: d.log.Warn}
	if c.HomeAgent != nil {
		set.Carry = d.carryRequest
		set.HomeAgentNamed = c.HomeAgent.Identity != ""
	}
	a.attendant = host.NewAttendant(set)
	if c.AAA.Serve == nil {
		return a, nil
	}
	server, err := realm.New(roles.Realm(c.AAA, identity, crand.Reader))
	if err != nil {
		return nil, err
	}
	a.serve = drive.New(realm.RoleName, drive.World{Note: d.hub.note, AAA: a.forward}, []engine.Machine{server}, nil)
	return a, nil
}

// Submit implements [host.Carrier].
func (a *application) Submit(ctx context.Context, m *wire.Message) (*wire.Message, error) {
	return a.send(ctx, diameter.Submit{Request: m})
}

// send takes a request where it belongs: one for this host comes back at once.
func (a *application) send(ctx context.Context, s diameter.Submit) (*wire.Message, error) {
	to, _ := s.Request.Text(wire.DestinationHost)
	at, _ := s.Request.Text(wire.DestinationRealm)
	if strings.EqualFold(to, a.identity.Host) || to == "" && a.serve != nil && strings.EqualFold(at, a.identity.Realm) {
		m := s.Request
		if !s.Proxied {
			m.List = append(m.List, wire.OriginHost.Text(a.identity.Host), wire.OriginRealm.Text(a.identity.Realm))
		}
		answer := a.answer(ctx, realm.Arrived{Peer: a.identity.Host, Secure: true, Message: m})
		if !answer.Has(wire.OriginHost) {
			answer.List = append(answer.List, wire.OriginHost.Text(a.identity.Host), wire.OriginRealm.Text(a.identity.Realm))
		}
		return answer, nil
	}
	if to == "" && a.serve != nil && !s.Proxied {
		// The agents of a server's own host ask that server.
		m := s.Request
		m.List = append(m.List, wire.OriginHost.Text(a.identity.Host), wire.OriginRealm.Text(a.identity.Realm))
		answer := a.answer(ctx, realm.Arrived{Peer: a.identity.Host, Secure: true, Message: m})
		return answer, nil
	}
	got, err := a.service.Do(ctx, s)
	return got.Answer, err
}

// deliver takes a peer's request; it does not block.
func (a *application) deliver(x diameter.Deliver) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), served)
		defer cancel()
		a.service.Reply(x.Handle, a.answer(ctx, realm.Arrived{Peer: x.Peer, Secure: x.Secure, Message: x.Request}))
	}()
}

// answer answers a request: the agents' where it is for them, else the server's.
func (a *application) answer(ctx context.Context, x realm.Arrived) *wire.Message {
	if a.serve == nil || a.forAgents(x.Message) {
		return a.attendant.Received(ctx, x.Message)
	}
	answers, err := a.serve.Command(ctx, x)
	if err == nil && len(answers) == 1 {
		if m, ok := answers[0].(*wire.Message); ok {
			return m
		}
	}
	return x.Message.Answer(wire.UnableToDeliver)
}

// forAgents says whether a request is for an agent on a server's host: an order to
// a home agent that is this host, or to end what an agent has.
func (a *application) forAgents(m *wire.Message) bool {
	to, _ := m.Text(wire.DestinationHost)
	if !strings.EqualFold(to, a.identity.Host) {
		return false
	}
	switch m.Command {
	case wire.AbortSession:
		return true
	case wire.HomeAgentMIP:
		// From the server itself, or from a realm that has chosen this host; with
		// another home agent in it, the server passes it on.
		for _, c := range []wire.Code{wire.MIPCandidateHomeAgentHost, wire.MIPHomeAgentHost} {
			if g, ok := m.Group(c); ok {
				if host, ok := g.Text(wire.DestinationHost); ok && !strings.EqualFold(host, a.identity.Host) {
					return false
				}
			}
		}
		if host, ok := m.Text(wire.MIPCandidateHomeAgentHost); ok && !strings.EqualFold(host, a.identity.Host) {
			return false
		}
		return a.d.home != nil
	}
	return false
}

// forward answers the server's questions: it has a request of its own to send.
func (a *application) forward(ctx context.Context, question any, answer func(any, error)) {
	f, ok := question.(realm.Forward)
	if !ok {
		answer(nil, fmt.Errorf("daemon: no such question: %T", question))
		return
	}
	go func() {
		m, err := a.send(ctx, diameter.Submit{Request: f.Message, Proxied: f.Proxied, Secure: f.Secure})
		if errors.Is(err, diameter.ErrInsecure) {
			err = realm.ErrInsecure
		}
		if err != nil {
			answer(nil, err)
			return
		}
		answer(m, nil)
	}()
}

// carryRequest gives the home agent a Registration Request that AAA has brought.
func (d *daemon) carryRequest(ctx context.Context, c aaa.Carry) (aaa.Carried, error) {
	if d.home == nil {
		return aaa.Carried{}, errStarting
	}
	answers, err := d.home.Command(ctx, c)
	if err != nil {
		return aaa.Carried{}, err
	}
	for _, one := range answers {
		if done, ok := one.(aaa.Carried); ok {
			return done, nil
		}
	}
	return aaa.Carried{}, errors.New("the home agent has not answered")
}

// carryEnd ends the sessions that AAA means.
func (d *daemon) carryEnd(ctx context.Context, e aaa.End) (int, error) { return d.carry(ctx, e) }

// openDiameter makes what answers the roles' questions about nodes over Diameter.
func (d *daemon) openDiameter() error {
	c, a := d.cfg.AAA, d.aaa
	app, err := d.newApplication(d.cfg, mipapp.Identity{Host: c.Diameter.Identity, Realm: c.Diameter.Realm})
	if err != nil {
		return fmt.Errorf("aaa.serve: %w", err)
	}
	a.diameter = app
	a.desk = host.New(a.answerer(c, *a.book.Load()), deskLimits(c))
	if c.Accounting == config.On {
		a.ledger = host.NewLedger(app.attendant, c.Interim, d.used, func() time.Time { return clock.Now().Mono })
	}
	return nil
}

// serveDiameter begins to talk to peers.
func (d *daemon) serveDiameter() error {
	if d.aaa == nil || d.aaa.diameter == nil {
		return nil
	}
	c, app := d.cfg.AAA.Diameter, d.aaa.diameter
	set := hostdiameter.Config{
		Node: diameter.Config{
			Host: c.Identity, Realm: c.Realm, Product: "careof", State: uint32(d.started.Unix()),
			Applications: []wire.Application{wire.MobileIPv4}, Transit: app.serve != nil,
			Watchdog: c.Watchdog, Reconnect: c.Reconnect, Timeout: c.Timeout,
		},
		Listen: c.Listen, ListenTLS: c.ListenTLS, Certificate: c.Certificate, Authorities: c.Authorities,
		Deliver: app.deliver, Note: d.hub.note,
	}
	routes := map[string]int{}
	for _, p := range c.Peers {
		set.Peers = append(set.Peers, hostdiameter.Peer{Host: p.Identity, Address: p.Address, From: p.From, TLS: p.TLS == config.On})
		for _, realm := range p.Realms {
			if realm == "*" {
				realm = ""
			}
			i, there := routes[realm]
			if !there {
				i = len(set.Node.Routes)
				routes[realm] = i
				set.Node.Routes = append(set.Node.Routes, diameter.Route{Realm: realm})
			}
			set.Node.Routes[i].Peers = append(set.Node.Routes[i].Peers, p.Identity)
		}
	}
	service, err := hostdiameter.Start(set)
	if err != nil {
		return d.failed("aaa.diameter", err)
	}
	app.service = service
	return nil
}

// closeDiameter says goodbye to the peers.
func (d *daemon) closeDiameter() {
	if d.aaa == nil || d.aaa.diameter == nil || d.aaa.diameter.service == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	d.aaa.diameter.service.Close(ctx)
}

// EndAAA implements [control.AAAEnder].
func (d *daemon) EndAAA(ctx context.Context, order control.AAAEndOrder) (control.AAAEnded, error) {
	if d.aaa == nil || d.aaa.diameter == nil || d.aaa.diameter.serve == nil {
		return control.AAAEnded{}, fmt.Errorf("%w: this daemon is no AAA server: it has no [aaa.serve] section", control.ErrNotFound)
	}
	name, err := ident.ParseNAI(order.NAI)
	if err != nil {
		return control.AAAEnded{}, fmt.Errorf("%w: %w", control.ErrInvalid, err)
	}
	asked, err := ask[int](ctx, d.aaa.diameter.serve, realm.End{NAI: name})
	if err != nil {
		return control.AAAEnded{}, err
	}
	if len(asked) == 0 || asked[0] == 0 {
		return control.AAAEnded{}, fmt.Errorf("%w: %s has no session here", control.ErrNotFound, name)
	}
	return control.AAAEnded{Asked: asked[0]}, nil
}

// shownRealm is what an AAA server shows; nil where there is none.
func (d *daemon) shownRealm(ctx context.Context) *control.AAARealm {
	if d.aaa.diameter == nil || d.aaa.diameter.serve == nil {
		return nil
	}
	list, err := ask[realm.Status](ctx, d.aaa.diameter.serve, realm.Show{})
	if err != nil || len(list) == 0 {
		return nil
	}
	st := list[0]
	out := &control.AAARealm{
		Requests: st.Counters.Requests, Authorised: st.Counters.Authorised, Rejected: st.Counters.Rejected, Refused: st.Counters.Refused,
		Records: st.Counters.Records, Sessions: []control.AAARealmSession{},
	}
	for _, s := range st.Sessions {
		out.Sessions = append(out.Sessions, control.AAARealmSession{
			NAI: s.NAI, Visitor: s.Visitor, ID: s.ID, HomeAddress: s.HomeAddress, HomeAgent: s.HomeAgent, AgentHost: s.AgentHost, Attendants: s.Attendants,
			Lasted: control.Seconds(s.Lasted.Truncate(time.Second)), Left: control.Seconds(s.Left.Truncate(time.Second)), Counters: s.Used,
		})
	}
	return out
}

// testDiameter asks a Diameter server whether a secret is a node's: with the SPI of
// the order in HMAC-MD5, or else in the manner of CHAP.
func (d *daemon) testDiameter(ctx context.Context, name ident.NAI, order control.AAATestOrder) (control.AAATest, error) {
	out := control.AAATest{NAI: order.NAI}
	if order.Secret == "" {
		out.Key.Why = "Diameter servers verify requests: add the node's secret (--secret-file)"
		return out, nil
	}
	key, err := config.ParseSecret(order.Secret)
	if err != nil {
		return out, fmt.Errorf("%w: secret: %w", control.ErrInvalid, err)
	}
	secret := aaa.CHAP(key)
	if order.SPI != 0 && order.SPI != testSPI {
		sa, err := assoc.New(order.SPI, assoc.HMACMD5, key, assoc.Timestamps)
		if err != nil {
			return out, fmt.Errorf("%w: %w", control.ErrInvalid, err)
		}
		secret = aaa.Shared(sa)
	}
	careOf := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	switch c := d.cfg; {
	case c.ForeignAgent != nil:
		careOf = c.ForeignAgent.CareOfAddresses[0]
	case c.HomeAgent != nil:
		careOf = c.HomeAgent.Addresses[0]
	}
	began := time.Now()
	err = d.aaa.diameter.attendant.Verify(ctx, name, secret, careOf, d.cfg.HomeAgent != nil && d.cfg.ForeignAgent == nil)
	v := control.AAAVerdict{Granted: err == nil, Took: control.Seconds(time.Since(began))}
	if err != nil {
		v.Why = err.Error()
	}
	out.Challenge, out.Key = &v, v
	return out, nil
}
