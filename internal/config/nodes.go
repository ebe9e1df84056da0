package config

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

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
	// A part for each processor: a million lines are a second's work for one.
	parts, total := nodesParts(content, min(runtime.GOMAXPROCS(0), 1+len(content)>>20))
	h.MobileNodes = slices.Grow(h.MobileNodes, total)
	d.nodeLines = make([]int32, total)
	// Each part has room for as many nodes as it has lines; few lines are none.
	room := h.MobileNodes[len(h.MobileNodes) : len(h.MobileNodes)+total]
	var reading sync.WaitGroup
	for i := range parts {
		p := &parts[i]
		to := p.before + p.lines
		p.nodes, p.numbers = room[p.before:p.before:to], d.nodeLines[p.before:p.before:to]
		reading.Go(func() { p.read(d.nodesFile) })
	}
	reading.Wait()
	nodes, numbers := h.MobileNodes, d.nodeLines[:0]
	for i := range parts {
		nodes, numbers = append(nodes, parts[i].nodes...), append(numbers, parts[i].numbers...)
		d.problems = append(d.problems, parts[i].problems...)
	}
	clear(nodes[len(nodes) : d.firstFromFile+total])
	h.MobileNodes, d.nodeLines = nodes, numbers
}

// A nodesPart is some consecutive lines of the nodes file, and what they say.
type nodesPart struct {
	text          []byte
	before, lines int // in the file before this part, and in it
	nodes         []MobileNodePeer
	numbers       []int32
	problems      []Problem
}

// nodesParts divides a nodes file after whole lines, of which it has total.
func nodesParts(content []byte, n int) (parts []nodesPart, total int) {
	for ; n > 0; n-- {
		end := len(content)
		if k := bytes.IndexByte(content[end/n:], '\n'); n > 1 && k >= 0 {
			end = end/n + k + 1
		}
		p := nodesPart{text: content[:end], before: total, lines: bytes.Count(content[:end], []byte("\n"))}
		if n == 1 {
			p.lines++ // the last line may have no end
		}
		content, total = content[end:], total+p.lines
		parts = append(parts, p)
	}
	return parts, total
}

func (p *nodesPart) read(file string) {
	number := p.before
	var lists []*assoc.Association // of the nodes, each of which has one: made for many at a time
	for line := range bytes.SplitSeq(p.text, []byte("\n")) {
		number++
		node, association := plainNode(line)
		if association != nil {
			if len(lists) == cap(lists) {
				lists = make([]*assoc.Association, 0, 256)
			}
			lists = append(lists, association)
			node.Associations = lists[len(lists)-1 : len(lists) : len(lists)]
		} else {
			text, _, _ := strings.Cut(string(line), "#")
			fields := strings.Fields(text)
			if len(fields) == 0 {
				continue
			}
			var problem *Problem
			if node, problem = parseNode(fields); problem != nil {
				problem.File, problem.Line = file, number
				p.problems = append(p.problems, *problem)
				continue
			}
		}
		p.numbers = append(p.numbers, int32(number))
		p.nodes = append(p.nodes, node)
	}
}

// plainNode reads a line in which nothing is unusual, and a file has a million
// of them, but for the association, which comes apart; without one the line is
// left to parseNode.
func plainNode(line []byte) (p MobileNodePeer, made *assoc.Association) {
	var fields [5][]byte
	for i := range fields {
		field, rest, more := bytes.Cut(line, []byte(" "))
		if len(field) == 0 || more != (i < len(fields)-1) {
			return p, nil
		}
		fields[i], line = field, rest
	}
	if string(fields[0]) != "-" {
		name, err := ident.ParseNAI(string(fields[0]))
		if err != nil {
			return p, nil
		}
		p.NAI = name
	}
	if string(fields[1]) != "-" {
		address, ok := ident.ParseAddress(fields[1])
		if !ok || !isHost(address) {
			return p, nil
		}
		p.HomeAddress = address
	}
	number, err := strconv.ParseUint(string(fields[2]), 10, 32)
	if err != nil || number < assoc.MinimumSPI {
		return p, nil
	}
	algorithm, err := assoc.ParseAlgorithm(string(fields[3]))
	if err != nil || algorithm == assoc.None {
		return p, nil
	}
	var space [64]byte
	octets, err := hex.AppendDecode(space[:0], bytes.TrimPrefix(fields[4], []byte("hex:")))
	if err != nil || len(octets) == 0 {
		return p, nil
	}
	made, err = assoc.New(uint32(number), algorithm, assoc.NewKey(octets), assoc.Timestamps)
	if err != nil {
		return p, nil
	}
	return p, made
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
