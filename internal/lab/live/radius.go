package live

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"careof/internal/lab/topology"
	"careof/packaging/examples/freeradius"
)

// startRADIUS starts a stock FreeRADIUS on a node, with the node's users, and
// waits until it serves. It writes careof.accounting and log to the node's
// folder.
func (l *Lab) startRADIUS(ctx context.Context, n *topology.Node) error {
	program, err := exec.LookPath("freeradius")
	if err != nil {
		return fmt.Errorf("live: node %s: there is no freeradius: apt-get install freeradius", n.Name)
	}
	dir := filepath.Join(l.Directory, n.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("live: %w", err)
	}
	here := strings.NewReplacer("/etc/freeradius/careof", dir, "/run/freeradius", dir, "/var/log/freeradius", dir)
	for name, text := range map[string]string{
		"careof.conf": here.Replace(freeradius.Configuration), "dictionary": freeradius.Dictionary, "careof.users": n.Config,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("live: %w", err)
		}
	}
	return l.startStock(ctx, n.Name, "FreeRADIUS", "Ready to process requests", dir, exec.Command(program, "-f", "-d", dir, "-n", "careof", "-l", "stdout"))
}
