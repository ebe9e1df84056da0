package daemon

import (
	"context"

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

// Doctor examines the host without a daemon, for the configuration in file.
func Doctor(ctx context.Context, file string) []control.Finding {
	q := doctor.Question{File: file, Version: buildinfo.Read().Version}
	q.Config, q.Err = config.Load(file)
	return doctor.Examine(ctx, q, doctor.Linux{})
}
