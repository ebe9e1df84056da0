package daemon

import (
	"context"
	"os"

	"careof/internal/buildinfo"
	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/daemon/doctor"
)

var _ control.Examiner = (*daemon)(nil)

// Doctor implements [control.Examiner]: the file as it is now, on the host as
// the daemon sees it.
func (d *daemon) Doctor(ctx context.Context) []control.Finding {
	q := doctor.Question{File: d.cfg.File, Inside: true, Version: buildinfo.Read().Version}
	q.Config, q.Err = config.Load(d.cfg.File)
	if !d.starting() {
		if status, err := d.status(ctx); err == nil {
			q.Daemon = &doctor.Daemon{Status: status.(control.Status)}
			if list, err := d.registrations(ctx); err == nil {
				q.Daemon.Registrations = list.([]control.Registration)
			}
		}
	}
	return doctor.Examine(ctx, q, doctor.Linux{})
}

// Doctor examines the host for the configuration in file. The daemon that runs
// with that file is asked, at one of the sockets or at that which the file
// names; without one this process looks by itself.
func Doctor(ctx context.Context, file string, sockets ...string) []control.Finding {
	q := doctor.Question{File: file, Version: buildinfo.Read().Version}
	q.Config, q.Err = config.Load(file)
	if q.Err == nil {
		sockets = append(sockets, q.Config.Control.Socket)
	}
	mine, err := os.Stat(file)
	for _, socket := range sockets {
		if err != nil {
			break
		}
		c := control.NewClient(socket)
		var s control.Status
		if c.Show(ctx, "status", "", &s) != nil {
			continue
		}
		if its, err := os.Stat(s.ConfigFile); err != nil || !os.SameFile(mine, its) {
			continue
		}
		if list, err := c.Doctor(ctx); err == nil {
			return list
		}
	}
	return doctor.Examine(ctx, q, doctor.Linux{})
}
