// Package route keeps what the data plane needs of the kernel: routes to the
// tunnel device, policy rules, addresses on the device, and a few sysctls.
//
// All of it is tagged as ours: routes and rules carry our protocol number and
// have tables and priorities of their own, addresses are on our
// device and nowhere else. A [Keeper] knows what should be there, lists what
// is there under its tag, and repairs the difference; whatever a killed daemon
// left behind is found the same way. Nobody else's route is ever touched.
//
// The rules of a mobile node, in the order in which the kernel asks them
// ([RuleKind], [Priority]):
//
//	from a mobile network to itself        main
//	from an uplink's address               that uplink's own table
//	with our mark, IPv6                    main
//	to a mobile network                    main
//	from a home address                    the entry's table
//	all                                    main, but not its default route
//	to a route of an entry                 the entry's table
//	all, where such a route is everything  the entry's table
//
// The order is one for all daemons of a host: of each kind every daemon has one
// priority, by its device. So of two mobile nodes with everything in their
// tunnels each has its home address to itself, and what is bound to no address
// goes through the tunnel of the device with the lower number.
//
// An entry's table sends all to the tunnel device and, should that vanish,
// calls everything unreachable: a packet from a home address never leaves in
// the clear (fail closed). Networks that the host is connected to stay
// reachable from its other addresses, because their routes are more specific
// than a default. While the node is at home its table has the routes of its
// home link instead.
//
// Programs may bind to an uplink's address, too, and their packets would be led
// by the second of these rules, past the tunnel. Package beside refuses them on
// their way out. A rule with the daemon's mark would not do: the kernel asks the
// rules about the source of what comes in as well (rp_filter), where nothing has
// a mark, and with a socket that is bound to an interface it goes there whatever
// they say.
//
// What must not go in here: packets, ARP, and what a registration is.
package route
