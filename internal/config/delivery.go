package config

// A BroadcastCategory is a sort of broadcasts that a home agent forwards to the
// nodes that asked for broadcasts (RFC 5944 section 4.3).
type BroadcastCategory uint8

// The categories.
const (
	BroadcastDirected BroadcastCategory = iota // to the home network's own broadcast address
	BroadcastLimited                           // to 255.255.255.255
)

var broadcastWords = []string{"directed", "limited"}

func (b BroadcastCategory) String() string {
	return enumString(b, "BroadcastCategory", broadcastWords)
}

// An Asking says whether a mobile node asks for a reverse tunnel (RFC 3024).
type Asking uint8

// What a mobile node does about the T bit.
const (
	AskRequired  Asking = iota // does not register without it
	AskPreferred               // goes without it when it is refused
	AskOff                     // does not ask
)

var askingWords = []string{"required", "preferred", "off"}

func (a Asking) String() string { return enumString(a, "Asking", askingWords) }

// A Delivery is how a mobile node's packets reach the foreign agent that
// tunnels them back (RFC 3024 section 5).
type Delivery uint8

// The styles.
const (
	DeliveryDirect        Delivery = iota // plain
	DeliveryEncapsulating                 // in a tunnel to the foreign agent
	DeliveryMixed                         // broadcasts and multicasts in a tunnel, unicast plain
)

var deliveryWords = []string{"direct", "encapsulating", "mixed"}

func (d Delivery) String() string { return enumString(d, "Delivery", deliveryWords) }

// A MulticastPath is where a mobile node's multicast goes.
type MulticastPath uint8

// The paths.
const (
	MulticastHome    MulticastPath = iota // through the tunnel
	MulticastVisited                      // over the visited link
)

var multicastWords = []string{"home", "visited"}

func (m MulticastPath) String() string { return enumString(m, "MulticastPath", multicastWords) }
