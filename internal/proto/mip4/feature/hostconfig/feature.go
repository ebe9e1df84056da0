package hostconfig

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "host-configuration"

// A Network is what is told to the nodes of a home network.
type Network struct {
	Prefix netip.Prefix
	Configuration
}

// Config configures the feature. The zero value answers nobody and asks for nothing.
type Config struct {
	Networks []Network // a home agent's, those that have something to tell
	Ask      bool      // a mobile node's
}

// New is the feature.
func New(c Config, g *vendor.Registry) feature.Feature {
	f := feature.Feature{Name: Name, RFC: []int{4332}, Needs: []string{vendor.Name}}
	var at vendor.Role
	if len(c.Networks) > 0 {
		at |= vendor.AtHomeAgent
		f.Home = func(a *ha.Agent) error {
			a.Reply.Add(Name, "tell", c.reply)
			return nil
		}
	}
	if c.Ask {
		at |= vendor.AtMobileNode
		f.Mobile = addMobile
	}
	if at != 0 {
		g.Recognise(vendor.Row{Feature: Name, Vendor: Cisco, Type: HostConfiguration, At: at})
	}
	return f
}

// reply tells who asks: "appended in the Registration Reply" (RFC 4332 section 2),
// before the authenticator. What is not known is left out.
//
//rfc:4332#2
//rfc:4332#3.1
func (c Config) reply(x *ha.Exchange) engine.Verdict {
	if !x.Accepted() || x.Deregisters() || !asks(x.Message) {
		return engine.Next()
	}
	for i := range c.Networks {
		n := &c.Networks[i]
		if !n.Prefix.Contains(x.Home) {
			continue
		}
		told := n.Configuration
		told.PrefixLength = n.Prefix.Bits()
		for _, p := range told.extensions() {
			x.Draft.Add(mip4.ZoneHome, p)
		}
		break
	}
	return engine.Next()
}

// Configured says that a node has been told something new about its home network.
const Configured note.Kind = "host-configured"

// Show asks a mobile node for what it was told by the home agent that it is
// registered with: Told. Without a registration there is nothing.
type Show struct{}

// Told is the answer to [Show].
type Told struct {
	By     netip.Addr   // the home agent; invalid: nobody
	Prefix netip.Prefix // the home network; invalid while unknown
	Configuration
}

type mobile struct {
	node *mn.Node
	told map[netip.Addr]Configuration // by home agent
}

func addMobile(n *mn.Node) error {
	m := &mobile{node: n, told: make(map[netip.Addr]Configuration)}
	n.Request.Add(Name, "ask", m.request)
	n.Accepted.Add(Name, "told", m.accepted)
	n.Records(Name, recordKey, m.restore)
	n.Command(Name, Show{}, func(c engine.Command) { n.Answer(c, m.show(), nil) })
	return nil
}

// request asks, in every request that registers: "When the Mobile Node needs to
// obtain its host configuration, the Host Configuration Request VSE is appended to
// the Registration Request" (RFC 4332 section 2).
//
//rfc:4332#2
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	if x.Purpose == mn.Register {
		x.Add(mip4.ZoneHome, request())
	}
	return engine.Next()
}

// accepted keeps what the home agent says now; what it does not repeat is over.
//
//rfc:4332#2
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	if !x.Authentic || x.Reply.Lifetime == 0 {
		return engine.Next()
	}
	agent, now := x.Registration.Key.HomeAgent, read(x.Message)
	before := m.told[agent]
	if reflect.DeepEqual(before, now) {
		return engine.Next()
	}
	m.told[agent] = now
	m.save()
	m.node.Tell(note.Note{Kind: Configured, Level: note.Info, HomeAgent: agent, Why: now.String()})
	return engine.Next()
}

// recordKey is where it is kept, for a process that goes on with a registration of
// an earlier one.
const recordKey = "mn/host-configuration"

func (m *mobile) save() {
	b, err := json.Marshal(m.told)
	if err != nil {
		panic("hostconfig: record: " + err.Error()) // plain values always encode
	}
	m.node.Save(recordKey, b)
}

func (m *mobile) restore(_ engine.Now, r engine.Record) error {
	if err := json.Unmarshal(r.Value, &m.told); err != nil {
		return fmt.Errorf("hostconfig: record: %w", err)
	}
	return nil
}

func (m *mobile) show() Told {
	r := m.node.Active()
	if r == nil {
		return Told{}
	}
	c := m.told[r.Key.HomeAgent]
	if !c.Known() {
		return Told{}
	}
	t := Told{By: r.Key.HomeAgent, Configuration: c}
	if home := m.node.HomeAddress(); c.PrefixLength > 0 && home.IsValid() {
		t.Prefix = netip.PrefixFrom(home, c.PrefixLength).Masked()
	}
	return t
}

// String is the configuration in words.
func (c Configuration) String() string {
	var list []string
	add := func(there bool, format string, value any) {
		if there {
			list = append(list, fmt.Sprintf(format, value))
		}
	}
	add(c.PrefixLength > 0, "prefix length %d", c.PrefixLength)
	add(c.Router.IsValid(), "router %s", c.Router)
	for _, a := range c.Servers {
		add(true, "name server %s", a)
	}
	add(c.Domain != "", "domain %s", c.Domain)
	add(c.DHCPServer.IsValid(), "DHCP server %s", c.DHCPServer)
	add(c.URL != "", "more at %s", c.URL)
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}
