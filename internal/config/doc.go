// Package config turns a careof.toml into validated values.
//
// [Load] reads a file and reports every mistake in it at once, each with its
// line: a person fixes the file in one go. What it returns is complete:
// defaults are filled in, keys are read from their files, names are resolved
// to typed values. A role is configured when its section is there.
//
// Every key stands in one table (table_*.go) with its type, default and
// explanation. The same rows decode the file, print the reference
// ([Reference]), show the configuration in force ([Config.Values]) and compare
// two of them ([Diff]). A feature that needs a section of its own makes a
// [Section] and passes it to Load.
//
// What must not go in here: anything that acts on the configuration.
package config
