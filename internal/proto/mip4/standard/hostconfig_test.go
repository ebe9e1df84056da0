package standard_test

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/feature/hostconfig"
	"careof/internal/proto/mip4/standard"
)

var atHome = hostconfig.Configuration{
	Router:  netip.MustParseAddr("10.10.0.1"),
	Servers: []netip.Addr{netip.MustParseAddr("10.10.0.53")},
	Domain:  "fleet.example", DHCPServer: netip.MustParseAddr("10.10.0.67"),
}

func telling(c hostconfig.Configuration) standard.Config {
	return standard.Config{Host: hostconfig.Config{Networks: []hostconfig.Network{{Prefix: homeNetwork, Configuration: c}}}}
}

func (p *pair) hostTold() hostconfig.Told {
	p.t.Helper()
	p.step(p.node, engine.Command{Ticket: 1, Value: hostconfig.Show{}})
	return p.node.results[len(p.node.results)-1].Value.(hostconfig.Told)
}

// A node that asks is told what the home agent knows of its home network, and by whom;
// what changes there comes with the next renewal. It outlives a restart, and ends with
// the registration.
//
//rfc:4332#2
//rfc:4332#3.1
//rfc:4332#3.2
//rfc:4332#3.3
//rfc:4332#3.4
//rfc:4332#3.6
//rfc:4332#3.7
func TestANodeIsToldAboutItsHomeNetwork(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.bootAgent(agentConfig(t), telling(atHome))
	ask := standard.Config{Host: hostconfig.Config{Ask: true}}
	p.bootNode(nodeConfig(t), ask)
	if got := p.hostTold(); got.By.IsValid() {
		t.Errorf("told before anything was said: %+v", got)
	}
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.agree()
	want := hostconfig.Told{By: agent, Prefix: homeNetwork, Configuration: atHome}
	want.PrefixLength = homeNetwork.Bits()
	if got := p.hostTold(); !reflect.DeepEqual(got, want) {
		t.Errorf("told %+v\nwant %+v", got, want)
	}
	p.run(2 * time.Hour)
	if n := p.node.count(hostconfig.Configured); n != 1 {
		t.Errorf("it says %d times that it was told", n)
	}
	p.bootNode(nodeConfig(t), ask)
	p.up("wlan0", wifi)
	if got := p.hostTold(); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart: %+v", got)
	}

	other := atHome
	other.Servers, other.Domain = []netip.Addr{netip.MustParseAddr("10.10.0.54"), netip.MustParseAddr("10.10.0.55")}, ""
	p.bootAgent(agentConfig(t), telling(other))
	p.run(time.Hour)
	want.Servers, want.Domain = other.Servers, ""
	if got := p.hostTold(); !reflect.DeepEqual(got, want) {
		t.Errorf("after a renewal: %+v\nwant %+v", got, want)
	}
	p.bootAgent(agentConfig(t), standard.Config{})
	p.run(time.Hour)
	if got := p.hostTold(); got.By.IsValid() {
		t.Errorf("a home agent that tells nothing any more: %+v", got)
	}
}

// "The 'Host Configuration Request' extension is allowed only in the Registration
// Request. The rest of the extensions are appended in the Registration Reply": nobody is
// told who has not asked, and nobody is asked unless it is configured.
//
//rfc:4332#2
func TestOnlyWhoAsksIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		home, node standard.Config
		asked      bool
	}{
		"nobody asks":        {telling(atHome), standard.Config{}, false},
		"nobody answers":     {standard.Config{}, standard.Config{Host: hostconfig.Config{Ask: true}}, true},
		"of another network": {standard.Config{Host: hostconfig.Config{Networks: []hostconfig.Network{{Prefix: netip.MustParsePrefix("10.99.0.0/24"), Configuration: atHome}}}}, standard.Config{Host: hostconfig.Config{Ask: true}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
			p.bootAgent(agentConfig(t), c.home)
			p.bootNode(nodeConfig(t), c.node)
			var asked, told bool
			p.tap = func(data []byte) {
				asks := bytes.Contains(data, []byte{134, 12, 0, 0, 0, 0, 0, 9, 0, 14, 0, 0, 0, 0})
				any := bytes.Contains(data, []byte{0, 0, 0, 9, 0, 14})
				asked, told = asked || asks, told || any && !asks
			}
			p.up("wlan0", wifi)
			p.run(time.Minute)
			p.agree()
			if asked != c.asked || told || asked && p.hostTold().By.IsValid() {
				t.Errorf("asked %v, told %v", asked, told)
			}
		})
	}
}
