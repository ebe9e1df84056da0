package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	crand "crypto/rand"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	host "careof/internal/host/aaa"
	"careof/internal/host/clock"
	"careof/internal/host/drive"
	"careof/internal/proto/mip4/feature/subscriber"
	"careof/internal/roles"
)

// authority is what answers the roles' questions about nodes, and hears of
// their sessions; nil without an [aaa] section.
type authority struct {
	desk     *host.Desk
	book     atomic.Pointer[aaa.Book]
	radius   *host.RADIUS // it may have no servers
	ledger   *host.Ledger // nil without accounting
	orders   *host.Orders // nil with Diameter
	diameter *application // nil without Diameter
}

// dialects are the dictionaries as the configuration names them.
var dialects = map[config.AAAAttributes]host.Dialect{config.AttributesThreeGPP2: host.ThreeGPP2, config.AttributesWiMAX: host.WiMAX}

// aaaServers is how RADIUS servers are asked.
func (d *daemon) aaaServers(c *config.Config) host.RADIUSConfig {
	out := host.RADIUSConfig{
		Timeout: c.AAA.Timeout, Tries: c.AAA.Tries, DeadTime: c.AAA.DeadTime, Source: c.AAA.Source,
		NASIdentifier: c.AAA.NASIdentifier, NASAddress: c.AAA.Source, Algorithm: c.AAA.Algorithm, KeyLifetime: c.AAA.KeyLifetime,
		Timestamps: c.AAA.Timestamps == config.On, Warn: d.log.Warn,
	}
	if !out.NASAddress.IsValid() {
		switch {
		case c.HomeAgent != nil:
			out.NASAddress = c.HomeAgent.Addresses[0]
		case c.ForeignAgent != nil:
			out.NASAddress = c.ForeignAgent.CareOfAddresses[0]
		}
	}
	for _, s := range c.AAA.Servers {
		one := host.Server{
			Address:    netip.AddrPortFrom(s.Address, s.Port),
			Accounting: netip.AddrPortFrom(s.Address, cmp.Or(s.AccountingPort, s.Port)),
			Secret:     s.Secret.Octets(),
			Dialect:    dialects[s.Attributes],
		}
		if s.TLS == config.On {
			one.TLS = &host.TLS{Name: s.Name, Authorities: s.Authorities, Certificate: s.Certificate}
		}
		out.Servers = append(out.Servers, one)
	}
	return out
}

// openAAA makes what answers the roles' questions about nodes.
func (d *daemon) openAAA() error {
	c := d.cfg.AAA
	if c == nil {
		return nil
	}
	servers := d.aaaServers(d.cfg)
	a := &authority{radius: host.NewRADIUS(servers)}
	book := roles.Book(c)
	a.book.Store(&book)
	d.aaa = a
	if c.Diameter != nil {
		return d.openDiameter()
	}
	a.desk = host.New(a.answerer(c, book), deskLimits(c))
	if c.Accounting == config.On {
		a.ledger = host.NewLedger(a.radius, c.Interim, d.used, func() time.Time { return clock.Now().Mono })
	}
	var err error
	if a.orders, err = host.Listen(c.Dynamic, servers, d.carry); err != nil {
		return d.failed("aaa.dynamic-authorisation", err)
	}
	a.radius.Obey(a.orders)
	return nil
}

func deskLimits(c *config.AAA) host.Limits {
	return host.Limits{Questions: c.Questions, PerSource: c.PerSource}
}

// answerer is who is asked: subscribers of the file first, and then Diameter or
// RADIUS servers. A realm's own server knows its subscribers itself.
func (a *authority) answerer(c *config.AAA, book aaa.Book) host.Answerer {
	var others host.Answerer
	switch {
	case a.diameter == nil && len(c.Servers) == 0:
		return host.Book{Book: book}
	case a.diameter == nil:
		others = a.radius
	case len(c.Servers) == 0:
		others = a.diameter.attendant
	default:
		others = host.ByProof{Proven: a.diameter.attendant, Others: a.radius}
	}
	if c.Serve != nil {
		return others
	}
	return host.First{Book: book, Then: others}
}

