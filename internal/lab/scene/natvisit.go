package scene

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"careof/internal/lab/topology"
	"careof/wire/adv4"
	"careof/wire/encap"
)

// foreignBehindNAT has a foreign agent of a private network as its only way.
var foreignBehindNAT = &Scene{
	Name: "foreign-agent-behind-nat",
	Doc:  "A foreign agent behind a translator asks for tunnels in UDP, and keeps the mapping alive for a visitor that is silent.",
	Edit: func(t *topology.Topology) {
		AddForeignAgents(t)
		fa := t.Node(foreign1)
		fa.Interfaces[0] = topology.Interface{
			Name: "wan", Segment: access2, Address: netip.MustParsePrefix("192.168.8.11/24"), Gateway: netip.MustParseAddr("192.168.8.1"),
		}
		fa.Config = strings.Replace(fa.Config, CareOf1.String(), "192.168.8.11", 1) + "keepalive = \"10s\"\n"
		t.Node("gate").NAT.Timeout = topology.Duration{Duration: 25 * time.Second}
	},
	//rfc:3519#4.5
	//rfc:3519#4.9
	//rfc:3519#3.4
	//rfc:3519#4.2-1
	Play: func(l Lab) {
		outside, visited := l.Record("isp2"), l.Record(visited1)
		if b := arrive(l, wlan, visited1); b.CareOf != netip.MustParseAddr("192.168.8.11") {
			l.Fatalf("registered with %v", b.CareOf)
		}
		stream := l.Stream(mobile, peer, 100_000)
		well(l, stream, 30*time.Second)
		// Longer than the translator remembers, and nobody has anything to say.
		l.Wait(30 * time.Second)
		if !l.Reaches(peer, mobile) {
			l.Fatalf("after half a minute of silence nothing gets through the translator any more")
		}
		inUDP, other := 0, ""
		for _, p := range outside() {
			h, inner, err := encap.Pull(bytes.Clone(p))
			switch {
			case err == nil && h.Kind == encap.UDP && len(inner) > 0:
				inUDP++
				if _, u, err := encap.ParseUDP(inner); err == nil && (u.Src.Port() == encap.Port || u.Dst.Port() == encap.Port) {
					other = "a registration in the tunnel"
				}
			case err == nil && h.Kind != encap.UDP:
				other = fmt.Sprintf("%v from %v to %v", h.Kind, h.Src, h.Dst)
			}
		}
		if inUDP < 100 || other != "" {
			l.Fatalf("%d packets in UDP outside; also %s", inUDP, other)
		}
		told := false
		for _, p := range visited() {
			ip, err := encap.ParseIPv4(p)
			if err != nil || ip.Protocol != 1 {
				continue
			}
			if m, err := adv4.Parse(p[ip.HeaderLen:ip.TotalLen]); err == nil {
				a, err := m.ForMobileNode()
				told = told || err == nil && a.Flags.Has(adv4.FlagU)
			}
		}
		if !told {
			l.Fatalf("the agent does not advertise U although it knows of the translator")
		}
	},
}
