package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/internal/host/route"
)

func checkConfig(p *patient) []control.Finding {
	var problems config.Problems
	switch {
	case errors.As(p.err, &problems):
		return one(Fail, fmt.Sprintf("mistakes: %d, the first: %v", len(problems), problems[0]), "careof check -c "+p.file)
	case p.err != nil:
		return one(Fail, p.err.Error(), "careof check -c "+p.file)
	}
	var out []control.Finding
	for _, w := range p.c.Warnings {
		out = append(out, control.Finding{Result: Warn, Text: w.String(), Fix: "careof check -c " + p.file})
	}
	return all(out, p.file+" has no mistakes")
}

func checkDaemon(p *patient) []control.Finding {
	if p.daemon == nil {
		return one(Fail, "no daemon answers", "systemctl start careof; journalctl -u careof")
	}
	var out []control.Finding
	s := p.daemon.Status
	if s.Version != p.version {
		out = append(out, control.Finding{Result: Warn, Text: fmt.Sprintf("the daemon is version %s, this program %s", s.Version, p.version), Fix: "systemctl restart careof"})
	}
	for _, w := range s.Warnings {
		out = append(out, control.Finding{Result: Warn, Text: w})
	}
	var roles []string
	for _, r := range s.Roles {
		roles = append(roles, r.Role+" "+r.State)
	}
	return all(out, "it runs: "+strings.Join(roles, ", "))
}

