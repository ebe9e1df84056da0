// Package world is a simulated internet: segments that lose and reorder,
// routers, translators, hosts with a small IP stack, and daemons that drive
// protocol machines. Everything runs on one goroutine in virtual time and
// draws its luck from one seed, so that a run can be repeated to the bit.
//
// Packets are real bytes. They are made and read by wire/encap and the
// machines' own codecs, and may be written to a capture file.
//
// Who wants to know what happens becomes an [Observer]; the invariants in
// lab/check are one. What happened is also written as text into the [Trace].
//
// What must not go in here: knowledge of one protocol's messages. A world
// drives any engine.Machine.
package world
