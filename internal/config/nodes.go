package config

import (
	"fmt"
	"strconv"
	"strings"

	"careof/internal/core/assoc"
)

// maxNodesFile bounds the nodes file: about a million nodes.
const maxNodesFile = 256 << 20

// fileMark follows a node's path in the line table when the node comes from
// the nodes file.
const fileMark = "#file"

// readNodes reads the nodes file and appends its nodes. Each line is
//
//	nai home-address spi algorithm key
//
// with "-" for a missing NAI or home address, and # before a comment.
func (d *decoder) readNodes(h *HomeAgent) {
	content, err := d.readSecret(h.NodesFile, maxNodesFile)
	if err != nil {
		if m, ok := err.(*mistake); ok && strings.HasPrefix(m.hint, "careof keygen") {
			err = &mistake{m.text, ""}
		}
		d.mistake("home-agent.nodes-file", err)
		return
	}
	d.nodesFile = d.resolve(h.NodesFile)
	number := 0
	for line := range strings.SplitSeq(string(content), "\n") {
		number++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		node, problem := parseNode(fields)
		if problem != nil {
			problem.File, problem.Line = d.nodesFile, number
			d.problems = append(d.problems, *problem)
			continue
		}
		d.lines[indexed("home-agent.mobile-node", len(h.MobileNodes))+fileMark] = number
		h.MobileNodes = append(h.MobileNodes, node)
	}
}

// whereIs says where an element stands, for a second one that collides with it.
func (d *decoder) whereIs(path string) string {
	if line, there := d.lines[path+fileMark]; there {
		return fmt.Sprintf("at %s:%d", d.nodesFile, line)
	}
	return fmt.Sprintf("on line %d", d.lines.find(path))
}

// parseNode reads the fields of one line. The problem never quotes the key.
func parseNode(fields []string) (MobileNodePeer, *Problem) {
	var p MobileNodePeer
	bad := func(key string, err error) (MobileNodePeer, *Problem) {
		out := &Problem{Key: key, Text: reason(err)}
		if m, ok := err.(*mistake); ok {
			out.Text, out.Hint = m.text, m.hint
		}
		return MobileNodePeer{}, out
	}
	if len(fields) != 5 {
		return bad("", mistakef("nai home-address spi algorithm key; \"-\" for none", "%d fields instead of 5", len(fields)))
	}
	var err error
	if fields[0] != "-" {
		if p.NAI, err = NAI.Parse(fields[0]); err != nil {
			return bad("nai", err)
		}
	}
	if fields[1] != "-" {
		if p.HomeAddress, err = parseAddress(fields[1]); err != nil {
			return bad("home-address", err)
		}
	}
	n, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return bad("spi", mistakef("a number from 256 on", "%q is no SPI", fields[2]))
	}
	a := association{replay: assoc.Timestamps}
	if a.spi, err = spiKind.Parse(n); err != nil {
		return bad("spi", err)
	}
	if a.algorithm, err = algorithmKind.Parse(fields[3]); err != nil {
		return bad("algorithm", err)
	}
	if a.algorithm == assoc.None {
		return bad("algorithm", mistakef("write a [[home-agent.mobile-node]] table", "none cannot be given here: it needs insecure and source"))
	}
	if a.key, err = assoc.ParseKey(fields[4]); err != nil {
		return bad("key", mistakef("hexadecimal digits; careof keygen makes a key", "%s", reason(err)))
	}
	made, err := assoc.New(a.spi, a.algorithm, a.key, a.replay)
	if err != nil {
		return bad("", err)
	}
	p.inline = a
	p.Associations = []*assoc.Association{made}
	return p, nil
}
