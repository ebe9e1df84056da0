package topology

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"time"
)

// Sizes of a drawing, in pixels.
const (
	cellWidth  = 190
	cellHeight = 96
	boxWidth   = 130
	boxHeight  = 52
	margin     = 24
)

// A vertex is a node or a segment in the drawing.
type vertex struct {
	node    *Node
	segment *Segment
	column  int
	row     float64
	edges   []edge
}

// An edge is an interface.
type edge struct {
	to     *vertex
	label  string
	dashed bool // a mobile node may go there
}

// SVG draws the topology: nodes and segments in columns by their distance from
// the first correspondent node, mobile nodes last, with dashed lines to where
// they may go. Segments are labelled with the round-trip time that they add.
// The same topology gives the same bytes.
func (t *Topology) SVG() []byte {
	vertices := t.graph()
	place(vertices)
	columns, height := 0, 0.0
	for _, v := range vertices {
		columns = max(columns, v.column+1)
		height = max(height, v.row+1)
	}
	width, tall := 2*margin+columns*cellWidth, 2*margin+40+int(height*cellHeight)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, tall, width, tall)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="16" font-weight="bold" fill="#202020">%s</text>`+"\n", margin, margin+6, html.EscapeString(t.Name))
	for _, v := range vertices {
		for _, e := range v.edges {
			drawEdge(&b, v, e)
		}
	}
	for _, v := range vertices {
		drawVertex(&b, v)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// graph makes the vertices, in the order of the file.
func (t *Topology) graph() []*vertex {
	var vertices []*vertex
	segments := make(map[string]*vertex)
	for i := range t.Segments {
		v := &vertex{segment: &t.Segments[i], column: -1}
		segments[t.Segments[i].Name] = v
		vertices = append(vertices, v)
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		v := &vertex{node: n, column: -1}
		vertices = append(vertices, v)
		for _, at := range n.Interfaces {
			if at.Segment == "" {
				continue
			}
			label := at.Name
			if at.Address.IsValid() {
				label = at.Address.Addr().String()
			}
			v.edges = append(v.edges, edge{to: segments[at.Segment], label: label})
		}
		if n.Kind == MobileNode {
			for k := range t.Segments {
				if s := &t.Segments[k]; s.FirstLease.IsValid() || s.Visit {
					v.edges = append(v.edges, edge{to: segments[t.Segments[k].Name], dashed: true})
				}
			}
		}
	}
	return vertices
}

// place gives every vertex its column, by distance, and its row: those of one
// column in the order of the rows of what they hang on.
func place(vertices []*vertex) {
	mobile := func(v *vertex) bool { return v.node != nil && v.node.Kind == MobileNode }
	neighbours := func(v *vertex) []*vertex {
		var list []*vertex
		for _, e := range v.edges {
			list = append(list, e.to)
		}
		for _, u := range vertices {
			if mobile(u) {
				continue
			}
			for _, e := range u.edges {
				if e.to == v {
					list = append(list, u)
				}
			}
		}
		return list
	}
	var queue []*vertex
	start := func(v *vertex, column int) {
		v.column = column
		queue = append(queue, v)
	}
	// The left edge: hosts and home agents.
	for _, v := range vertices {
		if v.node != nil && (v.node.Kind == Host || v.node.Kind == HomeAgent) {
			start(v, 0)
		}
	}
	for len(queue) > 0 || slices.ContainsFunc(vertices, func(v *vertex) bool { return v.column < 0 && !mobile(v) }) {
		if len(queue) == 0 {
			start(vertices[slices.IndexFunc(vertices, func(v *vertex) bool { return v.column < 0 && !mobile(v) })], 0)
		}
		v := queue[0]
		queue = queue[1:]
		for _, u := range neighbours(v) {
			if u.column < 0 && !mobile(u) {
				start(u, v.column+1)
			}
		}
	}
	last := 0
	for _, v := range vertices {
		last = max(last, v.column)
	}
	for _, v := range vertices {
		if mobile(v) {
			v.column = last + 1
		}
	}
	tallest := 0
	byColumn := make([][]*vertex, last+2)
	for _, v := range vertices {
		byColumn[v.column] = append(byColumn[v.column], v)
		tallest = max(tallest, len(byColumn[v.column]))
	}
	for _, column := range byColumn {
		for i, v := range column {
			v.row = float64(i) + float64(tallest-len(column))/2
		}
	}
}

func (v *vertex) centre() (x, y int) {
	return margin + v.column*cellWidth + cellWidth/2, margin + 40 + int(v.row*cellHeight) + cellHeight/2
}

func drawEdge(b *strings.Builder, v *vertex, e edge) {
	x1, y1 := v.centre()
	x2, y2 := e.to.centre()
	style := `stroke="#707070"`
	if e.dashed {
		style = `stroke="#b0b0b0" stroke-dasharray="5 4"`
	}
	fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" %s/>`+"\n", x1, y1, x2, y2, style)
	if e.label != "" {
		fmt.Fprintf(b, `<text x="%d" y="%d" font-size="9" fill="#505050" text-anchor="middle">%s</text>`+"\n", (x1+x2)/2, (y1+y2)/2-3, html.EscapeString(e.label))
	}
}

// fills are the colours of nodes by kind.
var fills = [...]string{Host: "#e8f0fe", HomeAgent: "#fde7d3", MobileNode: "#d8f3dc", Router: "#eeeeee", ForeignAgent: "#f9d9e8", AAAServer: "#e6dcf5", RADIUSServer: "#e6dcf5", DiameterRelay: "#e6dcf5"}

func drawVertex(b *strings.Builder, v *vertex) {
	x, y := v.centre()
	text := func(dy, size int, colour, s string) {
		fmt.Fprintf(b, `<text x="%d" y="%d" font-size="%d" fill="%s" text-anchor="middle">%s</text>`+"\n", x, y+dy, size, colour, html.EscapeString(s))
	}
	if s := v.segment; s != nil {
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" rx="%d" fill="#ffffff" stroke="#a0a0a0"/>`+"\n", x-boxWidth/2, y-boxHeight/2, boxWidth, boxHeight, boxHeight/2)
		text(-8, 12, "#202020", s.Name)
		if s.Network.IsValid() {
			text(6, 10, "#505050", s.Network.String())
		}
		text(19, 10, "#505050", "RTT "+roundTrip(s.Delay.Duration))
		return
	}
	n := v.node
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" stroke="#404040"/>`+"\n", x-boxWidth/2, y-boxHeight/2, boxWidth, boxHeight, fills[n.Kind])
	text(-4, 13, "#202020", n.Name)
	kind := n.Kind.String()
	if n.NAT != nil {
		kind += ", NAT"
	}
	text(13, 10, "#505050", kind)
}

// roundTrip is twice a delay, in milliseconds with as many digits as needed.
func roundTrip(oneWay time.Duration) string {
	ms := strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", float64(2*oneWay)/float64(time.Millisecond)), "0"), ".")
	return ms + " ms"
}
