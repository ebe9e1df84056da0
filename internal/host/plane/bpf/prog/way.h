// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// Where a tunnel's packets leave.

// Where a tunnel's packets leave.
struct way {
	__u32 ifindex;
	__u8 dst[ETH_ALEN], src[ETH_ALEN];
};

static __always_inline long look_up(struct __sk_buff *skb, const struct tunnel *t, __u32 len, __u8 tos, __u32 flags, struct bpf_fib_lookup *f)
{
	__builtin_memset(f, 0, sizeof(*f));
	f->family = FAMILY_INET;
	f->tos = tos & ~ECN_MASK;
	f->l4_protocol = t->kind;
	f->sport = t->local_port;
	f->dport = t->peer_port;
	f->tot_len = len;
	f->ipv4_src = t->local;
	f->ipv4_dst = t->peer;
	f->ifindex = skb->ifindex;
	if (t->ifindex) {
		f->ifindex = t->ifindex;
		flags |= BPF_FIB_LOOKUP_OUTPUT;
	}
	return bpf_fib_lookup(skb, f, sizeof(*f), flags);
}

static __always_inline int find_way(struct __sk_buff *skb, const struct tunnel *t, __u32 len, __u8 tos, __u32 flags, struct way *way)
{
	struct bpf_fib_lookup f;

	if (look_up(skb, t, len, tos, flags, &f) != BPF_FIB_LKUP_RET_SUCCESS)
		return -1;
	// A way back into the device is a circle; a gateway may be IPv6.
	if (f.ifindex == skb->ifindex || f.family != FAMILY_INET)
		return -1;
	way->ifindex = f.ifindex;
	__builtin_memcpy(way->dst, f.dmac, ETH_ALEN);
	__builtin_memcpy(way->src, f.smac, ETH_ALEN);
	return 0;
}

static __always_inline struct hop *hop_of(const struct tunnel *t)
{
	__u32 i = (t->peer ^ t->ifindex ^ (__u32)t->peer_port << 16) * 2654435761u >> (32 - HOP_BITS);

	return bpf_map_lookup_elem(&hops, &i);
}

static __always_inline int is_hop(const struct hop *h, const struct tunnel *t, __u32 len, __u8 tos, __u64 now)
{
	return now < h->until && h->peer == t->peer && h->local == t->local && h->oif == t->ifindex &&
	       h->peer_port == t->peer_port && h->local_port == t->local_port && h->kind == t->kind &&
	       h->tos == (tos & ~ECN_MASK) && len <= h->mtu;
}

// Tells whether a packet went to this neighbour the kernel's way a moment ago.
// If not, this one shall.
static __always_inline int in_use(__be32 addr, __u32 ifindex, __u64 now)
{
	__u32 i = (addr ^ ifindex << 16) * 2654435761u >> (32 - NEIGHBOUR_BITS);
	struct neighbour *n = bpf_map_lookup_elem(&neighbours, &i);

	if (!n)
		return 0;
	if (n->addr == addr && n->ifindex == ifindex && now < n->until)
		return 1;
	n->addr = addr;
	n->ifindex = ifindex;
	n->until = now + HOP_NS;
	return 0;
}

// Finds the interface by which a packet leaves. It returns 1 when h is the next
// hop, which the packets after this one need not look for, 0 when the kernel
// has to find it, and less when the packet is user space's.
static __always_inline int learn_way(struct __sk_buff *skb, const struct tunnel *t, __u32 len, __u8 tos, __u64 now, struct hop *h, struct way *way)
{
	struct bpf_fib_lookup f;
	long answer;

	way->ifindex = t->ifindex;
	answer = look_up(skb, t, len, tos, 0, &f);
	if (answer == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return -1;
	if (answer != BPF_FIB_LKUP_RET_SUCCESS)
		return t->ifindex ? 0 : find_way(skb, t, len, tos, BPF_FIB_LOOKUP_SKIP_NEIGH, way);
	if (f.ifindex == skb->ifindex || f.family != FAMILY_INET)
		return t->ifindex ? 0 : -1;
	way->ifindex = f.ifindex;
	h->until = now + HOP_NS;
	h->local = t->local;
	h->peer = t->peer;
	h->local_port = t->local_port;
	h->peer_port = t->peer_port;
	h->oif = t->ifindex;
	h->ifindex = f.ifindex;
	h->mtu = f.mtu_result;
	h->kind = t->kind;
	h->tos = tos & ~ECN_MASK;
	__builtin_memcpy(h->dst, f.dmac, ETH_ALEN);
	__builtin_memcpy(h->src, f.smac, ETH_ALEN);
	return in_use(f.ipv4_dst, f.ifindex, now);
}
