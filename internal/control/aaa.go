package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"careof/internal/core/forward"
)

// AAA is what the daemon asks about mobile nodes, and of whom.
type AAA struct {
	Subscribers int          `json:"subscribers"` // that are known here
	Servers     []AAAServer  `json:"servers"`     // in the order in which they are asked
	Peers       []AAAPeer    `json:"peers"`       // of Diameter
	Questions   AAAQuestions `json:"questions"`
	Sessions    []AAASession `json:"sessions"`        // that servers are told of
	Waiting     int          `json:"records_waiting"` // accounting records that no server has taken yet
	Lost        uint64       `json:"records_lost"`
	Realm       *AAARealm    `json:"realm,omitempty"` // of an AAA server
}

// AAARealm is what an AAA server has: sessions of its realm's nodes, and of
// visitors.
type AAARealm struct {
	Requests   uint64            `json:"requests"`
	Authorised uint64            `json:"authorised"`
	Rejected   uint64            `json:"rejected"` // wrong authenticators, and names that nobody has
	Refused    uint64            `json:"refused"`  // those and others
	Records    uint64            `json:"records"`  // of accounting
	Sessions   []AAARealmSession `json:"sessions"`
}

// AAARealmSession is a session of an AAA server.
type AAARealmSession struct {
	NAI         string           `json:"nai"`
	Visitor     bool             `json:"visitor"` // of another realm
	ID          string           `json:"id"`      // Session-Id with the home agent; of a visitor, with its foreign agent
	HomeAddress netip.Addr       `json:"home_address,omitzero"`
	HomeAgent   netip.Addr       `json:"home_agent,omitzero"`
	AgentHost   string           `json:"agent_host,omitempty"`
	Attendants  []string         `json:"attendants"` // foreign agents
	Lasted      Seconds          `json:"lasted"`
	Left        Seconds          `json:"left"` // of the authorisation
	Counters    forward.Counters `json:"counters"`
}

// An AAAEnder ends the sessions of a node, as an AAA server does.
type AAAEnder interface {
	EndAAA(ctx context.Context, order AAAEndOrder) (AAAEnded, error)
}

// AAAEndOrder is the body of POST /v1/aaa/end.
type AAAEndOrder struct {
	NAI string `json:"nai"`
}

// AAAEnded says how many agents were asked.
type AAAEnded struct {
	Asked int `json:"asked"`
}

// AAAServer is a server and how it does.
type AAAServer struct {
	Address   netip.AddrPort `json:"address"`
	TLS       string         `json:"tls,omitempty"` // the version that is spoken, or "none yet"; left out: it is asked by UDP
	State     string         `json:"state"`         // "untried", "alive" or "dead"
	Since     time.Time      `json:"since,omitzero"`
	Requests  uint64         `json:"requests"` // sent, repetitions included
	Answers   uint64         `json:"answers"`
	Timeouts  uint64         `json:"timeouts"`
	Forged    uint64         `json:"forged"` // answers that were discarded: not signed, or not with our secret
	RoundTrip Seconds        `json:"round_trip"`
}

// AAAPeer is a Diameter peer and how it does.
type AAAPeer struct {
	Identity     string         `json:"identity"`
	Realm        string         `json:"realm,omitempty"`        // as it says
	Product      string         `json:"product,omitempty"`      // as it says
	State        string         `json:"state"`                  // RFC 6733 section 5.6: "closed", "i-open", "r-open"
	Watchdog     string         `json:"watchdog"`               // RFC 3539: "okay", "suspect", "down", "reopen", "initial"
	Since        time.Time      `json:"since,omitzero"`         // of the state
	Address      netip.AddrPort `json:"address,omitzero"`       // of the connection
	TLS          bool           `json:"tls"`                    // it has it
	Applications []string       `json:"applications,omitempty"` // that it has advertised
	Why          string         `json:"why,omitempty"`          // it is not connected
	Requests     uint64         `json:"requests"`               // sent to it
	Answers      uint64         `json:"answers"`
	Timeouts     uint64         `json:"timeouts"`
	Pending      int            `json:"pending"`
	Served       uint64         `json:"served"`    // requests of its
	Failovers    uint64         `json:"failovers"` // times that its requests went to another
}

