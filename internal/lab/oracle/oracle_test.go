package oracle

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A python is the other codec, at work.
type python struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

// other starts the other codec. Debian's own interpreter is preferred: it is
// the one that has Debian's Scapy.
func other(t *testing.T) *python {
	t.Helper()
	for _, program := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(program, "-c", "import scapy").Run() != nil {
			continue
		}
		cmd := exec.Command(program, "mip4.py")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
		return &python{t, in, bufio.NewScanner(out)}
	}
	t.Skip("Python 3 with Scapy is not installed (Debian: python3-scapy)")
	return nil
}

// A pyKey is a key as the other codec gets it.
type pyKey struct {
	Key       string `json:"key"`
	Algorithm string `json:"algorithm"`
}

// A task is what the other codec is to do: see mip4.py.
type task struct {
	Do         string           `json:"do"`
	Packet     string           `json:"packet,omitempty"`
	Message    string           `json:"message,omitempty"`
	From       [2]any           `json:"from"`
	To         [2]any           `json:"to"`
	Fields     map[string]any   `json:"fields"`
	Extensions [][2]any         `json:"extensions"`
	Auth       [][2]any         `json:"auth"`
	Keys       map[string]pyKey `json:"keys"`
}

// A reading is what the other codec says about a message.
type reading struct {
	Error          string
	Packet         string
	Type           uint8
	Code           uint8
	Flags          uint8
	Lifetime       uint16
	Home           netip.Addr
	Agent          netip.Addr
	CareOf         netip.Addr `json:"careof"`
	Identification string
	Extensions     [][2]any
	Authenticators map[string]struct {
		SPI   uint32
		Right bool
	}
	Whole bool // the extensions fill the message
	TTL   uint8
}

// ask has something done; it fails the test where that cannot be.
func (p *python) ask(k task) reading {
	p.t.Helper()
	r := p.try(k)
	if r.Error != "" {
		p.t.Fatalf("%s: the other codec says %s", k.Do, r.Error)
	}
	return r
}

func (p *python) try(k task) (r reading) {
	p.t.Helper()
	k.Extensions, k.Auth = append([][2]any{}, k.Extensions...), append([][2]any{}, k.Auth...)
	b, err := json.Marshal(k)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		p.t.Fatal(err)
	}
	if !p.out.Scan() {
		p.t.Fatal("the other codec has ended: ", p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), &r); err != nil {
		p.t.Fatalf("%s: %v", p.out.Text(), err)
	}
	return r
}

// packet has a packet built.
func (p *python) packet(k task) []byte {
	p.t.Helper()
	b, err := hex.DecodeString(p.ask(k).Packet)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// algorithms that both can compute.
var algorithms = []assoc.Algorithm{assoc.HMACMD5, assoc.HMACSHA1, assoc.HMACSHA256, assoc.KeyedMD5}

// nodeKey is the mobile node's in the built-in topologies, as the other codec
// knows it.
var nodeKey = map[string]pyKey{"256": {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "hmac-sha256"}}

// random draws a message of ours with all that travels in one, its keys, and
// its bytes.
func random(t *testing.T, luck *rand.Rand) ([]byte, map[string]pyKey) {
	t.Helper()
	address := func() netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(luck.Uint32()), byte(luck.Uint32()), byte(luck.Uint32())})
	}
	keys := make(map[string]pyKey)
	signer := func() mip4.Signer {
		spi, secret := 256+luck.Uint32N(1<<31), fmt.Sprintf("%032x", luck.Uint64())
		algorithm := algorithms[luck.IntN(len(algorithms))]
		octets, _ := hex.DecodeString(secret)
		a, err := assoc.New(spi, algorithm, assoc.NewKey(octets), assoc.Timestamps)
		if err != nil {
			t.Fatal(err)
		}
		keys[fmt.Sprint(spi)] = pyKey{secret, algorithm.String()}
		return a
	}
	opaque := func() []byte {
		b := make([]byte, 1+luck.IntN(40))
		for i := range b {
			b[i] = byte(luck.Uint32())
		}
		return b
	}
	var d *mip4.Draft
	last := mip4.ExtMobileForeign
	if luck.IntN(2) == 0 {
		d = mip4.NewRequest(mip4.RegistrationRequest{
			Flags: mip4.RequestFlags(luck.Uint32()), Lifetime: uint16(luck.Uint32()), HomeAddress: address(), HomeAgent: address(), CareOfAddress: address(), Identification: luck.Uint64(),
		})
	} else {
		d = mip4.NewReply(mip4.RegistrationReply{
			Code: mip4.Code(luck.Uint32()), Lifetime: uint16(luck.Uint32()), HomeAddress: address(), HomeAgent: address(), Identification: luck.Uint64(),
		})
		last = mip4.ExtForeignHome
	}
	if luck.IntN(2) == 0 {
		d.Add(mip4.ZoneHome, &mip4.NAI{Value: fmt.Sprintf("van%d@fleet.example", luck.Uint32())})
	}
	if luck.IntN(2) == 0 {
		d.Add(mip4.ZoneHome, &mip4.CVSE{Vendor: 9, VendorType: 7, Value: opaque()})
	}
	if luck.IntN(4) == 0 {
		d.AddRaw(mip4.ZoneHome, []byte{0, 0}) // two octets of padding
	}
	d.Authenticate(mip4.ExtMobileHome, signer())
	if luck.IntN(2) == 0 {
		d.Add(mip4.ZoneForeign, &mip4.NVSE{Vendor: 9, VendorType: 1, Value: opaque()})
	}
	if luck.IntN(2) == 0 {
		d.Authenticate(last, signer())
	}
	b, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return b, keys
}

