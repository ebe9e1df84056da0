package daemon

import (
	"context"
	"fmt"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/realm"
)

// serverOnly says whether a configuration is an AAA server's and nothing else's.
// Such a daemon moves no packets: it has no device, changes nothing of the host, and
// needs no privilege.
func serverOnly(c *config.Config) bool {
	return c.HomeAgent == nil && c.ForeignAgent == nil && c.MobileNode == nil
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