// AAAQuestions counts questions by what became of them.
type AAAQuestions struct {
	Asked       uint64 `json:"asked"`
	Granted     uint64 `json:"granted"`
	Rejected    uint64 `json:"rejected"`
	Unavailable uint64 `json:"unavailable"` // nobody has answered
	Limited     uint64 `json:"limited"`     // not asked: too many strangers
	Remembered  uint64 `json:"remembered"`  // answered without asking
}

// AAASession is a registration that servers are told of.
type AAASession struct {
	ID          string           `json:"id"` // Acct-Session-Id
	Role        string           `json:"role"`
	NAI         string           `json:"nai,omitempty"`
	HomeAddress netip.Addr       `json:"home_address,omitzero"`
	Lasted      Seconds          `json:"lasted"`
	Counters    forward.Counters `json:"counters"`
}

// An AAATester asks AAA about a node as a home agent and a foreign agent would.
type AAATester interface {
	TestAAA(ctx context.Context, order AAATestOrder) (AAATest, error)
}

// AAATestOrder is the body of POST /v1/aaa/test.
type AAATestOrder struct {
	NAI    string `json:"nai"`
	SPI    uint32 `json:"spi,omitempty"`    // of the key that a home agent would ask for; 0: 256
	Secret string `json:"secret,omitempty"` // of the node, with which a challenge is answered; none: no challenge
}

// AAATest is what came of it.
type AAATest struct {
	NAI       string      `json:"nai"`
	Challenge *AAAVerdict `json:"challenge,omitempty"` // what a foreign agent would hear
	Key       AAAVerdict  `json:"key"`                 // what a home agent would hear
}

// AAAVerdict is AAA's word about a node.
type AAAVerdict struct {
	Granted     bool           `json:"granted"`
	Why         string         `json:"why,omitempty"`   // when not
	Unfit       string         `json:"unfit,omitempty"` // why this home agent discards requests all the same
	Took        Seconds        `json:"took"`
	HomeAddress netip.Addr     `json:"home_address,omitzero"`
	HomeAgent   netip.Addr     `json:"home_agent,omitzero"`
	Prefixes    []netip.Prefix `json:"prefixes,omitempty"`
	Lifetime    Seconds        `json:"lifetime,omitempty"`
	SPI         uint32         `json:"spi,omitempty"`
	Algorithm   string         `json:"algorithm,omitempty"`
	Fingerprint string         `json:"fingerprint,omitempty"` // of the key
}

// aaaRoutes are for AAA.
var aaaRoutes = []Route{
	{
		Method: http.MethodPost, Path: "/v1/aaa/test", Name: "test", Body: AAATestOrder{}, Shape: AAATest{},
		Doc: "Ask AAA about a node as agents would, and say what it answers.",
		serve: with(func(o AAATester, w http.ResponseWriter, r *http.Request) {
			var body AAATestOrder
			if readBody(w, r, &body) {
				done, err := o.TestAAA(r.Context(), body)
				reply(w, "test", done, err)
			}
		}),
	},
	{
		Method: http.MethodPost, Path: "/v1/aaa/end", Name: "ended", Body: AAAEndOrder{}, Shape: AAAEnded{},
		Doc: "Have this AAA server end the sessions of a node: its agents are asked to (Abort-Session-Request).",
		serve: with(func(o AAAEnder, w http.ResponseWriter, r *http.Request) {
			var body AAAEndOrder
			if readBody(w, r, &body) {
				done, err := o.EndAAA(r.Context(), body)
				reply(w, "ended", done, err)
			}
		}),
	},
}

