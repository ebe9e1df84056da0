package load

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"careof/internal/core/assoc"
	"careof/wire/mip4"
)

// The addresses of the benchmark. All are the loopback interface's.
var (
	homeAgent    = netip.MustParseAddr("192.0.2.1")
	homeNetwork  = netip.MustParsePrefix("10.0.0.0/8")
	careOfPrefix = netip.MustParsePrefix("100.64.0.0/10")
)

// lifetime is what the nodes ask for, in seconds: longer than any run.
const lifetime = 36000

// spi is every node's.
const spi = 256

// A fleet is the mobile nodes: numbered, each with a home address, a care-of
// address and a key of its own.
type fleet struct {
	keys []*assoc.Association
}

// maxNodes is how many home addresses there are.
const maxNodes = 4 << 20

func newFleet(n int) (*fleet, error) {
	f := &fleet{keys: make([]*assoc.Association, n)}
	for i := range f.keys {
		sa, err := assoc.New(spi, assoc.HMACSHA256, assoc.NewKey(keyOf(i)), assoc.Timestamps)
		if err != nil {
			return nil, err
		}
		f.keys[i] = sa
	}
	return f, nil
}

// keyOf is a node's key. There is nothing secret about it.
func keyOf(i int) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "careof bench node %d", i))
	return sum[:]
}

func nth(p netip.Prefix, i int) netip.Addr {
	b := p.Addr().As4()
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(b[:])+uint32(i)+1)))
}

func homeOf(i int) netip.Addr   { return nth(homeNetwork, i) }
func careOfOf(i int) netip.Addr { return nth(careOfPrefix, i) }

// nodeOf is the number of the node with a home address, -1 for none.
func nodeOf(home []byte) int {
	first := homeNetwork.Addr().As4()
	return int(binary.BigEndian.Uint32(home)) - int(binary.BigEndian.Uint32(first[:])) - 1
}

// writeNodes writes the fleet's nodes file.
func (f *fleet) writeNodes(path string) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer out.Close()
	w := bufio.NewWriterSize(out, 1<<20)
	for i := range f.keys {
		fmt.Fprintf(w, "- %s %d hmac-sha256 %s\n", homeOf(i), spi, hex.EncodeToString(keyOf(i)))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return out.Close()
}

// configuration is the daemon's.
func configuration(dir, plane string, shards int) string {
	return fmt.Sprintf(`version = 1
state-directory = %q
[control]
socket = %q
[log]
level = "warn"
[plane]
kind = %q
bpffs = %q
[home-agent]
address = "%v"
interfaces = []
max-lifetime = "%ds"
shards = %d
nodes-file = %q
[[home-agent.network]]
prefix = "%v"
`, filepath.Join(dir, "state"), filepath.Join(dir, "careof.sock"), plane, filepath.Join(dir, "bpf"), homeAgent, lifetime, shards, filepath.Join(dir, "nodes"), homeNetwork)
}

// request is a signed Registration Request of a node.
func (f *fleet) request(b []byte, i int, wall time.Time) ([]byte, error) {
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: mip4.FlagD | mip4.FlagT, Lifetime: lifetime,
		HomeAddress: homeOf(i), HomeAgent: homeAgent, CareOfAddress: careOfOf(i),
		Identification: assoc.Timestamp(wall),
	})
	d.Authenticate(mip4.ExtMobileHome, f.keys[i])
	return d.Append(b)
}
