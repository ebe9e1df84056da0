// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The packet path of careof's eBPF data plane: one program encapsulates what
// the kernel routes to the tunnel device, another decapsulates on the
// underlays. Whatever a program does not handle it passes on unchanged, and
// the daemon's user-space path, behind the same device and the same sockets,
// handles it. So no program answers, drops or logs anything.
//
// The kernel lends the helpers that route and read clocks only to programs that
// may be had under the GPL, so this file may.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tables.h"
#include "headers.h"
#include "way.h"

static __always_inline void count_sent(struct slot *s, const struct size *size, __u32 copies, __u64 now)
{
	__sync_fetch_and_add(&s->sent_packets, (__u64)size->packets * copies);
	__sync_fetch_and_add(&s->sent_bytes, (__u64)size->bytes * copies);
	s->sent = now;
}

// RFC 5944 section 4.4: with simultaneous bindings, "the home agent ... makes
// multiple copies", one for each care-of address. All have outer headers of
// one form here; what else there is is user space's.
static __always_inline int send_copies(struct __sk_buff *skb, struct settings *c, struct binding *b, struct slot *s, __u32 live, const struct size *size, __u32 len, __u8 tos, __u64 now, int served)
{
	struct way ways[MAX_TUNNELS] = {};
	__u32 copies = 0;
	int last = 0;

	// First everything that can fail while the packet is whole: a copy that
	// has left cannot be called back.
#pragma unroll
	for (int i = 0; i < MAX_TUNNELS; i++) {
		if (!(live & 1 << i))
			continue;
		if (b->tunnels[i].ifindex)
			return PASS;
		if (find_way(skb, &b->tunnels[i], size->longest + b->tunnels[i].overhead, tos, 0, &ways[i]) || (served && avoid(c, ways[i].ifindex)))
			return PASS;
		last = i;
		copies++;
	}
	if (make_room(skb, &b->tunnels[last & (MAX_TUNNELS - 1)]))
		return PASS;
	if (bpf_skb_change_head(skb, ETH_HLEN, 0))
		return TC_ACT_SHOT;
#pragma unroll
	for (int i = 0; i < MAX_TUNNELS; i++) {
		struct ethhdr *eth;

		if (!(live & 1 << i))
			continue;
		if (write_outer(skb, &b->tunnels[i], len, tos, now))
			return TC_ACT_SHOT;
		eth = (void *)(long)skb->data;
		if ((void *)(eth + 1) > (void *)(long)skb->data_end)
			return TC_ACT_SHOT;
		__builtin_memcpy(eth->h_dest, ways[i].dst, ETH_ALEN);
		__builtin_memcpy(eth->h_source, ways[i].src, ETH_ALEN);
		eth->h_proto = bpf_htons(ETH_P_IP);
		if (i == last) {
			count_sent(s, size, copies, now);
			return bpf_redirect(ways[i].ifindex, 0);
		}
		bpf_clone_redirect(skb, ways[i].ifindex, 0);
	}
	return TC_ACT_SHOT;
}