// EndAAA has an AAA server end the sessions of a node.
func (c *Client) EndAAA(ctx context.Context, order AAAEndOrder) (AAAEnded, error) {
	var done AAAEnded
	return done, c.do(ctx, http.MethodPost, "/v1/aaa/end", order, "ended", &done)
}

// TestAAA asks AAA about a node.
func (c *Client) TestAAA(ctx context.Context, order AAATestOrder) (AAATest, error) {
	var done AAATest
	return done, c.do(ctx, http.MethodPost, "/v1/aaa/test", order, "test", &done)
}

// aaaTable lays out what [AAA] says.
func aaaTable(w io.Writer, text json.RawMessage) error {
	var a AAA
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	if len(a.Servers)+len(a.Peers) == 0 && a.Subscribers == 0 && a.Realm == nil {
		_, err := fmt.Fprintln(w, "nobody is asked about nodes: there is no [aaa] section")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(a.Servers) > 0 {
		fmt.Fprintln(t, "SERVER\tBY\tSTATE\tREQUESTS\tANSWERS\tTIMEOUTS\tFORGED\tROUND TRIP")
		for _, s := range a.Servers {
			fmt.Fprintln(t, tabbed([]any{s.Address, cmp.Or(s.TLS, "UDP"), s.State, s.Requests, s.Answers, s.Timeouts, s.Forged, time.Duration(s.RoundTrip).Round(10 * time.Microsecond)}))
		}
		fmt.Fprintln(t)
	}
	if len(a.Peers) > 0 {
		fmt.Fprintln(t, "PEER\tSTATE\tWATCHDOG\tTLS\tREQUESTS\tANSWERS\tPENDING\tSERVED\tREMARK")
		for _, p := range a.Peers {
			fmt.Fprintln(t, tabbed([]any{p.Identity, p.State, p.Watchdog, yes(p.TLS), p.Requests, p.Answers, p.Pending, p.Served, dash(p.Why)}))
		}
		fmt.Fprintln(t)
	}
	q := a.Questions
	fmt.Fprintf(t, "subscribers known here\t%d\n", a.Subscribers)
	fmt.Fprintf(t, "questions\t%d asked, %d granted, %d rejected, %d unanswered; %d not asked (too many), %d remembered\n",
		q.Asked, q.Granted, q.Rejected, q.Unavailable, q.Limited, q.Remembered)
	fmt.Fprintf(t, "accounting records\t%d wait, %d lost\n", a.Waiting, a.Lost)
	if r := a.Realm; r != nil {
		fmt.Fprintf(t, "requests as a realm's server\t%d, %d authorised, %d refused (%d of them for their authenticator), %d accounting records\n",
			r.Requests, r.Authorised, r.Refused, r.Rejected, r.Records)
		if len(r.Sessions) > 0 {
			fmt.Fprintln(t)
			fmt.Fprintln(t, "NAI\tHOME ADDRESS\tHOME AGENT\tAT\tLASTED\tLEFT\tFROM THE NODE\tTO IT")
		}
		for _, s := range r.Sessions {
			fmt.Fprintln(t, tabbed([]any{s.NAI, address(s.HomeAddress), dash(s.AgentHost), dash(strings.Join(s.Attendants, " ")), s.Lasted, s.Left,
				size(s.Counters.ReceivedBytes), size(s.Counters.SentBytes)}))
		}
	}
	if err := t.Flush(); err != nil || len(a.Sessions) == 0 {
		return err
	}
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SESSION\tROLE\tNAI\tHOME ADDRESS\tLASTED\tSENT\tRECEIVED")
	for _, s := range a.Sessions {
		fmt.Fprintln(t, tabbed([]any{s.ID, s.Role, dash(s.NAI), address(s.HomeAddress), s.Lasted, size(s.Counters.SentBytes), size(s.Counters.ReceivedBytes)}))
	}
	return t.Flush()
}
