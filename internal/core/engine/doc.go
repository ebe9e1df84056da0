// Package engine defines what a protocol role is: a [Machine], a pure state
// machine that is told what happened and says what to do.
//
// A Machine does no I/O, reads no clock, starts no goroutine and draws no
// luck that its constructor was not given. The same machine therefore runs in
// three worlds: the seeded simulation, the laboratory on real kernel
// networking, and the daemon. Whoever drives it has these duties, in order:
//
//  1. Call [Machine.Step] with one event at a time, never concurrently.
//  2. Execute the returned actions in order. [Commit] is the only one that
//     may be slow: make its records durable, then apply its changes to the
//     data plane, then execute its Then; commits keep their order among
//     themselves, and nothing in a Then happens before its commit is true.
//  3. After each Step, ask [Machine.Deadline] and deliver [Wake] at or after
//     it. There are no other timers.
//  4. Answer every [Ask], and every Commit that carries a ticket, exactly
//     once with an [Answer].
//
// What must not go in here: anything that only one protocol family knows.
package engine