// reconfigureAAA has AAA asked as another configuration says. Sessions, what is
// remembered, and questions that are open stay; but who was refused may ask again,
// and of subscribers that are not what they were nothing is remembered.
func (d *daemon) reconfigureAAA(next *config.Config) {
	c, a := next.AAA, d.aaa
	if a == nil || c == nil {
		return
	}
	servers := d.aaaServers(next)
	a.radius.Reconfigure(servers)
	if a.orders != nil {
		a.orders.Reconfigure(servers)
	}
	if a.ledger != nil {
		a.ledger.Interim(c.Interim)
	}
	book := roles.Book(c)
	before := *a.book.Swap(&book)
	a.desk.Reconfigure(a.answerer(c, book), deskLimits(c))
	a.desk.ForgetRefusals()
	for _, names := range []aaa.Book{before, book} {
		for name := range names {
			if !reflect.DeepEqual(before[name], book[name]) {
				a.desk.Forget(name)
			}
		}
	}
}

// used is what an entry of the data plane has counted.
func (d *daemon) used(k forward.Key) forward.Counters {
	if d.plane == nil {
		return forward.Counters{}
	}
	return d.plane.Counters(k)
}

// closeAAA closes what a daemon that does not come to run has opened.
func (d *daemon) closeAAA() {
	if d.aaa == nil {
		return
	}
	d.aaa.radius.Close()
	if d.aaa.orders != nil {
		d.aaa.orders.Close()
	}
}

// askAAA answers a question about a node.
func (d *daemon) askAAA(ctx context.Context, q any, answer func(any, error)) {
	if d.aaa == nil {
		answer(nil, aaa.ErrUnavailable)
		return
	}
	if told, ok := q.(aaa.Account); ok {
		switch a := d.aaa; {
		case a.ledger != nil:
			a.ledger.Account(told)
		case a.diameter != nil && told.Moment == aaa.Stop:
			a.diameter.attendant.Ended(told)
		}
		answer(nil, nil)
		return
	}
	d.aaa.desk.Ask(ctx, q, answer)
}

// metered is the data plane as the roles see it: the ledger reads the counters
// of what they remove.
func (d *daemon) metered() forward.Plane {
	if d.aaa == nil || d.aaa.ledger == nil {
		return d.plane
	}
	return d.aaa.ledger.Metered(d.plane)
}

// carry carries out an order of AAA and says how many sessions it fitted.
func (d *daemon) carry(ctx context.Context, order any) (int, error) {
	drivers := []*drive.Driver{d.home}
	switch o := order.(type) {
	case aaa.End:
		d.aaa.desk.Forget(o.NAI)
		if d.cfg.AAA.Accounting == config.On || d.aaa.diameter != nil {
			drivers = append(drivers, d.foreign)
		}
	case aaa.Change:
		d.aaa.desk.Forget(o.NAI)
	}
	n := 0
	for _, driver := range drivers {
		if driver == nil {
			continue
		}
		answers, err := driver.Command(ctx, order)
		if err != nil {
			return n, err
		}
		for _, a := range answers {
			if one, ok := a.(int); ok {
				n += one
			}
		}
	}
	return n, nil
}

// shownAAA is what `careof show aaa` shows.
func (d *daemon) shownAAA(ctx context.Context) control.AAA {
	out := control.AAA{Servers: []control.AAAServer{}, Peers: d.shownPeers(), Sessions: []control.AAASession{}}
	a := d.aaa
	if a == nil {
		return out
	}
	out.Subscribers, out.Questions = len(*a.book.Load()), control.AAAQuestions(a.desk.Counters())
	for _, s := range a.radius.Status() {
		out.Servers = append(out.Servers, control.AAAServer{
			Address: s.Address, TLS: s.TLS, State: s.State, Since: s.Since, Requests: s.Requests, Answers: s.Answers, Timeouts: s.Timeouts,
			Forged: s.Forged, RoundTrip: control.Seconds(s.Took),
		})
	}
	out.Realm = d.shownRealm(ctx)
	if a.ledger != nil {
		var sessions []host.SessionStatus
		sessions, out.Waiting, out.Lost = a.ledger.Status()
		for _, s := range sessions {
			home, _ := netip.ParseAddr(s.HomeAddress)
			out.Sessions = append(out.Sessions, control.AAASession{
				ID: s.ID, Role: s.Role, NAI: s.NAI, HomeAddress: home, Lasted: control.Seconds(s.Lasted.Truncate(time.Second)), Counters: s.Counters,
			})
		}
	}
	return out
}

