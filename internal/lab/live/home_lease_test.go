package live

import (
	"encoding/binary"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/control"
	"careof/internal/host/dhcp/stock"
	"careof/internal/lab/topology"
	"careof/wire/encap"
)

// lenders lend the addresses of 10.10.0.0/24. Who comes with the circuit "10.10.0.5" is of the
// domain fleet.example; the route to the site is everybody's.
var lenders = servers([]string{
	"--dhcp-range=10.10.0.3,10.10.0.49,255.255.255.0,10m", "--dhcp-authoritative", "--dhcp-circuitid=set:van,10.10.0.5",
	"--dhcp-option=tag:van,option:domain-name,fleet.example", "--dhcp-option=option:dns-server,NS", "--dhcp-option=121,192.0.2.0/24,10.10.0.254",
}, `"valid-lifetime": 600,
	"option-def": [{"name": "routes", "code": 121, "type": "binary", "space": "dhcp4"}],
	"client-classes": [{"name": "van", "test": "relay4[1].hex == '10.10.0.5'", "option-data": [{"name": "domain-name", "data": "fleet.example"}]}],
	"subnet4": [{"subnet": "10.10.0.0/24", "pools": [{"pool": "10.10.0.3-10.10.0.49"}], "option-data": [
		{"name": "domain-name-servers", "data": "NS"},
		{"code": 121, "space": "dhcp4", "csv-format": false, "data": "18c000020a0a00fe"}]}]`)

