#!/bin/sh
# The machines that the guides speak of, in namespaces:
#
#   lan ---- node (wlan0, wwan0) ---- isp ---- web
#                                      +------ server (behind a 1:1 NAT when PRIVATE is set)
#
# The wwan0 side is translated (NAT). Needs root, in network, mount and process
# namespaces of its own. It says "up" and stays until its input ends.
#
#   network.sh CAREOF FOLDER
#
# FOLDER/HOST.pid is a process in each host; its mount namespace has an /etc, a
# /run and a /var/lib of its own, and programs that stand for those of a whole
# system: apt, sudo, systemctl. FOLDER/HOST/home is the home of who types there.
set -eu
careof=$1 folder=$2
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir /run/netns
if [ "$(stat -c %a /dev/net/tun)" != 666 ]; then
	mount -t tmpfs tmpfs /dev/net
	mknod -m 666 /dev/net/tun c 10 200
fi

mkdir "$folder/bin"
ln -s "$careof" "$folder/bin/careof"
for program in apt dnf usermod; do
	printf '#!/bin/sh\n' >"$folder/bin/$program"
done
printf '#!/bin/sh\nexec "$@"\n' >"$folder/bin/sudo"
# The unit: the daemon as its user with the unit's capabilities, and a log.
cat >"$folder/bin/systemctl" <<'END'
#!/bin/sh
start() {
	[ -d "/proc/$(cat /run/careof.pid 2>/dev/null || echo none)" ] && return
	careof check -c /etc/careof/careof.toml || exit 1
	mkdir -p /run/careof /var/lib/careof
	chown careof:careof /run/careof /var/lib/careof
	setpriv --reuid careof --regid careof --clear-groups --inh-caps -all,+net_admin,+net_raw,+net_bind_service \
		--ambient-caps -all,+net_admin,+net_raw,+net_bind_service --bounding-set -all,+net_admin,+net_raw,+net_bind_service \
		careof run -c /etc/careof/careof.toml >>/var/lib/careof.log 2>&1 </dev/null &
	echo $! >/run/careof.pid
	until [ -S /run/careof/careof.sock ]; do
		[ -d "/proc/$!" ] || { cat /var/lib/careof.log; exit 1; }
		sleep 0.05
	done
}
stop() {
	kill "$(cat /run/careof.pid)" || return 0
	while [ -d "/proc/$(cat /run/careof.pid)" ]; do sleep 0.05; done
}
case "$*" in
"enable --now careof" | "start careof") start ;;
"stop careof" | "disable --now careof") stop ;;
"restart careof") stop; start ;;
"reload careof") careof reload -c /etc/careof/careof.toml ;;
"enable --now dnsmasq") dnsmasq --conf-file=/dev/null --conf-dir=/etc/dnsmasq.d --pid-file=/run/dnsmasq.pid --user=root --dhcp-leasefile=/var/lib/leases ;;
"enable --now nftables" | "restart nftables") nft -f /etc/nftables.conf ;;
*) echo "systemctl $*: the guides' test does not know this" >&2; exit 1 ;;
esac
END
# Nobody waits for a key to be typed.
chmod 755 "$folder"/bin/* "$folder"

for n in isp web server node lan; do
	ip netns add $n
	ip -n $n link set lo up
	mkdir "$folder/$n"
	cp -a /etc "$folder/$n/etc"
	grep -q ^careof: "$folder/$n/etc/passwd" || {
		echo careof:x:64990:64990::/var/lib/careof:/usr/sbin/nologin >>"$folder/$n/etc/passwd"
		echo careof:x:64990: >>"$folder/$n/etc/group"
	}
	install -d -o 64990 -g 64990 -m 0750 "$folder/$n/etc/careof"
	install -d -o 64990 -g 64990 -m 0700 "$folder/$n/etc/careof/keys.d"
	rm -f "$folder/$n/etc/careof/careof.toml"
	mkdir -p "$folder/$n/lib" "$folder/$n/home" "$folder/$n/etc/dnsmasq.d"
	ip netns exec $n sh -c "
		mount --bind '$folder/$n/etc' /etc && mount --bind '$folder/$n/lib' /var/lib &&
		mount -t tmpfs tmpfs /run && echo \$\$ >'$folder/$n.new' && mv '$folder/$n.new' '$folder/$n.pid' && exec sleep infinity" &
done
# wire NS IF ADDRESS NS IF ADDRESS
wire() {
	ip link add "$2" netns "$1" type veth peer name "$5" netns "$4"
	ip -n "$1" address add "$3" dev "$2"
	ip -n "$4" address add "$6" dev "$5"
	ip -n "$1" link set "$2" up
	ip -n "$4" link set "$5" up
}
wire web eth0 192.0.2.80/24 isp web 192.0.2.1/24
if [ -n "${PRIVATE:-}" ]; then
	wire server eth0 "$PRIVATE/24" isp cloud "${PRIVATE%.*}.254/24"
	ip -n server route add default via "${PRIVATE%.*}.254"
	ip netns exec isp nft -f - <<-END
		table ip cloud {
			chain in { type nat hook prerouting priority dstnat; ip daddr 198.51.100.1 dnat to $PRIVATE; }
			chain out { type nat hook postrouting priority srcnat; ip saddr $PRIVATE oifname != "cloud" snat to 198.51.100.1; }
		}
	END
else
	wire server eth0 198.51.100.1/24 isp cloud 198.51.100.254/24
	ip -n server route add default via 198.51.100.254
fi
wire node wlan0 203.0.113.50/24 isp wifi 203.0.113.1/24
wire node wwan0 192.168.8.100/24 isp lte 192.168.8.1/24
wire lan eth0 172.16.0.2/24 node lan 172.16.0.1/24
ip -n node route add default via 203.0.113.1 dev wlan0 metric 100
ip -n node route add default via 192.168.8.1 dev wwan0 metric 200
ip -n lan route add default via 172.16.0.1
ip -n web route add default via 192.0.2.1
# Only what is public is routed: nobody knows 10.10.0.0/24 or 172.16.0.0/24.
ip netns exec isp sysctl -qw net.ipv4.ip_forward=1
ip netns exec isp nft -f - <<-END
	table ip lte {
		chain out { type nat hook postrouting priority srcnat; ip saddr 192.168.8.0/24 oifname != "lte" masquerade; }
	}
END
for n in isp web server node lan; do
	until [ -s "$folder/$n.pid" ]; do sleep 0.05; done
done
echo up
cat >/dev/null