// aaaCounters count what the roles have asked, and how RADIUS servers did.
func (d *daemon) aaaCounters() []control.Counter {
	a := d.aaa
	if a == nil || a.desk == nil {
		return nil
	}
	q := a.desk.Counters()
	list := []control.Counter{
		{Name: "aaa.asked", Value: q.Asked, Meaning: "questions about mobile nodes that were put"},
		{Name: "aaa.granted", Value: q.Granted, Meaning: "questions that were answered with yes"},
		{Name: "aaa.rejected", Value: q.Rejected, Meaning: "questions that were answered with no"},
		{Name: "aaa.unavailable", Value: q.Unavailable, Meaning: "questions that nobody has answered"},
		{Name: "aaa.limited", Value: q.Limited, Meaning: "questions about strangers that were not put, since there were too many"},
		{Name: "aaa.remembered", Value: q.Remembered, Meaning: "questions that were answered by what was asked before"},
	}
	if a.diameter == nil || a.radius.Servers() > 0 {
		var sum host.ServerStatus
		for _, s := range a.radius.Status() {
			sum.Requests, sum.Timeouts, sum.Forged = sum.Requests+s.Requests, sum.Timeouts+s.Timeouts, sum.Forged+s.Forged
		}
		list = append(list,
			control.Counter{Name: "aaa.requests", Value: sum.Requests, Meaning: "requests to RADIUS servers, repetitions included"},
			control.Counter{Name: "aaa.timeouts", Value: sum.Timeouts, Meaning: "requests to RADIUS servers without an answer in time"},
			control.Counter{Name: "aaa.forged", Value: sum.Forged, Meaning: "answers that no RADIUS server has signed"})
	}
	if a.ledger != nil {
		list = append(list, control.Counter{Name: "aaa.records_lost", Value: a.ledger.Lost(), Meaning: "accounting records that no server has taken, and none will"})
	}
	return list
}

// testSPI is whose key is asked for when an order names none.
const testSPI = 256

// TestAAA implements [control.AAATester]. It asks past what is remembered and
// bounded: an operator asks.
func (d *daemon) TestAAA(ctx context.Context, order control.AAATestOrder) (control.AAATest, error) {
	out := control.AAATest{NAI: order.NAI}
	if d.aaa == nil {
		return out, fmt.Errorf("%w: this daemon has no [aaa] section", control.ErrNotFound)
	}
	name, err := ident.ParseNAI(order.NAI)
	if err != nil {
		return out, fmt.Errorf("%w: %w", control.ErrInvalid, err)
	}
	who := aaa.Subject{NAI: name}
	if c := d.cfg.HomeAgent; c != nil {
		who.HomeAgent = c.Addresses[0]
	}
	if d.aaa.diameter != nil && d.aaa.radius.Servers() == 0 {
		return d.testDiameter(ctx, name, order)
	}
	if order.Secret != "" {
		key, err := config.ParseSecret(order.Secret)
		if err != nil {
			return out, fmt.Errorf("%w: secret: %w", control.ErrInvalid, err)
		}
		var challenge [16]byte
		_, _ = crand.Read(challenge[:]) // never fails
		data := []byte("careof aaa test " + order.NAI)
		v := d.verdict(ctx, aaa.Authenticate{Subject: who, Proof: aaa.Proof{
			SPI: assoc.CHAPSPI, Covered: data, Challenge: challenge[:], Authenticator: key.CHAP(nil, data, challenge[:]),
		}})
		out.Challenge = &v
	}
	v, grant := d.asked(ctx, aaa.Authorise{Subject: who, SPI: cmp.Or(order.SPI, testSPI)})
	if out.Key = v; v.Granted {
		found, err := ask[subscriber.Finding](ctx, d.home, subscriber.Examine{NAI: name, Grant: grant})
		if err != nil {
			return out, err
		}
		for _, f := range found {
			out.Key.Unfit = cmp.Or(out.Key.Unfit, f.Why)
		}
	}
	return out, nil
}

func (d *daemon) verdict(ctx context.Context, question any) control.AAAVerdict {
	v, _ := d.asked(ctx, question)
	return v
}

func (d *daemon) asked(ctx context.Context, question any) (control.AAAVerdict, aaa.Grant) {
	began := time.Now()
	g, err := d.aaa.desk.Answerer().Answer(ctx, question)
	v := control.AAAVerdict{Granted: err == nil, Took: control.Seconds(time.Since(began))}
	if err != nil {
		v.Why = err.Error()
		return v, g
	}
	v.HomeAddress, v.HomeAgent, v.Prefixes, v.Lifetime = g.HomeAddress, g.HomeAgent, g.Prefixes, control.Seconds(g.Lifetime)
	for _, a := range g.Associations {
		v.SPI, v.Algorithm, v.Fingerprint = a.SPI(), a.Algorithm().String(), a.Key().String()
	}
	return v, g
}