// needs are the capabilities that a daemon has to have.
var needs = []struct {
	number int
	name   string
}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}, {unix.CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"}}

func checkPrivileges(p *patient) []control.Finding {
	if p.daemon != nil && !p.inside {
		return one(OK, "the daemon has what it needs: it runs", "")
	}
	have, err := p.Capabilities()
	if err != nil {
		return one(Skip, err.Error(), "")
	}
	var missing []string
	for _, n := range needs {
		if have&(1<<n.number) == 0 {
			missing = append(missing, n.name)
		}
	}
	if len(missing) > 0 {
		return one(Fail, "missing here: "+strings.Join(missing, ", "), "run it by its systemd unit, or as root: sudo careof doctor")
	}
	return one(OK, "all capabilities are there", "")
}

func checkTUN(p *patient) []control.Finding {
	if p.daemon != nil {
		return one(OK, "the device "+p.daemon.Status.Device+" is in use", "")
	}
	if !p.Exists("/dev/net/tun") {
		return one(Fail, "/dev/net/tun is missing", "modprobe tun")
	}
	if err := p.OpenTUN(); err != nil {
		return one(Fail, "/dev/net/tun cannot be used: "+err.Error(), "sudo careof doctor; in a container, pass the device /dev/net/tun")
	}
	return one(OK, "/dev/net/tun can be used", "")
}

func checkEBPF(p *patient) []control.Finding {
	wanted := p.c != nil && p.c.Plane.Kind == config.PlaneBPF
	if p.c != nil && p.c.Plane.Kind == config.PlaneTUN {
		return one(OK, "not wanted: plane.kind is tun", "")
	}
	result := Warn
	if wanted {
		result = Fail
	}
	consequence := "every packet goes through user space, and none while the daemon is restarted"
	if wanted {
		consequence = "the daemon does not start"
	}
	switch err := p.EBPF(); {
	case err == nil:
	case refused(err):
		return one(result, "this process may not load eBPF programs: "+consequence,
			"give the daemon CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (/usr/share/doc/careof/examples/ebpf.conf says how), or set plane.kind = \"tun\"; as another user, ask by: sudo careof doctor")
	default:
		return one(result, "this kernel does not run the eBPF programs ("+cause(err)+"): "+consequence,
			"a kernel with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_ACT and CONFIG_NET_CLS_BPF, best Linux 6.6 or newer, or set plane.kind = \"tun\"")
	}
	if p.c != nil {
		if err := p.BPFFS(p.c.Plane.BPFFS); err != nil {
			return one(result, fmt.Sprintf("no BPF file system is mounted at plane.bpffs (%s): nothing is forwarded while the daemon is restarted", p.c.Plane.BPFFS),
				"mount -t bpf bpf /sys/fs/bpf, or set plane.bpffs to a directory on one")
		}
	}
	return one(OK, "programs run before user space", "")
}

// refused tells whether it is privileges that are missing. What the verifier
// refuses to the unprivileged is such, too.
func refused(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

// cause is the innermost error's first line: what is around it says which call
// of ours failed, which is of no use here.
func cause(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	for {
		var inner error
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			inner = e.Unwrap()
		case interface{ Unwrap() []error }:
			list := e.Unwrap()
			inner = list[len(list)-1]
		}
		if inner == nil {
			break
		}
		err = inner
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

func checkSNMP(p *patient) []control.Finding {
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	master := p.c.SNMP.Master
	if master == "" {
		return one(OK, "not wanted: there is no snmp.master", "")
	}
	if err := p.AgentX(p.ctx, master); err != nil {
		return one(Warn, fmt.Sprintf("the SNMP agent at %s cannot be reached (%s): nothing is served to SNMP managers", master, cause(err)),
			"systemctl start snmpd, with `master agentx` and `agentXSocket "+master+"` in snmpd.conf, at a place that careof may use")
	}
	return one(OK, "the SNMP agent at "+master+" listens", "")
}

func checkAddresses(p *patient) []control.Finding {
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	have := p.Addresses()
	var out []control.Finding
	want := func(key string, a netip.Addr, hint string) {
		if a.IsValid() && !slices.Contains(have, a) {
			out = append(out, control.Finding{Result: Fail, Text: fmt.Sprintf("%s: %v is no address of this host", key, a), Fix: hint})
		}
	}
	if h := p.c.HomeAgent; h != nil {
		if h.LocalAddress.IsValid() {
			want("home-agent.local-address", h.LocalAddress, "give the interface this address, or correct the file")
		} else {
			for _, a := range h.Addresses {
				want("home-agent.address", a, "behind a 1:1 NAT, set local-address to the one that the host has")
			}
		}
	}
	if f := p.c.ForeignAgent; f != nil {
		for _, a := range f.CareOfAddresses {
			want("foreign-agent.care-of-address", a, "give an interface this address, or correct the file")
		}
	}
	return all(out, "the configured addresses are there")
}

// named are the interfaces that the configuration names, with the key.
func named(c *config.Config) (list [][2]string) {
	if h := c.HomeAgent; h != nil {
		for _, l := range h.Interfaces {
			list = append(list, [2]string{"home-agent.interfaces", l})
		}
	}
	if f := c.ForeignAgent; f != nil {
		for _, l := range f.Interfaces {
			list = append(list, [2]string{"foreign-agent.interfaces", l})
		}
	}
	if m := c.MobileNode; m != nil {
		for _, u := range m.Uplinks {
			list = append(list, [2]string{"mobile-node.uplink", u.Interface})
		}
	}
	return list
}

func checkInterfaces(p *patient) []control.Finding {
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	var out []control.Finding
	usable, uplinks := 0, 0
	for _, n := range named(p.c) {
		key, name := n[0], n[1]
		l, there := p.Link(name)
		uplink := key == "mobile-node.uplink"
		if uplink {
			uplinks++
		}
		result := Fail
		if uplink {
			result = Warn // it may come
		}
		switch {
		case !there:
			out = append(out, control.Finding{Result: result, Text: fmt.Sprintf("%s: there is no interface %s", key, name), Fix: "ip link; correct the name in " + p.file})
		case !l.Up:
			out = append(out, control.Finding{Result: result, Text: fmt.Sprintf("%s: %s is down", key, name), Fix: "ip link set " + name + " up"})
		case len(l.Addresses) == 0 && !uplink:
			out = append(out, control.Finding{Result: Warn, Text: fmt.Sprintf("%s: %s has no IPv4 address", key, name), Fix: "ip address add ADDRESS/PREFIX dev " + name})
		case uplink:
			usable++
		}
	}
	if m := p.c.MobileNode; m != nil {
		for _, n := range m.Networks {
			if _, there := p.Link(n.Interface); !there {
				text := "mobile-node.mobile-network: there is no interface " + n.Interface
				out = append(out, control.Finding{Result: Warn, Text: text, Fix: "ip link; correct the name in " + p.file})
			}
		}
	}
	out = append(out, unguarded(p)...)
	if uplinks > 0 && usable == 0 {
		out = append(out, control.Finding{Result: Fail, Text: "no uplink can be used", Fix: "connect one; careof show uplinks says why each is not used"})
	}
	return all(out, "the configured interfaces are there")
}

// unguarded finds links by which programs may leave beside a tunnel that is for
// everything: a cable that no section names, and an uplink that somebody has renamed.
func unguarded(p *patient) (out []control.Finding) {
	m := p.c.MobileNode
	if m == nil || !forward.AllOf(m.Routes.Destinations()) {
		return nil
	}
	for _, name := range p.Gateways() {
		if !slices.ContainsFunc(named(p.c), func(n [2]string) bool { return n[1] == name }) {
			out = append(out, control.Finding{Result: Warn, Text: name + " leads to the Internet and is no uplink: what programs bind to it, or to its address, leaves beside the tunnel",
				Fix: "name it in [[mobile-node.uplink]]; of an interface that was renamed, correct the name there"})
		}
	}
	return out
}

func checkPort(p *patient) []control.Finding {
	if p.daemon != nil {
		return one(OK, "the daemon has it", "")
	}
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	var at []netip.AddrPort
	if h := p.c.HomeAgent; h != nil {
		for _, a := range h.Addresses {
			if h.LocalAddress.IsValid() {
				a = h.LocalAddress
			}
			at = append(at, netip.AddrPortFrom(a, h.Port))
		}
	}
	if f := p.c.ForeignAgent; f != nil {
		for _, a := range f.CareOfAddresses {
			at = append(at, netip.AddrPortFrom(a, 434))
		}
	}
	for _, a := range at {
		if err := p.Bind(a); errors.Is(err, unix.EADDRINUSE) {
			return one(Fail, fmt.Sprintf("another program has UDP port %v", a), fmt.Sprintf("ss -ulpn 'sport = :%d'", a.Port()))
		}
	}
	return one(OK, "it is free", "")
}

func checkForwarding(p *patient) []control.Finding {
	if p.c == nil || p.c.HomeAgent == nil && p.c.ForeignAgent == nil {
		return one(OK, "not needed: no agent's role is configured", "")
	}
	v, err := p.Sysctl("net/ipv4/ip_forward")
	switch {
	case err != nil:
		return one(Skip, err.Error(), "")
	case v == "1":
		return one(OK, "on", "")
	case p.daemon == nil:
		return one(Warn, "off; the daemon switches it on when it starts", "sysctl -w net.ipv4.ip_forward=1")
	}
	return one(Fail, "somebody switched it off: no packet is forwarded", "sysctl -w net.ipv4.ip_forward=1, and look for who sets it in /etc/sysctl.d")
}

func checkFilter(p *patient) []control.Finding {
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	strict := func(link string) bool {
		// "The max value from conf/{all,interface}/rp_filter is used"
		// (Documentation/networking/ip-sysctl.rst).
		a, _ := p.Sysctl("net/ipv4/conf/all/rp_filter")
		b, _ := p.Sysctl("net/ipv4/conf/" + link + "/rp_filter")
		return max(a, b) == "1"
	}
	var out []control.Finding
	for _, n := range named(p.c) {
		if _, there := p.Link(n[1]); there && n[0] != "home-agent.interfaces" && strict(n[1]) {
			out = append(out, control.Finding{Result: Warn, Text: n[1] + ": the reverse path filter is strict: packets that come by another way than they would go are dropped",
				Fix: "sysctl -w net.ipv4.conf." + n[1] + ".rp_filter=2"})
		}
	}
	if h := p.c.HomeAgent; h != nil && h.HasMobileNetworks() {
		for _, link := range p.Gateways() {
			if strict(link) {
				out = append(out, control.Finding{Result: Warn, Text: link + ": the reverse path filter is strict: a node in a visited network with a mobile network's addresses is not heard",
					Fix: "sysctl -w net.ipv4.conf." + link + ".rp_filter=2, or give mobile networks addresses of their own"})
			}
		}
	}
	if dev := p.c.Plane.Device; p.daemon != nil && strict(dev) {
		out = append(out, control.Finding{Result: Fail, Text: dev + ": the reverse path filter is strict: what comes out of the tunnel is dropped",
			Fix: "sysctl -w net.ipv4.conf." + dev + ".rp_filter=2"})
	}
	return all(out, "loose or off where it matters")
}

func checkPromote(p *patient) []control.Finding {
	if p.c == nil || p.c.MobileNode == nil {
		return one(OK, "not needed: no mobile node's role is configured", "")
	}
	var out []control.Finding
	every, _ := p.Sysctl("net/ipv4/conf/all/promote_secondaries")
	for _, u := range p.c.MobileNode.Uplinks {
		if v, err := p.Sysctl("net/ipv4/conf/" + u.Interface + "/promote_secondaries"); err == nil && v == "0" && every == "0" {
			out = append(out, control.Finding{Result: Warn, Text: u.Interface + ": removing its first address removes the others of the subnet too",
				Fix: "sysctl -w net.ipv4.conf." + u.Interface + ".promote_secondaries=1"})
		}
	}
	return all(out, "a new address can replace an old one on every uplink")
}

func checkFirewall(p *patient) []control.Finding {
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	chains, err := p.Input()
	if err != nil {
		return one(Skip, "the rules cannot be read: "+err.Error(), "sudo careof doctor")
	}
	// What has to come in. A mobile node's own requests open the way for
	// UDP; agents are spoken to first.
	var want []string
	if h := p.c.HomeAgent; h != nil {
		want = append(want, fmt.Sprintf("udp %d", h.Port))
	}
	if p.c.ForeignAgent != nil {
		want = append(want, "udp 434")
	}
	if h := p.c.HomeAgent; h != nil {
		for _, k := range h.Encapsulations {
			if n, plain := protocols[k.String()]; plain {
				want = append(want, n)
			}
		}
	}
	slices.Sort(want)
	var out []control.Finding
	for _, c := range chains {
		for _, w := range slices.Compact(want) {
			result := Warn
			switch {
			case c.Dropped[w]:
				result = Fail
			case c.Drops && !c.Accepted[w]:
			default:
				continue
			}
			out = append(out, control.Finding{Result: result, Text: fmt.Sprintf("the firewall (%s, chain %s) drops %s", c.Table, c.Name, w),
				Fix: fmt.Sprintf("nft insert rule %s %s %s accept", c.Table, c.Name, nftMatch(w))})
		}
	}
	return all(out, "nothing drops registrations or tunnels")
}

// protocols are the tunnels that are IP protocols of their own.
var protocols = map[string]string{"ipip": "protocol 4", "gre": "protocol 47", "minimal": "protocol 55"}

func nftMatch(w string) string {
	if port, udp := strings.CutPrefix(w, "udp "); udp {
		return "udp dport " + port
	}
	return "meta l4proto " + strings.TrimPrefix(w, "protocol ")
}

// clockEpoch is before any release of this program: a clock that shows less was
// never set.
const clockEpoch = 2026

func checkClock(p *patient) []control.Finding {
	const fix = "timedatectl set-ntp true, or install chrony"
	synchronised, now, err := p.Clock()
	switch {
	case now.Year() < clockEpoch:
		return one(Fail, "the clock shows "+now.UTC().Format("2006-01-02")+": timestamps will be refused with code 133", fix)
	case err != nil:
		return one(Skip, err.Error(), fix)
	case !synchronised:
		return one(Warn, "nothing keeps the clock right: registrations are refused (code 133) when it is off by 7 s", fix)
	}
	return one(OK, "it is synchronised", "")
}

// leastMTU carries any inner packet of 1280 octets through the largest tunnel.
const leastMTU = 1280 + 40

func checkMTU(p *patient) []control.Finding {
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	var out []control.Finding
	var links []int
	if m := p.c.MobileNode; m != nil {
		for _, u := range m.Uplinks {
			l, there := p.Link(u.Interface)
			if !there {
				continue
			}
			links = append(links, l.MTU)
			if l.MTU < leastMTU {
				out = append(out, control.Finding{Result: Warn, Text: fmt.Sprintf("%s: an MTU of %d leaves less than 1280 octets in the tunnel", u.Interface, l.MTU),
					Fix: fmt.Sprintf("ip link set %s mtu %d, if the network allows", u.Interface, max(1500, leastMTU))})
			}
		}
	}
	if dev, there := p.Link(p.c.Plane.Device); there && len(links) > 0 {
		if most := slices.Min(links); dev.MTU >= most {
			out = append(out, control.Finding{Result: Fail, Text: fmt.Sprintf("%s has an MTU of %d, which does not fit through a link of %d", p.c.Plane.Device, dev.MTU, most),
				Fix: fmt.Sprintf("ip link set %s mtu %d", p.c.Plane.Device, route.DeviceMTU(links, nil))})
		}
	}
	return all(out, "tunnels fit through the links")
}

func checkManagers(p *patient) []control.Finding {
	dev := config.Plane{Device: "careof0"}.Device
	if p.c != nil {
		dev = p.c.Plane.Device
	}
	var out []control.Finding
	word := strings.TrimRight(dev, "0123456789")
	if p.Exists("/run/NetworkManager") && !p.Mentions(word, "/etc/NetworkManager/conf.d/*.conf", "/usr/lib/NetworkManager/conf.d/*.conf") {
		out = append(out, control.Finding{Result: Warn, Text: "NetworkManager may take the device " + dev + " for its own",
			Fix: "printf '[keyfile]\\nunmanaged-devices=interface-name:" + word + "*\\n' > /etc/NetworkManager/conf.d/50-careof.conf && nmcli general reload"})
	}
	if p.Exists("/run/systemd/netif") && !p.Mentions(word, "/etc/systemd/network/*", "/usr/lib/systemd/network/*") {
		out = append(out, control.Finding{Result: Warn, Text: "systemd-networkd may take the device " + dev + " for its own",
			Fix: "printf '[Match]\\nName=" + word + "*\\n[Link]\\nUnmanaged=yes\\n' > /etc/systemd/network/50-careof.network && networkctl reload"})
	}
	// Two who ask for an address on one link take it from each other.
	if p.c != nil && p.c.MobileNode != nil {
		for _, u := range p.c.MobileNode.Uplinks {
			if u.Address != config.AddressDHCP {
				continue
			}
			for _, who := range p.Configures(u.Interface) {
				out = append(out, control.Finding{Result: Warn, Text: who + " configures " + u.Interface + " too, for which careof has its own DHCP client",
					Fix: "stop it there, or set address = \"host\" for this uplink (\"auto\" leaves the link to others where there are any)"})
			}
		}
	}
	return all(out, "nobody else manages "+dev)
}

func checkStale(p *patient) []control.Finding {
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	if _, there := p.Link(p.c.Plane.Device); there && p.daemon == nil {
		return one(Warn, p.c.Plane.Device+" is there without a daemon: tunnels go on until their lifetimes end",
			"start the daemon, or remove what is left: ip link delete "+p.c.Plane.Device)
	}
	return one(OK, "none", "")
}

// Room that the store wants on its disk, in octets.
const (
	leastFree  = 64 << 20
	enoughFree = 256 << 20
)

func checkDisk(p *patient) []control.Finding {
	if p.c == nil {
		return one(Skip, "the configuration has mistakes", "")
	}
	dir := p.c.StateDirectory
	free, total, writable, err := p.Disk(dir)
	room := fmt.Sprintf("%d MiB of %d MiB are free at %s", free>>20, total>>20, dir)
	switch {
	case err != nil:
		return one(Fail, fmt.Sprintf("%s: %v", dir, err), "mkdir -p "+dir)
	case free < leastFree:
		return one(Fail, room+": registrations will be refused (code 130)", "make room there, or set state-directory")
	case free < enoughFree:
		return one(Warn, room, "make room there, or set state-directory")
	case !writable && p.daemon == nil:
		return one(Warn, "this user may not write to "+dir, "sudo careof doctor")
	}
	return one(OK, room, "")
}

func checkHomeAgent(p *patient) []control.Finding {
	if p.c == nil || p.c.MobileNode == nil {
		return one(OK, "not needed: no mobile node's role is configured", "")
	}
	if p.daemon != nil {
		for _, r := range p.daemon.Registrations {
			if r.Active {
				return one(OK, fmt.Sprintf("%v answers in %v over %s", r.HomeAgent, r.RoundTrip, r.Uplink), "")
			}
		}
		for _, r := range p.daemon.Status.Roles {
			if r.Role != "mobile-node" || r.State == "home" {
				continue
			}
			if r.State == "idle" {
				return one(Fail, "it cannot be asked: "+r.Summary, "careof show uplinks; the node asks as soon as one can be used")
			}
			return one(Fail, "it does not answer: "+cmp.Or(r.Summary, r.State), "careof show registrations; UDP port 434 must pass on the way, and keys, SPI and clocks must agree")
		}
		return one(OK, "the node is at home", "")
	}
	var out []control.Finding
	for _, h := range p.c.MobileNode.HomeAgents {
		if h.Name == "" {
			continue
		}
		if list, err := p.Resolve(p.ctx, h.Name); err != nil || len(list) == 0 {
			out = append(out, control.Finding{Result: Fail, Text: fmt.Sprintf("%s has no IPv4 address: %v", h.Name, err), Fix: "write its address, or mend the resolver: getent ahostsv4 " + h.Name})
		}
	}
	if len(out) == 0 {
		return one(Skip, "only a daemon can ask it: strangers get no answer", "systemctl start careof, then careof doctor")
	}
	return out
}
