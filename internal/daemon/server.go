package daemon

import (
	"context"
	crand "crypto/rand"
	"fmt"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/realm"
	"careof/internal/roles"
)

// serverOnly says whether a configuration is an AAA server's and nothing else's.
// Such a daemon moves no packets: it has no device, changes nothing of the host, and
// needs no privilege.
func serverOnly(c *config.Config) bool {
	return c.HomeAgent == nil && c.ForeignAgent == nil && c.MobileNode == nil
}

// serves says whether a configuration has an AAA server.
func serves(c *config.Config) bool { return c.AAA != nil && c.AAA.Serve != nil }

// reconfigureRealm has a running AAA server serve by another configuration.
func (d *daemon) reconfigureRealm(ctx context.Context, next *config.Config, out *control.Reload) error {
	if d.aaa == nil || d.aaa.diameter == nil || d.aaa.diameter.serve == nil || !serves(next) {
		return nil
	}
	app := d.aaa.diameter
	ended, err := ask[int](ctx, app.serve, realm.Reconfigure{Config: roles.Realm(next.AAA, app.identity, crand.Reader)})
	if err != nil {
		return fmt.Errorf("aaa.serve: %w", err)
	}
	for _, n := range ended {
		out.Ended += n
	}
	return nil
}

// starting says whether the daemon is not far enough yet to be asked.
func (d *daemon) starting() bool { return d.plane == nil && !serverOnly(d.cfg) }

// serverStatus is the status of an AAA server's role; false where there is none.
func (d *daemon) serverStatus(ctx context.Context) (control.RoleStatus, bool) {
	if d.aaa == nil || d.aaa.diameter == nil || d.aaa.diameter.serve == nil {
		return control.RoleStatus{}, false
	}
	one := control.RoleStatus{Role: realm.RoleName, State: "serving"}
	if shown := d.shownRealm(ctx); shown != nil {
		one.Summary = fmt.Sprintf("realm %s, %d subscribers, %d sessions", d.cfg.AAA.Diameter.Realm, len(*d.aaa.book.Load()), len(shown.Sessions))
	}
	return one, true
}
