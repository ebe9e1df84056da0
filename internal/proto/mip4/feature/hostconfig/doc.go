// Package hostconfig is host configuration (RFC 4332): a mobile node asks, with its
// registration, for what a host of the home network needs to know, and the home
// agent answers with its reply: the network's prefix length, its router, name
// servers, domain and DHCP server.
//
//	normal vendor/organisation specific extension (134, RFC 3115)
//	vendor 9, type 14, value: sub-type (16 bits) and what it is about
//
// Both ends use only what an authorization-enabling extension covers. Who is not
// configured to answer or to ask behaves like one that never heard of it.
//
// What must not go in here: what becomes of it on the host. Name servers are given
// to the host's resolver by package host/resolver.
package hostconfig