// On the tunnel device, on the way out. There is no link-layer header. served
// tells that a daemon is there.
static __always_inline int send(struct __sk_buff *skb, const int served)
{
	void *data, *end;
	struct settings *c;
	struct binding *b = 0;
	struct tunnel *t;
	struct slot *s;
	struct size size;
	struct way way = {};
	struct hop *h;
	struct iphdr *ip;
	__u32 zero = 0, len = skb->len, live = 0, first = 0, n = 0;
	__be32 src, dst;
	__u64 now;
	__u8 tos;
	int known;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return PASS;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	ip = data;
	if ((void *)(ip + 1) > end)
		return PASS;
	// Tunnels in tunnels are where circles begin: user space looks closer
	// (RFC 5944 section 4.2.3, RFC 2003 section 3.2).
	if (ip->version != 4 || ip->ihl < 5 || !ip->ttl || ip->protocol == PROTO_IPIP ||
	    ip->protocol == PROTO_GRE || ip->protocol == PROTO_MINIMAL)
		return PASS;
	if (ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = data + ip->ihl * 4;

		if ((void *)(udp + 1) > end || udp->source == bpf_htons(DATA_PORT) || udp->dest == bpf_htons(DATA_PORT))
			return PASS;
	}
	src = ip->saddr;
	dst = ip->daddr;
	tos = ip->tos;
	c = bpf_map_lookup_elem(&settings, &zero);
	if (!c)
		return PASS;
	// A mobile node's own packets by source, a home agent's by destination.
	b = find(&mobiles, c->mobiles & HAS_NODES, &mobile_nets, c->mobile_nets & HAS_NODES, src);
	if (!b)
		b = find(&agents, c->agents, &agent_nets, c->agent_nets, dst);
	if (!b || b->flags & B_SLOW)
		return PASS;
	s = bpf_map_lookup_elem(&slots, &b->slot);
	if (!s)
		return PASS;
	now = bpf_ktime_get_boot_ns();
	if (served && now < s->slow_until)
		return PASS;
	measure(skb, ip, end, len, &size);
	if (served && now < s->soft_until && size.longest > s->soft_mtu)
		return PASS;
#pragma unroll
	for (int i = 0; i < MAX_TUNNELS; i++) {
		t = &b->tunnels[i];
		if (i >= b->tunnels_len || !(t->flags & T_SEND) || now >= s->until[i])
			continue;
		// The kernel's own fragmentation and ICMP are for the device's MTU,
		// user space's for a tunnel's.
		if (size.longest > t->mtu || len + t->overhead > 0xffff)
			return PASS;
		// What this host says itself waits for no daemon: the echo replies
		// by which mobile nodes see that their path is alive, above all.
		if (src == t->peer || (src == t->local && (served || skb->ingress_ifindex)))
			return PASS;
		if (!n++)
			first = i;
		live |= 1 << i;
	}
	if (n > 1)
		return send_copies(skb, c, b, s, live, &size, len, tos, now, served);
	if (!n)
		return PASS;
	t = &b->tunnels[first & (MAX_TUNNELS - 1)];
	h = hop_of(t);
	if (!h)
		return PASS;
	known = is_hop(h, t, size.longest + t->overhead, tos, now);
	if (known)
		way.ifindex = h->ifindex;
	else if ((known = learn_way(skb, t, size.longest + t->overhead, tos, now, h, &way)) < 0)
		return PASS;
	if (served && avoid(c, way.ifindex))
		return PASS;
	if (make_room(skb, t))
		return PASS;
	// Both redirections want an Ethernet header and take it off where the
	// underlay has none.
	if (bpf_skb_change_head(skb, ETH_HLEN, 0))
		return TC_ACT_SHOT;
	if (write_outer(skb, t, len, tos, now))
		return TC_ACT_SHOT;
	count_sent(s, &size, 1, now);
	if (known) {
		struct ethhdr *eth = (void *)(long)skb->data;

		if ((void *)(eth + 1) > (void *)(long)skb->data_end)
			return TC_ACT_SHOT;
		__builtin_memcpy(eth->h_dest, h->dst, ETH_ALEN);
		__builtin_memcpy(eth->h_source, h->src, ETH_ALEN);
		eth->h_proto = bpf_htons(ETH_P_IP);
		return bpf_redirect(way.ifindex, 0);
	}
	// Without a next hop the helper routes once more, and so replaces the
	// route that the inner packet came with: while an address is resolved the
	// kernel keeps the packet, and then asks that route for the neighbour.
	return bpf_redirect_neigh(way.ifindex, 0, 0, 0);
}

// Without a daemon nothing is left to it that a program can do: a packet
// without a checksum is better than none.
SEC("tc")
int encapsulate(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &attended, 0);
	return send(skb, 0);
}

SEC("tc")
int encapsulate_attended(struct __sk_buff *skb)
{
	return send(skb, 1);
}

// RFC 3024 section 4.3.2 asks for a binding "whose care-of address is the
// source of the outer header, and whose mobile node address is the source of
// the inner header"; here everything else must match too.
static __always_inline int allowed(const struct tunnel *t, const struct outer *o)
{
	if (!(t->flags & T_RECEIVE) || t->local != o->dst || t->peer != o->src || t->kind != o->kind)
		return 0;
	if (t->overhead != o->overhead || t->inside != o->inside)
		return 0;
	if (o->kind == IPPROTO_UDP && (t->local_port != o->dport || t->peer_port != o->sport))
		return 0;
	return !o->has_key || t->key == o->key;
}

static __always_inline int welcome(struct binding *b, struct slot *s, const struct outer *o, __u64 now)
{
#pragma unroll
	for (int i = 0; i < MAX_TUNNELS; i++) {
		if (i < b->tunnels_len && now < s->until[i] && allowed(&b->tunnels[i], o))
			return 1;
	}
	return 0;
}

