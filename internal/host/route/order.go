package route

// A RuleKind is what a policy rule is for. The kernel asks rules in the order
// of their kinds, and only then of the daemons that they belong to: what one
// mobile node's rule says of all packets must not come before what another's
// says of its own home address.
type RuleKind int

// The kinds, in the order in which the kernel asks them.
const (
	RuleBack      RuleKind = iota // from a visitor: back through its tunnel
	RuleOwn                       // from this host to its visitors
	RuleDevices                   // to home addresses behind the kernel's own tunnel devices
	ruleWithin                    // from a mobile network to itself
	ruleUplink                    // from an uplink's address
	ruleMark                      // with our mark: the daemon's own IPv6
	ruleToNetwork                 // to a mobile network
	ruleFromHome                  // from a home address
	ruleConnected                 // all, by the main table without its default route
	ruleTo                        // to a route of an entry
	ruleAll                       // all, where an entry's route is everything
	ruleKinds
)

// firstRule is the priority of the first kind's rules; the last kind's end before
// the first priority of the former order.
const firstRule = 1900

// Priority is that of a daemon's rules of one kind; base is its [Config.Base].
func Priority(base int, kind RuleKind) int {
	return firstRule + int(kind)*bases + (base-DefaultBase)/baseStride
}

// former is where builds that gave each daemon a range of its own had the kinds,
// by offset from [Config.Base].
var former = [ruleKinds]int{
	RuleBack: -2, RuleOwn: -1, RuleDevices: -1,
	ruleWithin: 0, ruleUplink: 1, ruleMark: 2, ruleToNetwork: 3, ruleFromHome: 4, ruleConnected: 5, ruleTo: 6, ruleAll: 6,
}

// IsRule tells whether a rule with this priority, and our protocol number, is the
// daemon's and of one of these kinds, also in the former order: an upgrade
// replaces such rules.
func IsRule(priority, base int, kinds ...RuleKind) bool {
	for _, kind := range kinds {
		if priority == Priority(base, kind) || priority == base+former[kind] {
			return true
		}
	}
	return false
}

// keepers are the kinds of a Keeper's rules.
var keepers = []RuleKind{ruleWithin, ruleUplink, ruleMark, ruleToNetwork, ruleFromHome, ruleConnected, ruleTo, ruleAll}
