#!/bin/sh
# Does what quickstart.md says, in namespaces:
#
#   lan ---- node (wlan0, wwan0) ---- isp ---- web
#                                      +------ server (behind a 1:1 NAT when PRIVATE is set)
#
# The wwan0 side is translated (NAT). Needs root, in network and mount
# namespaces of its own.
#
#   quickstart.sh CAREOF FOLDER    FOLDER has server.toml, node.toml, keys.d, server.nft, node.nft
set -eu
careof=$1 folder=$2
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/netns /run/stage
if [ "$(stat -c %a /dev/net/tun)" != 666 ]; then
	mount -t tmpfs tmpfs /dev/net
	mknod -m 666 /dev/net/tun c 10 200
fi
daemons=
trap 'kill $daemons 2>/dev/null || true; wait' EXIT

for n in isp web server node lan; do
	ip netns add $n
	ip -n $n link set lo up
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
ip netns exec server nft -f "$folder/server.nft"
ip netns exec node nft -f "$folder/node.nft"
ip netns exec node sysctl -qw net.ipv4.ip_forward=1

# start NAME FILE
start() {
	mkdir "/run/stage/$1"
	ip netns exec "$1" sh -c "mount --bind /run/stage/$1 /var/lib && mount -t tmpfs tmpfs /run && exec '$careof' run -c '$2'" 2>"$folder/$1.log" &
	eval "$1=$!"
	daemons="$daemons $!"
}
at() { pid=$1; shift; nsenter -t "$pid" -n -m "$careof" "$@"; }
# await SECONDS WHAT COMMAND...: the command comes to succeed.
await() {
	left=$(($1 * 10)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		if [ $left -le 0 ]; then
			echo "quickstart: $what: not within the time" >&2
			cat "$folder"/*.log >&2
			exit 1
		fi
		sleep 0.1
	done
	echo "$what"
}
start server "$folder/server.toml"
at_node=$folder/node.toml
if [ -n "${JOIN:-}" ]; then
	await 10 'the server answers' at "$server" show status
	token=$(at "$server" enrol 2>/dev/null)
	ip netns exec node "$careof" join --dir "$folder/joined" "$token"
	if ip netns exec node "$careof" join --dir "$folder/thief" "$token" 2>"$folder/thief.txt"; then
		echo "quickstart: a token was good twice" >&2
		exit 1
	fi
	at_node=$folder/joined/careof.toml
fi
start node "$at_node"
registered() { at "$node" show registrations | grep -q registered; }
bound() { at "$server" show bindings | grep -q "$1"; }
await 10 'the node is registered' registered
await 10 'the server knows where it is' bound 203.0.113.50
reach() { ip netns exec "$1" ping -q -c 1 -W 1 "$2"; }
await 10 'the node reaches the web' reach node 192.0.2.80
await 10 'the LAN behind it does too' reach lan 192.0.2.80
await 10 'the server reaches the node' reach server ${HOME_ADDRESS:-10.10.0.5}
ip -n isp link set wifi down
await 10 'Wi-Fi is gone, and the server knows it' bound 192.168.8.100
await 10 'the node reaches the web' reach node 192.0.2.80
await 10 'the LAN behind it does too' reach lan 192.0.2.80
at "$server" show bindings