// The node has a lease of a stock DHCP server for its home address, through the home agent's
// relay: with name server, domain (which the server gives by the relay's word alone) and a
// route. It renews it from each place, through a foreign agent and behind a NAT, and gives
// everything back when it is not to have it any more. What somebody in the visited network
// says is ignored.
//
//rfc:3046#2.1
//rfc:2131#4.4.5
func TestTheHomeAddressIsLeasedThroughTheTunnel(t *testing.T) {
	t.Parallel()
	for _, server := range lenders {
		t.Run(server.program, func(t *testing.T) {
			t.Parallel()
			stock.Need(t, server.program)
			plan, err := topology.Load("foreign-agents")
			if err != nil {
				t.Fatal(err)
			}
			ha, mn := plan.Node("ha"), plan.Node("mn")
			ha.Config = strings.Replace(ha.Config, "[[home-agent.network]]\n", "[home-agent.dhcp]\nserver = \"10.10.0.7\"\n\n[[home-agent.network]]\n", 1)
			file := filepath.Join(t.TempDir(), "resolv.conf")
			mn.Config = strings.Replace(mn.Config, "[mobile-node]\n", "[mobile-node]\nroutes = [\"10.10.0.0/24\"]\ndns = \"resolv.conf\"\nhome-dhcp = \"lease\"\nresolv-conf = \""+file+"\"\n", 1)
			l := build(t, plan, Options{})
			s := NewStage(t.Context(), l, t.Logf)
			defer s.Close()
			folder, start := server.at(t, s)
			lease := func() (h control.HostConfiguration) {
				var shown []control.HostConfiguration
				if err := l.Daemon("mn").Show("host", "", &shown); err == nil && len(shown) == 1 {
					h = shown[0]
				}
				if h.Lease == nil {
					h.Lease = &control.HomeLease{}
				}
				return h
			}
			bound := func() bool { return lease().Lease.State == "bound" }
			counters := func() (list map[string]uint64) {
				var shown []control.Counter
				if err := l.Daemon("ha").Show("counters", "", &shown); err != nil {
					t.Fatal(err)
				}
				list = make(map[string]uint64)
				for _, c := range shown {
					if name, ok := strings.CutPrefix(c.Name, "home-agent.dhcp."); ok {
						list[name] = c.Value
					}
				}
				return list
			}
			stop := start("10.10.0.53")
			s.Plug("mn", "wlan0", "access1")
			s.Until("there is a lease", 60*time.Second, bound)
			first := lease()
			if first.Domain != "fleet.example" || strings.Join(first.NameServers, " ") != "10.10.0.53" || first.Lease.Server != netip.MustParseAddr("10.10.0.7") {
				t.Errorf("show host: %+v, %+v", first, first.Lease)
			}
			s.Until("the server has written it down", 60*time.Second, func() bool {
				b, err := os.ReadFile(filepath.Join(folder, "leases"))
				return err == nil && strings.Contains(string(b), server.lease)
			})
			s.Until("the host asks the home network's name server", 60*time.Second, func() bool { return has(file, "10.10.0.53") })
			site := netip.MustParsePrefix("192.0.2.0/24")
			s.Until("the route leads through the tunnel", 60*time.Second, func() bool { return ruled(t, s, site) })

			// A move, while the server is silent; the one that answers is somebody else.
			stop()
			heard := s.Record("home")
			s.Unplug("mn", "wlan0")
			s.Plug("mn", "wlan0", "access2")
			var asked *dhcpv4.DHCPv4
			s.Until("it asks from the new place", 60*time.Second, func() bool {
				for _, packet := range heard() {
					if m := relayedMessage(packet); m != nil {
						asked = m
					}
				}
				return asked != nil
			})
			if !asked.GatewayIPAddr.Equal(net.IP{10, 10, 0, 1}) || !asked.ClientIPAddr.Equal(net.IP{10, 10, 0, 5}) {
				t.Errorf("it renews with %s", asked.Summary())
			}
			answer, err := dhcpv4.NewReplyFromRequest(asked, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IP{10, 10, 0, 5}),
				dhcpv4.WithLeaseTime(600), dhcpv4.WithDNS(net.IP{192, 0, 2, 66}), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{10, 10, 0, 7})))
			if err != nil {
				t.Fatal(err)
			}
			answer.GatewayIPAddr = net.IPv4zero
			address, _, _ := plan.Lease(plan.Segment("access2"), "mn", "wlan0")
			for _, path := range [][2]string{
				{"10.10.0.7:67", "10.10.0.5:68"}, {"10.10.0.1:67", "10.10.0.5:68"}, {"10.10.0.1:67", netip.AddrPortFrom(address.Addr(), 68).String()},
			} {
				forged, err := encap.AppendUDP(nil, encap.IPv4{}, netip.MustParseAddrPort(path[0]), netip.MustParseAddrPort(path[1]), answer.ToBytes())
				if err != nil {
					t.Fatal(err)
				}
				s.Inject("access2", forged)
			}
			if !s.Reaches("mn", "cn") {
				t.Error("the tunnel carries nothing")
			}
			if h := lease(); h.Lease.State == "bound" || strings.Join(h.NameServers, " ") != "10.10.0.53" {
				t.Errorf("after a forged answer: %+v, %+v", h, h.Lease)
			}
			start("10.10.0.53")
			s.Until("the lease is renewed after the move", 90*time.Second, func() bool { return bound() && lease().Lease.Until.After(first.Lease.Until) })
			if h := lease(); strings.Join(h.NameServers, " ") != "10.10.0.53" || h.Lease.Server != first.Lease.Server {
				t.Errorf("after the move: %+v, %+v", h, h.Lease)
			}

			// Through a foreign agent, which hands packets over plain.
			before := lease().Lease.Until
			s.Unplug("mn", "wlan0")
			s.Plug("mn", "wlan0", "visited1")
			s.Until("the lease is renewed through a foreign agent", 90*time.Second, func() bool { return bound() && lease().Lease.Until.After(before) })

			// At home the server hears the node itself; what it has is what it has away.
			before = lease().Lease.Until
			s.Unplug("mn", "wlan0")
			s.Plug("mn", "wlan0", "home")
			s.Until("the lease is renewed at home", 90*time.Second, func() bool {
				b, err := os.ReadFile(filepath.Join(filepath.Dir(l.Daemon("mn").Config), "state", "home-lease.json"))
				var l struct{ Until time.Time }
				return err == nil && json.Unmarshal(b, &l) == nil && l.Until.After(before)
			})
			s.Unplug("mn", "wlan0")
			s.Plug("mn", "wlan0", "access1")
			s.Until("the lease is there away from home again", 90*time.Second, func() bool { return bound() && lease().Lease.Until.After(before) })
			if !ruled(t, s, site) {
				t.Error("the route is not there again")
			}

			// The process dies, and the next one is not to have a lease.
			s.Kill("mn")
			config, err := os.ReadFile(l.Daemon("mn").Config)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(l.Daemon("mn").Config, []byte(strings.Replace(string(config), `home-dhcp = "lease"`, `home-dhcp = "off"`, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			if !ruled(t, s, site) {
				t.Error("the route is gone with the process: this shows nothing")
			}
			s.Start("mn")
			s.Until("the route is taken back", 60*time.Second, func() bool { return !ruled(t, s, site) })
			if n := counters(); n["relayed"] < 4 || n["returned"] < 4 || n["forged"]+n["malformed"]+n["other-address"] != 0 {
				t.Errorf("the relay counts %v", n)
			}
		})
	}
}

