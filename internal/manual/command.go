package manual

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:embed text/command.mdoc
var commandText string // from ENVIRONMENT on

//go:embed text/run.mdoc
var runText string // from CAPABILITIES on

// commandPage is careof(1): every command in one page.
func commandPage(root *cobra.Command) string {
	p := newPage(root.Name(), 1, "Mobile IP: home agent, foreign agent, mobile node, and their tools")
	p.section("SYNOPSIS")
	p.raw(".Nm\n.Op Ar options\n.Ar command\n.Op Ar arguments")
	p.section("DESCRIPTION")
	p.prose(root.Long)
	p.section("OPTIONS")
	p.raw("These stand before or after any command.")
	p.options(root.PersistentFlags())
	p.section("COMMANDS")
	for _, c := range commands(root) {
		p.macro("Ss", strings.TrimPrefix(c.CommandPath(), root.Name()+" "))
		p.literal([]string{c.UseLine()})
		p.prose(description(c))
		p.options(c.LocalNonPersistentFlags())
		if c.Example != "" {
			p.raw(".Pp\nFor example:")
			p.literal(lines(c.Example))
		}
	}
	p.raw(commandText)
	return p.String()
}

// runPage is careof-run(8): the daemon, and what an operator must know of it.
func runPage(root *cobra.Command) string {
	run, _, err := root.Find([]string{"run"})
	if err != nil {
		panic("manual: there is no command run")
	}
	p := newPage(root.Name()+"-run", 8, "the Mobile IP daemon: home agent, foreign agent, mobile node")
	p.section("SYNOPSIS")
	p.raw(".Nm careof run\n.Op Fl c Ar file")
	p.section("DESCRIPTION")
	p.prose(run.Long)
	p.options(run.LocalNonPersistentFlags())
	p.raw(runText)
	return p.String()
}

// commands lists those that do something, depth first in the order of help.
func commands(root *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		if c.Runnable() {
			out = append(out, c)
		}
		// cobra's own commands for completion explain themselves.
		if c.Name() != "completion" {
			out = append(out, commands(c)...)
		}
	}
	return out
}

func description(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

// options lists flags with their defaults.
func (p *page) options(flags *pflag.FlagSet) {
	n := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if n++; n == 1 {
			p.raw(".Bl -tag -width Ds")
		}
		name, usage := pflag.UnquoteUsage(f)
		item := ".It"
		if f.Shorthand != "" {
			item += " Fl " + f.Shorthand + " ,"
		}
		item += ` Fl \-` + escape(f.Name)
		if name != "" {
			item += " Ar " + argument(name)
		}
		p.raw(item)
		p.text(sentence(usage))
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" && f.DefValue != "[]" {
			p.text(fmt.Sprintf("The default is %s.", f.DefValue))
		}
	})
	if n > 0 {
		p.raw(".El")
	}
}

// sentence makes a flag's description one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	return strings.TrimSuffix(s, ".") + "."
}

// lines splits an example and takes the common indentation away.
func lines(s string) []string {
	all := strings.Split(strings.Trim(s, "\n"), "\n")
	for i, l := range all {
		all[i] = strings.TrimPrefix(l, "  ")
	}
	return all
}
