package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"careof/internal/core/assoc"
	"careof/internal/core/ident"
)

// maxNodesFile bounds the nodes file: about a million nodes.
const maxNodesFile = 256 << 20

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
	d.nodesFile, d.firstFromFile = d.resolve(h.NodesFile), len(h.MobileNodes)
	lines := bytes.Count(content, []byte("\n")) + 1
	h.MobileNodes = slices.Grow(h.MobileNodes, lines)
	d.nodeLines = make([]int32, 0, lines)
	number := 0
	for line := range bytes.SplitSeq(content, []byte("\n")) {
		number++
		node, plain := plainNode(line)
		if !plain {
			text, _, _ := strings.Cut(string(line), "#")
			fields := strings.Fields(text)
			if len(fields) == 0 {
				continue
			}
			var problem *Problem
			if node, problem = parseNode(fields); problem != nil {
				problem.File, problem.Line = d.nodesFile, number
				d.problems = append(d.problems, *problem)
				continue
			}
		}
		d.nodeLines = append(d.nodeLines, int32(number))
		h.MobileNodes = append(h.MobileNodes, node)
	}
}

// plainNode reads a line in which nothing is unusual, and a file has a million
// of them; false leaves it to parseNode.
func plainNode(line []byte) (p MobileNodePeer, ok bool) {
	var fields [5][]byte
	for i := range fields {
		field, rest, more := bytes.Cut(line, []byte(" "))
		if len(field) == 0 || more != (i < len(fields)-1) {
			return p, false
		}
		fields[i], line = field, rest
	}
	if string(fields[0]) != "-" {
		name, err := ident.ParseNAI(string(fields[0]))
		if err != nil {
			return p, false
		}
		p.NAI = name
	}
	if string(fields[1]) != "-" {
		address, err := netip.ParseAddr(string(fields[1]))
		if err != nil || !address.Is4() || !isHost(address) {
			return p, false
		}
		p.HomeAddress = address
	}
	number, err := strconv.ParseUint(string(fields[2]), 10, 32)
	if err != nil || number < assoc.MinimumSPI {
		return p, false
	}
	algorithm, err := assoc.ParseAlgorithm(string(fields[3]))
	if err != nil || algorithm == assoc.None {
		return p, false
	}
	key, err := assoc.ParseKey(string(fields[4]))
	if err != nil {
		return p, false
	}
	made, err := assoc.New(uint32(number), algorithm, key, assoc.Timestamps)
	if err != nil {
		return p, false
	}
	p.Associations = []*assoc.Association{made}
	return p, true
}

// fileLine is the line of the nodes file that a node comes from, 0 for one of
// the main file.
func (d *decoder) fileLine(node int) int {
	if i := node - d.firstFromFile; i >= 0 && i < len(d.nodeLines) {
		return int(d.nodeLines[i])
	}
	return 0
}

// whereNode says where a node stands, for a second one that collides with it.
func (d *decoder) whereNode(list string, node int) string {
	if line := d.fileLine(node); line > 0 {
		return fmt.Sprintf("at %s:%d", d.nodesFile, line)
	}
	return d.whereIs(indexed(list, node))
}

// whereIs says where an element stands, for a second one that collides with it.
func (d *decoder) whereIs(path string) string {
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
	p.Associations = []*assoc.Association{made}
	return p, nil
}