// A server that has no lease for the home address is asked for the rest, through the relay: by
// a node that wants a lease and is offered another address, and by one that wants none.
//
//rfc:2131#3.4
//rfc:2131#4.3.5
func TestAServerWithoutALeaseIsAskedThroughTheRelay(t *testing.T) {
	t.Parallel()
	for _, server := range dhcpServers { // their ranges do not have the home address
		for _, mode := range []string{"lease", "on"} {
			t.Run(server.program+" "+mode, func(t *testing.T) {
				t.Parallel()
				stock.Need(t, server.program)
				plan := topology.HomeLink()
				ha, mn := plan.Node("ha"), plan.Node("mn")
				ha.Config = strings.Replace(ha.Config, "[[home-agent.network]]\n", "[home-agent.dhcp]\nserver = \"10.10.0.7\"\n\n[[home-agent.network]]\n", 1)
				file := filepath.Join(t.TempDir(), "resolv.conf")
				mn.Config = strings.Replace(mn.Config, "[mobile-node]\n", "[mobile-node]\ndns = \"resolv.conf\"\nhome-dhcp = \""+mode+"\"\nresolv-conf = \""+file+"\"\n", 1)
				l := build(t, plan, Options{})
				s := NewStage(t.Context(), l, t.Logf)
				defer s.Close()
				_, start := server.at(t, s)
				start("10.10.0.53")
				s.Plug("mn", "wlan0", "access1")
				s.Until("the server has told name server and domain", 90*time.Second, func() bool { return has(file, "10.10.0.53") })
				var shown []control.HostConfiguration
				if err := l.Daemon("mn").Show("host", "", &shown); err != nil || len(shown) != 1 {
					t.Fatal(shown, err)
				}
				if h := shown[0].Lease; (h != nil) != (mode == "lease") || h != nil && (h.State != "refused" || h.Server.IsValid()) {
					t.Errorf("the lease is %+v", h)
				}
			})
		}
	}
}

// ruled says whether a rule of the mobile node's kernel leads to a prefix.
func ruled(t *testing.T, s *Stage, to netip.Prefix) bool {
	t.Helper()
	var out []byte
	err := s.node("mn").Do(func() (err error) {
		out, err = exec.Command("ip", "rule", "list").Output()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(out), "to "+to.String())
}

// relayedMessage is the DHCP message for servers in a packet that a relay has sent; nil when
// it is something else. The UDP checksum may not be there yet.
func relayedMessage(packet []byte) *dhcpv4.DHCPv4 {
	ip, err := encap.ParseIPv4(packet)
	if err != nil || ip.Protocol != 17 || len(packet) < ip.HeaderLen+8 {
		return nil
	}
	u := packet[ip.HeaderLen:]
	if binary.BigEndian.Uint16(u) != 67 || binary.BigEndian.Uint16(u[2:]) != 67 {
		return nil
	}
	m, err := dhcpv4.FromBytes(u[8:])
	if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest {
		return nil
	}
	return m
}
