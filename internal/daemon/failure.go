package daemon

import (
	"errors"
	"io/fs"
	"maps"
	"net"
	"slices"
	"syscall"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/kernel"
	"careof/internal/host/plane/tun"
	"careof/internal/host/store"
)

// A failure is why the daemon could not start, in the shape of a mistake in
// the configuration: file:line: key: what is wrong (what to do about it).
type failure struct {
	config.Problem
	cause error
}

func (f *failure) Error() string { return f.Problem.String() }

func (f *failure) Unwrap() error { return f.cause }

// failed says of an error which key of the configuration it comes from, and
// what to do about it. An error that says so already is left alone.
func (d *daemon) failed(key string, err error) error {
	var said *failure
	if err == nil || errors.As(err, &said) {
		return err
	}
	hint := "`careof doctor` looks at what the daemon needs of this host"
	for _, r := range remedies {
		if (r.key == "" || r.key == key) && (r.err == nil || errors.Is(err, r.err)) {
			hint = r.hint
			break
		}
	}
	return &failure{d.cfg.Problem(key, err.Error(), hint), err}
}

// remedies are what to do about errors at start, the first that fits. Those
// without a key fit all.
var remedies = []struct {
	key  string
	err  error
	hint string
}{
	{"control.socket", control.ErrInUse, "each daemon on a host needs its own control.socket, state-directory and plane.device; `systemctl list-units 'careof*'` lists them"},
	{"control.socket", syscall.EROFS, "systemd makes /run/careof for the service; by hand, name a place that the daemon's user can write to"},
	{"control.socket", fs.ErrPermission, "systemd makes /run/careof for the service; by hand, run it as root, or name a place that this user can write to"},
	{"control.socket", nil, "name a place in a folder that can be made, such as /run/careof/careof.sock"},
	{"control.listen", syscall.EADDRINUSE, "`ss -ltnp` says who has the port; each daemon needs its own"},
	{"enrolment.listen", syscall.EADDRINUSE, "`ss -ltnp` says who has the port; each daemon needs its own"},
	{"control.listen", syscall.EADDRNOTAVAIL, "`ip -brief address` lists this host's addresses; 0.0.0.0 stands for all of them"},
	{"enrolment.listen", syscall.EADDRNOTAVAIL, "`ip -brief address` lists this host's addresses; 0.0.0.0 stands for all of them"},
	{"state-directory", store.ErrInUse, "each daemon on a host needs its own state-directory"},
	{"state-directory", store.ErrFormat, "install the version that wrote it, or a newer one; do not delete it: replay marks in it keep old requests from being new again"},
	{"state-directory", store.ErrFull, "make room there; to move it to another disk, copy the whole folder and name its new place: an empty one makes old requests new again"},
	{"state-directory", fs.ErrPermission, "it must belong to the user that the daemon runs as: under systemd `chown -R careof: FOLDER`"},
	{"state-directory", syscall.EROFS, "name a place that can be written to; in a container, mount a volume there"},
	{"state-directory", nil, "name a folder that the daemon can make and write to, such as /var/lib/careof"},
	{"home-agent.address", syscall.EADDRINUSE, "`ss -lunp sport = :434` says who has it: another careof, or another home agent"},
	{"foreign-agent.care-of-address", syscall.EADDRINUSE, "`ss -lunp sport = :434` says who has it: another careof, or another foreign agent"},
	{"home-agent.address", syscall.EADDRNOTAVAIL, "`ip -brief address` lists this host's addresses; behind a 1:1 NAT, local-address names the one that is here"},
	{"foreign-agent.care-of-address", syscall.EADDRNOTAVAIL, "`ip -brief address` lists this host's addresses; a care-of address is one of them"},
	{"plane.device", tun.ErrNoTUN, "`modprobe tun`; in a container, pass the device /dev/net/tun"},
	{"plane.device", syscall.EINVAL, "an interface of another kind has this name: choose another one; `ip -details link` lists them"},
	{"plane.device", syscall.EBUSY, "another process has the device: each daemon on a host needs its own"},
	{"plane.bpffs", bpf.ErrNoBPFFS, `mount -t bpf bpf /sys/fs/bpf; or kind = "auto"`},
	{"plane.bpffs", bpf.ErrPins, "remove what is there, as root: `rm -r` with that path; careof makes its pins anew. Its folder must belong to the user that the daemon runs as"},
	{"plane.kind", bpf.ErrUnsupported, `kind = "auto" takes user space where eBPF cannot be had; ` + "`careof doctor` says what is missing"},
	{"plane.kind", kernel.ErrUnsupported, `modprobe ipip ip_gre; or kind = "auto"`},
	{"", fs.ErrPermission, "it needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE: run it as root, or as the packaged service"},
}

// planeKey is the key that an error of the data plane comes from.
func planeKey(err error) string {
	switch {
	case errors.Is(err, bpf.ErrNoBPFFS), errors.Is(err, bpf.ErrPins):
		return "plane.bpffs"
	case errors.Is(err, bpf.ErrUnsupported), errors.Is(err, kernel.ErrUnsupported):
		return "plane.kind"
	}
	return "plane.device"
}

// agentLinks refuses agents' links that the host does not have: nobody would
// answer there for the nodes that are away, and no visitor would be met. A
// mobile node's uplinks may come later.
func (d *daemon) agentLinks() (errs []error) {
	links := map[string][]string{}
	if c := d.cfg.HomeAgent; c != nil {
		links["home-agent.interfaces"] = c.Interfaces
	}
	if c := d.cfg.ForeignAgent; c != nil {
		links["foreign-agent.interfaces"] = c.Interfaces
	}
	for _, key := range slices.Sorted(maps.Keys(links)) {
		for _, link := range links[key] {
			if _, err := net.InterfaceByName(link); err != nil {
				p := d.cfg.Problem(key, "there is no interface "+link, "`ip -brief link` lists this host's interfaces")
				errs = append(errs, &failure{p, err})
			}
		}
	}
	return errs
}
