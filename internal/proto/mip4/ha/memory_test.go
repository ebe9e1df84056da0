package ha_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// TestMemoryOfABinding prints what a node takes in the machine, before and
// after it is bound. The bound is loose: it notices a doubling.
func TestMemoryOfABinding(t *testing.T) {
	const nodes = 20000
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	cfg := config(t)
	cfg.Networks = []ha.Network{{Prefix: netip.MustParsePrefix("10.10.0.0/15")}}
	cfg.Nodes = make([]ha.MobileNode, nodes)
	address := func(i int) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x0a0a0000+uint32(i)+1)))
	}
	sa := mustAssoc(t, 256, "0123456789abcdef", assoc.Timestamps)
	before := live()
	for i := range cfg.Nodes {
		cfg.Nodes[i] = ha.MobileNode{Node: ident.Node{HomeAddress: address(i)}, Keys: []*assoc.Association{sa}}
	}
	a, err := ha.New(cfg, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	configured := live()
	now := engine.Now{Mono: time.Unix(1000, 0), Wall: epoch}
	for i := range nodes {
		d := mip4.NewRequest(mip4.RegistrationRequest{
			Flags: mip4.FlagD | mip4.FlagT, Lifetime: 600, HomeAddress: address(i), HomeAgent: agentAddr,
			CareOfAddress: careOf, Identification: assoc.Timestamp(now.Wall),
		})
		b, err := d.Authenticate(mip4.ExtMobileHome, sa).Seal()
		if err != nil {
			t.Fatal(err)
		}
		p := engine.Packet{Link: "wan0", Src: netip.AddrPortFrom(careOf, 40000), Dst: netip.AddrPortFrom(agentAddr, port), Data: b}
		for _, act := range a.Step(now, p) {
			if c, ok := act.(engine.Commit); ok {
				a.Step(now, engine.Answer{Ticket: c.Ticket})
			}
		}
	}
	bound := live()
	node, binding := (configured-before)/nodes, (bound-configured)/nodes
	t.Logf("the machine keeps %d octets for a node, and %d more while it is bound", node, binding)
	if node > 1000 || binding > 2000 {
		t.Errorf("%d octets for a node and %d for its binding: they have doubled", node, binding)
	}
	runtime.KeepAlive(a)
}
