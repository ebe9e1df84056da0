package live

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"careof/internal/lab/topology"
)

// KeyLog is the file in a Diameter relay's folder with the keys of its TLS
// connections, in the format that Wireshark reads (tls.keylog_file).
const KeyLog = "tls-keys"

// named are the files that freeDiameter's configuration names and the laboratory
// makes up.
var named = regexp.MustCompile(`"([^"/\s]+\.(?:pem|key))"`)

// startRelay starts a stock freeDiameter on a node and waits until it serves. Beside
// its configuration lie the certificates that this names, and peers.acl with the
// Diameter identities of the laboratory, for its extension acl_wl.
func (l *Lab) startRelay(ctx context.Context, n *topology.Node) error {
	program, err := exec.LookPath("freeDiameterd")
	if err != nil {
		return fmt.Errorf("live: node %s: there is no freeDiameterd: apt-get install freediameterd freediameter-extensions", n.Name)
	}
	dir := filepath.Join(l.Directory, n.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("live: %w", err)
	}
	var peers strings.Builder
	for i := range l.Topology.Nodes {
		if c := l.Topology.Nodes[i].Parsed; c != nil && c.AAA != nil && c.AAA.Diameter != nil {
			fmt.Fprintln(&peers, c.AAA.Diameter.Identity)
		}
	}
	files := map[string]string{"freeDiameter.conf": n.Config, "peers.acl": peers.String()}
	for _, m := range named.FindAllStringSubmatch(n.Config, -1) {
		files[m[1]] = topology.MadeUpPEM(m[1])
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("live: %w", err)
		}
	}
	cmd := exec.Command(program, "-c", filepath.Join(dir, "freeDiameter.conf"))
	// Its TLS library writes the keys for who has a capture to read.
	cmd.Env = append(os.Environ(), "SSLKEYLOGFILE="+filepath.Join(dir, KeyLog))
	return l.startStock(ctx, n.Name, "freeDiameter", "freeDiameterd daemon initialized", dir, cmd)
}
