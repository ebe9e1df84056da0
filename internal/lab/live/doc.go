// Package live builds a topology on real kernel networking: every host a
// network namespace, every daemon a process of this program, segments and
// translators of package netns between them. It is to namespaces what the
// simulated world is to virtual time, and plays the same scenes.
//
//	Lab     the network and its daemons; Close leaves nothing behind
//	Daemon  one careof process: started, watched, killed
//	Stage   a Lab that a scene plays in
//
// A laboratory needs the privilege for namespaces: see [netns.Enter].
//
// What must not go in here: what happens (scene, demo) and what must be true.
package live
