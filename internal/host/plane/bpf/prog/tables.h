// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//
// What the programs know: bindings and their tunnels, slots, settings, and what
// each processor remembers of the ways that packets went. Layouts are mirrored in
// layout.go; a test compares them.

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
	__u32 device;   // ifindex of the tunnel device
	__u32 reserved; // 0: earlier programs mark outer packets with it
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