// What we write, the other codec reads: the same fields, the same extensions,
// and every authenticator right, with every algorithm. With one bit flipped
// under an authenticator that is wrong.
//
//rfc:5944#3.3
//rfc:5944#3.4
//rfc:5944#3.5.1
func TestOtherCodecReadsOurMessages(t *testing.T) {
	t.Parallel()
	p, luck := other(t), rand.New(rand.NewPCG(1, 2))
	for range 200 {
		b, keys := random(t, luck)
		r := p.ask(task{Do: "read-message", Message: hex.EncodeToString(b), Keys: keys})
		if err := compare(b, r); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		for number, a := range r.Authenticators {
			if !a.Right {
				t.Fatalf("%x: the authenticator of extension %s is wrong", b, number)
			}
		}
		if _, there := r.Authenticators["32"]; !there {
			t.Fatalf("%x: no Mobile-Home Authentication Extension was found", b)
		}
		b[4+luck.IntN(4)] ^= 1 << luck.IntN(8)
		for number, a := range p.ask(task{Do: "read-message", Message: hex.EncodeToString(b), Keys: keys}).Authenticators {
			if a.Right {
				t.Fatalf("%x: the authenticator of extension %s is right with a bit flipped", b, number)
			}
		}
	}
}

// compare holds the other codec's reading against ours.
func compare(b []byte, r reading) error {
	m, err := mip4.Parse(b)
	if err != nil {
		return err
	}
	want := reading{Type: uint8(m.Type)}
	var identification uint64
	switch m.Type {
	case mip4.TypeRegistrationRequest:
		q, err := m.Request()
		if err != nil {
			return err
		}
		want.Flags, want.Lifetime, want.Home, want.Agent, want.CareOf = uint8(q.Flags), q.Lifetime, q.HomeAddress, q.HomeAgent, q.CareOfAddress
		identification = q.Identification
	case mip4.TypeRegistrationReply:
		q, err := m.Reply()
		if err != nil {
			return err
		}
		want.Code, want.Lifetime, want.Home, want.Agent = uint8(q.Code), q.Lifetime, q.HomeAddress, q.HomeAgent
		identification = q.Identification
	}
	if r.Type != want.Type || r.Code != want.Code || r.Flags != want.Flags || r.Lifetime != want.Lifetime || r.Home != want.Home || r.Agent != want.Agent ||
		r.CareOf != want.CareOf || r.Identification != fmt.Sprintf("%016x", identification) {
		return fmt.Errorf("they read %+v, we %+v with %016x", r, want, identification)
	}
	var ours, theirs []string
	for _, e := range m.Exts {
		ours = append(ours, fmt.Sprintf("%d %x", e.Type, b[e.Off:e.End]))
	}
	for _, e := range r.Extensions {
		theirs = append(theirs, fmt.Sprintf("%v %v", e[0], e[1]))
	}
	if !r.Whole || !slices.Equal(ours, theirs) {
		return fmt.Errorf("they read %q, we %q", theirs, ours)
	}
	return nil
}

