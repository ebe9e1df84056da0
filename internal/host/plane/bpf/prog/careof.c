// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// The packet path of careof's eBPF data plane: one program encapsulates what
// the kernel routes to the tunnel device, another decapsulates on the
// underlays. Whatever a program does not handle it passes on unchanged, and
// the daemon's user-space path, behind the same device and the same sockets,
// handles it. So no program answers, drops or logs anything.
//
// Layouts are mirrored in layout.go; a test compares them.
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

// Younger than the headers of some distributions.
#define ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)

#define MAX_TUNNELS 4
#define KEY_LEN 64

#define FAMILY_INET 2 // AF_INET
#define PASS (-1)     // TCX_NEXT, and TC_ACT_UNSPEC of cls_bpf

#define PROTO_IPIP 4
#define PROTO_GRE 47
#define PROTO_MINIMAL 55

#define DATA_PORT 434 // RFC 3519 section 3.3
#define DATA_TYPE 4
#define DATA_LEN 4

#define GRE_KEY 0x2000

#define ECN_MASK 3
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3

// A tunnel's flags.
#define T_SEND 1
#define T_RECEIVE 2
#define T_KEY 4

// A binding's flags.
#define B_SLOW 1   // user space handles all of its packets
#define B_MOBILE 2 // a mobile node's own end

struct tunnel {
	__be32 local, peer;
	__be16 local_port, peer_port; // UDP
	__be32 key;                   // GRE
	__u32 ifindex;                // underlay, 0: routing decides
	__u16 mtu;                    // of the inner packet
	__u8 kind;                    // PROTO_IPIP, PROTO_GRE or IPPROTO_UDP
	__u8 inside;                  // within UDP: PROTO_IPIP or PROTO_GRE
	__u8 flags;
	__u8 overhead;
	__u16 reserved;
};

struct binding {
	__u32 slot;
	__u8 flags;
	__u8 tunnels_len;
	__u8 key_len;
	__u8 reserved;
	struct tunnel tunnels[MAX_TUNNELS];
	char key[KEY_LEN]; // of the entry; for user space only
};

// A slot is what changes with packets and refreshes. User space has it mapped.
struct slot {
	__u64 until[MAX_TUNNELS]; // boot time in ns; 0: the tunnel has ended
	__u64 sent_packets, sent_bytes, received_packets, received_bytes;
	__u64 sent, received; // boot time of the last packet
	__u64 slow_until;     // user space has something to say to senders
	__u64 soft_until;     // until when soft_mtu counts
	__u32 soft_mtu;       // as routers told
	__u32 reserved;
	__u64 dropped; // by user space; programs drop nothing
	__u32 reserved2[4];
};

#define HAS_NODES 0x80000000U

struct settings {
	__u32 device; // ifindex of the tunnel device
	__u32 mark;   // of outer packets, 0: leave it
	// How many there are, so that empty tables cost nothing. mobiles and
	// mobile_nets have HAS_NODES when not all are destinations set aside,
	// which nothing is sent from.
	__u32 agents, mobiles, agent_nets, mobile_nets;
	__u32 avoided;
};

struct net_key {
	__u32 bits;
	__be32 addr;
};

#define HASH(name)                                     \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_HASH);       \
		__uint(map_flags, BPF_F_NO_PREALLOC);  \
		__uint(max_entries, 1);                \
		__type(key, __be32);                   \
		__type(value, struct binding);         \
	} name SEC(".maps")

#define TRIE(name)                                     \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);   \
		__uint(map_flags, BPF_F_NO_PREALLOC);  \
		__uint(max_entries, 1);                \
		__type(key, struct net_key);           \
		__type(value, struct binding);         \
	} name SEC(".maps")

HASH(agents);      // home agent: home addresses
HASH(mobiles);     // mobile node: home addresses
TRIE(agent_nets);  // mobile networks
TRIE(mobile_nets);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

// Underlays on which encapsulating is left to user space: packets there may
// reach another process of this host without checksums and as long as trains.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} avoided SEC(".maps");

// A hop is where a tunnel's packets went a moment ago: the answer to a route
// look-up and the neighbour's address. Each processor remembers its own.
struct hop {
	__u64 until; // boot time in ns
	__be32 local, peer;
	__be16 local_port, peer_port;
	__u32 oif; // of the tunnel: its ifindex, or 0
	__u32 ifindex;
	__u16 mtu;
	__u8 kind, tos;
	__u8 dst[ETH_ALEN], src[ETH_ALEN];
	__u8 reserved[4];
};

#define HOP_BITS 10

// How long an answer counts. Routes that change are noticed after this time at
// the latest.
#define HOP_NS 10000000

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << HOP_BITS);
	__type(key, __u32);
	__type(value, struct hop);
} hops SEC(".maps");

// A neighbour that packets have gone to. About as often a packet to it goes the
// kernel's own way, by which it knows that the neighbour is in use and has to
// be asked whether it is there still.
struct neighbour {
	__u64 until; // boot time in ns
	__be32 addr;
	__u32 ifindex;
};

#define NEIGHBOUR_BITS 6

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << NEIGHBOUR_BITS);
	__type(key, __u32);
	__type(value, struct neighbour);
} neighbours SEC(".maps");

static __always_inline int avoid(const struct settings *c, __u32 ifindex)
{
	return c->avoided && bpf_map_lookup_elem(&avoided, &ifindex);
}

// While a daemon is there to take what is left to it, this holds
// encapsulate_attended. It is never pinned: the kernel empties such a map when
// the last process that has it open ends, however that ends.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} attended SEC(".maps");

static __always_inline struct binding *find(void *hosts, __u32 n_hosts, void *nets, __u32 n_nets, __be32 addr)
{
	struct binding *b = 0;

	if (n_hosts)
		b = bpf_map_lookup_elem(hosts, &addr);
	if (!b && n_nets) {
		struct net_key k = {.bits = 32, .addr = addr};

		b = bpf_map_lookup_elem(nets, &k);
	}
	return b;
}

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
// has to find it, and less when the packet is user space's. Routing by mark is
// the kernel's alone.
static __always_inline int learn_way(struct __sk_buff *skb, const struct settings *c, const struct tunnel *t, __u32 len, __u8 tos, __u64 now, struct hop *h, struct way *way)
{
	struct bpf_fib_lookup f;
	long answer;

	way->ifindex = t->ifindex;
	if (c->mark)
		return t->ifindex ? 0 : find_way(skb, t, len, tos, BPF_FIB_LOOKUP_SKIP_NEIGH, way);
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
	if (now < s->slow_until)
		return PASS;
	measure(skb, ip, end, len, &size);
	if (now < s->soft_until && size.longest > s->soft_mtu)
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
	if (c->mark && n)
		skb->mark = c->mark;
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
	else if ((known = learn_way(skb, c, t, size.longest + t->overhead, tos, now, h, &way)) < 0)
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
