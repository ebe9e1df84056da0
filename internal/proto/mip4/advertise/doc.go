// Package advertise is the sending side of agent discovery: RFC 5944 sections
// 2.1 and 2.3 with the router's part of RFC 1256. Home agents and foreign
// agents share it.
//
// An [Advertiser] is a pure machine (package engine). It runs alone beside a
// home agent, or inside a foreign agent, which then speaks for both roles on
// the links that they share: one agent sends one advertisement with the F and
// H bits, not two that contradict each other.
//
// What must not go in here: how a mobile node reads advertisements, and the
// extensions of optional RFCs; those add hooks to the Advertise stage.
package advertise