// On an underlay, on the way in; l2 is the length of its link-layer header.
static __always_inline int receive(struct __sk_buff *skb, const int l2)
{
	void *data, *end, *p;
	struct settings *c;
	struct binding *b;
	struct slot *s;
	struct size size;
	struct iphdr *ip;
	struct outer o = {};
	__u32 zero = 0, inner_len, outer_len;
	__u64 now;
	__u8 outer_ecn, inner_ecn;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->pkt_type != 0 /* PACKET_HOST */ || skb->vlan_present)
		return PASS;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	ip = data + l2;
	if ((void *)(ip + 1) > end)
		return PASS;
	// Options and fragments are the kernel's, and then user space's.
	if (ip->version != 4 || ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff))
		return PASS;
	o.src = ip->saddr;
	o.dst = ip->daddr;
	o.kind = ip->protocol;
	outer_ecn = ip->tos & ECN_MASK;
	outer_len = bpf_ntohs(ip->tot_len);
	o.overhead = sizeof(*ip);
	p = ip + 1;
	if (o.kind == IPPROTO_UDP) {
		struct udphdr *udp = p;
		__u8 *d = (void *)(udp + 1);

		if ((void *)(d + DATA_LEN) > end || d[0] != DATA_TYPE)
			return PASS;
		o.sport = udp->source;
		o.dport = udp->dest;
		o.check = udp->check;
		o.inside = d[1];
		if (o.sport != bpf_htons(DATA_PORT) && o.dport != bpf_htons(DATA_PORT))
			return PASS;
		// A length that lies is the kernel's to refuse, or to cut to.
		if (bpf_ntohs(udp->len) + sizeof(*ip) != outer_len)
			return PASS;
		o.overhead += sizeof(*udp) + DATA_LEN;
		p = d + DATA_LEN;
		if (o.inside == PROTO_GRE) {
			if (read_gre(p, end, &o))
				return PASS;
			p += o.has_key ? 8 : 4;
		} else if (o.inside != PROTO_IPIP) {
			return PASS;
		}
	} else if (o.kind == PROTO_GRE) {
		if (read_gre(p, end, &o))
			return PASS;
		p += o.has_key ? 8 : 4;
	} else if (o.kind != PROTO_IPIP) {
		return PASS;
	}
	if (header_sum(ip) != 0xffff || outer_len + l2 > skb->len)
		return PASS;
	ip = p;
	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 || !ip->ttl || header_sum(ip) != 0xffff)
		return PASS;
	inner_len = bpf_ntohs(ip->tot_len);
	// One packet fills the other. A frame may be longer, for Ethernet pads;
	// a train of datagrams, which the kernel has merged for a socket, is not
	// this program's.
	if (inner_len < sizeof(*ip) || inner_len + o.overhead != outer_len)
		return PASS;

	c = bpf_map_lookup_elem(&settings, &zero);
	if (!c)
		return PASS;
	now = bpf_ktime_get_boot_ns();
	b = find(&mobiles, c->mobiles, &mobile_nets, c->mobile_nets, ip->daddr);
	if (b) {
		s = bpf_map_lookup_elem(&slots, &b->slot);
		if (b->flags & B_SLOW || !s)
			return PASS;
		if (welcome(b, s, &o, now))
			goto found;
	}
	b = find(&agents, c->agents, &agent_nets, c->agent_nets, ip->saddr);
	if (!b || b->flags & B_SLOW)
		return PASS;
	s = bpf_map_lookup_elem(&slots, &b->slot);
	if (!s || !welcome(b, s, &o, now))
		return PASS;
found:
	if (o.check && !verified(skb, &o, outer_len))
		return PASS;
	// Answers to keepalives are news for the machine (RFC 3519 section 4.9).
	if (b->flags & B_MOBILE && ip->protocol == IPPROTO_ICMP && ip->saddr == o.src)
		return PASS;
	// RFC 6040 section 4.2, figure 4.
	inner_ecn = ip->tos & ECN_MASK;
	if (outer_ecn != inner_ecn) {
		__u8 ecn = inner_ecn;
		__u16 old, new;
		__u32 sum;

		if (outer_ecn == ECN_CE) {
			if (!inner_ecn)
				return PASS; // to be dropped, and counted
			ecn = ECN_CE;
		} else if (outer_ecn == ECN_ECT1 && inner_ecn == ECN_ECT0) {
			ecn = ECN_ECT1;
		}
		if (ecn != inner_ecn) {
			old = *(__u16 *)ip;
			ip->tos = (ip->tos & ~ECN_MASK) | ecn;
			new = *(__u16 *)ip;
			sum = (__u16)~ip->check + (__u16)~old + new;
			ip->check = ~fold(sum);
		}
	}
	measure(skb, ip, end, inner_len, &size);
	if (bpf_skb_adjust_room(skb, -(__s32)o.overhead, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | ADJ_ROOM_DECAP_L3_IPV4))
		return PASS;
	__sync_fetch_and_add(&s->received_packets, (__u64)size.packets);
	__sync_fetch_and_add(&s->received_bytes, (__u64)size.bytes);
	s->received = now;
	// As if user space had written it to the device: the same filters, rules
	// and reverse path checks hold.
	return bpf_redirect(c->device, BPF_F_INGRESS);
}

SEC("tc")
int decapsulate_ether(struct __sk_buff *skb)
{
	return receive(skb, ETH_HLEN);
}

// For underlays without link-layer headers.
SEC("tc")
int decapsulate_plain(struct __sk_buff *skb)
{
	return receive(skb, 0);
}

char _license[] SEC("license") = "GPL";
