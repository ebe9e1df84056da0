// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The headers of packets: what they say, what they measure, and outer ones
// written.

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

// The one's complement sum of a header without options.
static __always_inline __u16 header_sum(const struct iphdr *ip)
{
	const __u16 *w = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += w[i];
	return fold(sum);
}

// A measure of an IPv4 packet: how long the longest packet on the wire is, how
// many there are, and how many octets all of them have.
struct size {
	__u32 longest, packets, bytes;
};

// Packets that wait for segmentation count as what they will be.
static __always_inline void measure(struct __sk_buff *skb, struct iphdr *ip, void *end, __u32 len, struct size *s)
{
	__u32 gso = skb->gso_size, head = ip->ihl * 4, payload;

	s->longest = s->bytes = len;
	s->packets = 1;
	if (!gso)
		return;
	if (ip->protocol == IPPROTO_UDP) {
		head += sizeof(struct udphdr);
	} else {
		__u8 *tcp = (void *)ip + (head & 60);

		head += 20;
		if ((void *)(tcp + 13) <= end)
			head += (tcp[12] >> 4) * 4 - 20;
	}
	payload = len > head ? len - head : 0;
	s->longest = gso + head;
	s->packets = (payload + gso - 1) / gso;
	if (!s->packets)
		s->packets = 1;
	s->bytes = payload + s->packets * head;
}

// Writes the outer headers of t, which begin at p. The inner packet behind
// them has len octets and the given TOS.
//
// RFC 2003 section 3.1 and 5.1: TTL as usual, DF always set, TOS copied, no
// options.
static __always_inline void put_outer(void *p, const struct tunnel *t, __u32 len, __u8 tos, __u64 now)
{
	struct iphdr *ip = p;
	__u8 *next = p + sizeof(*ip);
	__be16 *w;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos;
	ip->tot_len = bpf_htons(len + t->overhead);
	// RFC 6864 section 4.1: "Originating sources MAY set the IPv4 ID field of
	// atomic datagrams to any value."
	ip->id = now >> 10;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->protocol = t->kind;
	ip->check = 0;
	ip->saddr = t->local;
	ip->daddr = t->peer;
	ip->check = ~header_sum(ip);
	if (t->kind == IPPROTO_UDP) {
		struct udphdr *udp = (void *)next;

		udp->source = t->local_port;
		udp->dest = t->peer_port;
		udp->len = bpf_htons(len + t->overhead - sizeof(*ip));
		udp->check = 0;
		next += sizeof(*udp);
		next[0] = DATA_TYPE;
		next[1] = t->inside;
		next[2] = next[3] = 0;
		next += DATA_LEN;
		if (t->inside != PROTO_GRE)
			return;
	} else if (t->kind != PROTO_GRE) {
		return;
	}
	w = (__be16 *)next;
	w[0] = t->flags & T_KEY ? bpf_htons(GRE_KEY) : 0;
	w[1] = bpf_htons(ETH_P_IP);
	if (t->flags & T_KEY) {
		w[2] = ((__u16 *)&t->key)[0];
		w[3] = ((__u16 *)&t->key)[1];
	}
}

// The longest outer header: IP, UDP, Tunnel Data, GRE with a key.
#define MAX_OVERHEAD (20 + 8 + 4 + 8)

// Writes the outer headers behind the Ethernet header.
static __always_inline int write_outer(struct __sk_buff *skb, const struct tunnel *t, __u32 len, __u8 tos, __u64 now)
{
	void *data, *end;
	// The inner header is behind them, so there is room for the longest.
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN + MAX_OVERHEAD > end)
		return -1;
	put_outer(data + ETH_HLEN, t, len, tos, now);
	return 0;
}

static __always_inline int make_room(struct __sk_buff *skb, const struct tunnel *t)
{
	// The device's MTU is less by the headers, so segments keep their size.
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	__u32 over = t->overhead;

	if (t->kind == PROTO_GRE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	else if (t->kind == IPPROTO_UDP)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2((__u64)over - 28);
	return bpf_skb_adjust_room(skb, over, BPF_ADJ_ROOM_MAC, flags);
}

// What the outer headers of a packet from the network say.
struct outer {
	__be32 src, dst;
	__be16 sport, dport;
	__be32 key;
	__u32 overhead;
	__u16 check; // UDP
	__u8 kind, inside, has_key;
};

// RFC 1122 section 4.1.3.4: a datagram with a bad checksum "MUST be silently
// discarded"; 0 says that there is none (RFC 768). Where the network device has
// verified the checksum, or summed the packet, that is known here, and so is that
// the datagram comes from this machine and its checksum was left for later: then
// the sum of the pseudo header is in its place. What is left the kernel verifies
// for user space's socket. len is the outer packet's.
static __always_inline int verified(struct __sk_buff *skb, const struct outer *o, __u32 len)
{
	__u32 sum = (o->src & 0xffff) + (o->src >> 16) + (o->dst & 0xffff) + (o->dst >> 16) + bpf_htons(IPPROTO_UDP) +
		    bpf_htons(len - sizeof(struct iphdr));
	__s64 whole;

	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return 1;
	whole = bpf_csum_update(skb, 0);
	if (whole < 0)
		return fold(sum) == o->check;
	// The IPv4 header's own sum is 0.
	return fold(sum + (whole & 0xffff) + ((__u32)whole >> 16)) == 0xffff;
}

// Reads a GRE header without checksum, sequence number and reserved bits.
static __always_inline int read_gre(void *p, void *end, struct outer *o)
{
	__u16 *w = p;

	if ((void *)(w + 2) > end || w[1] != bpf_htons(ETH_P_IP))
		return -1;
	o->overhead += 4;
	if (!w[0])
		return 0;
	if (w[0] != bpf_htons(GRE_KEY) || (void *)(w + 4) > end)
		return -1;
	((__u16 *)&o->key)[0] = w[2];
	((__u16 *)&o->key)[1] = w[3];
	o->has_key = 1;
	o->overhead += 4;
	return 0;
}
