// Package mobilenetwork adds mobile networks (RFC 5177, with the dynamic
// prefixes of RFC 6626): a mobile node that is a router, and whose home agent
// forwards for the prefixes behind it too.
//
//	5177 section 4    -          the extensions: package wire/mip4
//	5177 section 5    mobile.go  requests in explicit mode, what the replies say
//	5177 section 5.1  mobile.go  codes 147 and 148, a home agent without support
//	5177 section 6.2  -          the prefixes of a binding: package ha
//	5177 section 6.3  home.go    the prefix table, a code for each prefix, implicit mode
//	5177 section 7    -          one tunnel or two: packages ha, mn and the data planes
//	5177 section 8    -          a router behind a router: package ha
//	6626 section 3.1  mobile.go  asking for a prefix
//	6626 section 3.2  pool.go    giving one
//
// Left out: routing protocols through the tunnel (section 9), for which
// implicit mode is there, and the propagation of routes into the home network
// (section 6.4): the home agent's host has a kernel route for each prefix that
// is bound, which a routing daemon can redistribute.
//
// What must not go in here: forwarding, and addresses on the router's network.
package mobilenetwork