// simulate builds a simulated laboratory of which everything is recorded.
func simulate(t *testing.T, change func(*topology.Topology)) (*scene.Sim, func(segment string, kind mip4.MessageType) [][]byte) {
	t.Helper()
	top := topology.Default()
	if change != nil {
		change(top)
		if err := top.Check(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := scene.Simulate(top, scene.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	recorded := make(map[string]func() [][]byte)
	for _, g := range top.Segments {
		recorded[g.Name] = s.Record(g.Name)
	}
	return s, func(segment string, kind mip4.MessageType) (list [][]byte) {
		for _, p := range recorded[segment]() {
			if _, d, err := encap.ParseUDP(p); err == nil && len(d.Payload) > 0 && mip4.MessageType(d.Payload[0]) == kind {
				list = append(list, p)
			}
		}
		return list
	}
}

// home agent and mobile node of the default topology.
const (
	agentAddress = "198.51.100.1"
	homeAddress  = "10.10.0.5"
)

// timestamp is the Identification of a moment, as the other codec is told it:
// seconds of the Network Time Protocol, and a fraction.
func timestamp(at time.Time) string {
	return fmt.Sprintf("%08x%08x", uint32(at.Unix()+2208988800), uint32(at.Nanosecond()))
}

// A mobile node of the other codec registers with our home agent, registers
// again, is refused when its clock is wrong, takes the home agent's time from
// the refusal, and deregisters. It verifies every reply.
//
//rfc:5944#3.8.2
//rfc:5944#3.8.3
//rfc:5944#5.7.1
func TestOurHomeAgentServesAnother(t *testing.T) {
	t.Parallel()
	p := other(t)
	s, recorded := simulate(t, nil)
	careOf := s.Intruder("site")
	exchange := func(lifetime int, identification string) reading {
		t.Helper()
		before := len(recorded("site", mip4.TypeRegistrationReply))
		s.Inject("site", p.packet(task{
			Do: "request", From: [2]any{careOf, 5000}, To: [2]any{agentAddress, 434}, Keys: nodeKey, Auth: [][2]any{{32, 256}},
			Fields: map[string]any{"flags": 0x22, "lifetime": lifetime, "home": homeAddress, "agent": agentAddress, "careof": careOf, "identification": identification},
		}))
		s.Wait(time.Second)
		replies := recorded("site", mip4.TypeRegistrationReply)
		if len(replies) != before+1 {
			t.Fatalf("%d replies", len(replies)-before)
		}
		r := p.ask(task{Do: "read", Packet: hex.EncodeToString(replies[before]), Keys: nodeKey})
		if a := r.Authenticators["32"]; !a.Right || a.SPI != 256 || r.Home.String() != homeAddress || r.Agent.String() != agentAddress || !r.Whole {
			t.Fatalf("the reply %+v is not signed for us", r)
		}
		return r
	}
	older, first := timestamp(s.World.Time().Add(-2*time.Second)), timestamp(s.World.Time())
	if r := exchange(600, first); r.Code != 0 || r.Lifetime != 600 || r.Identification != first {
		t.Fatalf("the request was answered by %+v", r)
	}
	if r := exchange(600, older); r.Code != uint8(mip4.CodeIdentificationMismatch) {
		t.Fatalf("a request older than the last was answered by %+v", r)
	}
	wrong := timestamp(s.World.Time().Add(-time.Hour))
	r := exchange(600, wrong)
	if r.Code != uint8(mip4.CodeIdentificationMismatch) || r.Identification[8:] != wrong[8:] {
		// "the low-order 32 bits of the Identification field MUST be copied
		// unchanged" (RFC 5944 section 5.7).
		t.Fatalf("a request of an hour ago was answered by %+v", r)
	}
	if r := exchange(600, r.Identification[:8]+"ffffffff"); r.Code != 0 {
		t.Fatalf("with the home agent's own time, the request was answered by %+v", r)
	}
	s.Wait(2 * time.Second)
	if r := exchange(0, timestamp(s.World.Time())); r.Code != 0 || r.Lifetime != 0 {
		t.Fatalf("the deregistration was answered by %+v", r)
	}
	if err := s.Finish(); err != nil {
		t.Error(err)
	}
}

// Our mobile node registers with a home agent of the other codec, which
// verifies the request and signs the reply. A reply that it signs with another
// key is of no use.
//
//rfc:5944#3.6.1
//rfc:5944#3.6.2.1
func TestOurMobileNodeIsServedByAnother(t *testing.T) {
	t.Parallel()
	p := other(t)
	for _, c := range []struct {
		name string
		key  string
		want bool
	}{
		{"the right key", nodeKey["256"].Key, true},
		{"another key", "ff" + nodeKey["256"].Key[2:], false},
	} {
		s, recorded := simulate(t, nil)
		s.Kill("ha")
		s.Plug("mn", "wlan0", "access1")
		var packets [][]byte
		s.Until("the mobile node asks", 5*time.Second, func() bool {
			packets = recorded("access1", mip4.TypeRegistrationRequest)
			return len(packets) > 0
		})
		request := packets[len(packets)-1]
		_, d, err := encap.ParseUDP(request)
		if err != nil {
			t.Fatal(err)
		}
		r := p.ask(task{Do: "read", Packet: hex.EncodeToString(request), Keys: nodeKey})
		if err := compare(d.Payload, r); err != nil {
			t.Fatal(err)
		}
		if a := r.Authenticators["32"]; !a.Right || a.SPI != 256 || r.Home.String() != homeAddress || r.CareOf != d.Src.Addr() {
			t.Fatalf("the request %+v is not signed", r)
		}
		s.Inject("site", p.packet(task{
			Do: "reply", From: [2]any{agentAddress, 434}, To: [2]any{d.Src.Addr(), d.Src.Port()}, Auth: [][2]any{{32, 256}},
			Keys:   map[string]pyKey{"256": {c.key, "hmac-sha256"}},
			Fields: map[string]any{"code": 0, "lifetime": r.Lifetime, "home": homeAddress, "agent": agentAddress, "identification": r.Identification},
		}))
		s.Wait(500 * time.Millisecond)
		if got := s.Binding("mn").Registered; got != c.want {
			t.Errorf("%s: registered %v", c.name, got)
		}
	}
}

// What a foreign agent adds for the home agent, and what the home agent adds
// for it, the other codec verifies, with all that comes before it.
//
//rfc:5944#3.5.4
//rfc:5944#3.7.2.2
func TestOtherCodecVerifiesWhatAgentsSign(t *testing.T) {
	t.Parallel()
	p := other(t)
	const agentsKey = "99112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	s, recorded := simulate(t, func(top *topology.Topology) {
		scene.AddForeignAgents(top)
		key := "spi = 300\nkey = \"hex:" + agentsKey + "\"\nalgorithm = \"hmac-sha1\"\n"
		top.Node("ha").Config += "\n[[home-agent.foreign-agent]]\naddress = \"100.65.0.11\"\n" + key
		top.Node("fa1").Config += "\n[[foreign-agent.home-agent]]\naddress = \"" + agentAddress + "\"\n" + key
	})
	s.Plug("mn", "wlan0", "visited1")
	s.Until("the node is registered", 10*time.Second, func() bool { return s.Binding("mn").Registered })
	keys := map[string]pyKey{"256": nodeKey["256"], "300": {agentsKey, "hmac-sha1"}}
	for _, kind := range []mip4.MessageType{mip4.TypeRegistrationRequest, mip4.TypeRegistrationReply} {
		for segment, authenticators := range map[string][]string{"visited1": {"32"}, "edge": {"32", "34"}} {
			packets := recorded(segment, kind)
			if len(packets) == 0 {
				t.Fatalf("no %v was seen on %s", kind, segment)
			}
			r := p.ask(task{Do: "read", Packet: hex.EncodeToString(packets[0]), Keys: keys})
			if len(r.Authenticators) != len(authenticators) {
				t.Errorf("the %v on %s has the authenticators %v", kind, segment, r.Authenticators)
			}
			for _, number := range authenticators {
				if !r.Authenticators[number].Right {
					t.Errorf("the authenticator %s of the %v on %s is not right: %+v", number, kind, segment, r)
				}
			}
		}
	}
}
