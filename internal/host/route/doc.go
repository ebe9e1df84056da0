// Package route keeps what the data plane needs of the kernel: routes to the
// tunnel device, policy rules, addresses on the device, and a few sysctls.
//
// All of it is tagged as ours: routes and rules carry our protocol number and
// lie in a range of tables and priorities of their own, addresses are on our
// device and nowhere else. A [Keeper] knows what should be there, lists what
// is there under its tag, and repairs the difference; whatever a killed daemon
// left behind is found the same way. Nobody else's route is ever touched.
//
// The rules of a mobile node, by offset from [Config.Base]:
//
//	+0  from a mobile network to itself        main
//	+1  from an uplink's address               that uplink's own table
//	+2  with our mark                          main
//	+3  to a mobile network                    main
//	+4  from a home address                    the entry's table
//	+5  all                                    main, but not its default route
//	+6  to a route of an entry                 the entry's table
//
// An entry's table sends all to the tunnel device and, should that vanish,
// calls everything unreachable: a packet from a home address never leaves in
// the clear (fail closed). Networks that the host is connected to stay
// reachable from its other addresses, because their routes are more specific
// than a default. While the node is at home its table has the routes of its
// home link instead.
//
// What must not go in here: packets, ARP, and what a registration is.
package route
