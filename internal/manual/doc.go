// Package manual writes the man pages careof(1), careof-run(8) and
// careof.toml(5), and the same reference as Markdown, out of what the program
// itself goes by: the tree of commands, the configuration's table and the
// registry of reply codes. What no table knows (why, and what happens around
// the daemon) is written by hand in text/.
//
// `make gen` calls [Write]; a test fails when what is in docs/ is stale.
//
// What must not go in here: facts that have a table elsewhere.
package manual
