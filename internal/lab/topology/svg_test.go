package topology

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestDrawingNamesEverything(t *testing.T) {
	for _, name := range Builtin() {
		top, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		svg := top.SVG()
		for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: the drawing is no XML: %v", name, err)
			}
		}
		for _, n := range top.Nodes {
			if !strings.Contains(string(svg), ">"+n.Name+"</text>") {
				t.Errorf("%s: node %s is not drawn", name, n.Name)
			}
		}
		for _, s := range top.Segments {
			if !strings.Contains(string(svg), ">"+s.Name+"</text>") {
				t.Errorf("%s: segment %s is not drawn", name, s.Name)
			}
		}
		if !strings.Contains(string(svg), "RTT 49.8 ms") {
			t.Errorf("%s: the access network's round-trip time is not shown", name)
		}
		again, _ := Load(name)
		if !bytes.Equal(svg, again.SVG()) {
			t.Errorf("%s: two drawings differ", name)
		}
	}
}

func TestBoxesDoNotOverlap(t *testing.T) {
	for _, name := range Builtin() {
		top, _ := Load(name)
		vertices := top.graph()
		place(vertices)
		for i, v := range vertices {
			for _, u := range vertices[:i] {
				x1, y1 := v.centre()
				x2, y2 := u.centre()
				if max(x1-x2, x2-x1) < boxWidth && max(y1-y2, y2-y1) < boxHeight {
					t.Errorf("%s: two boxes overlap at %d,%d and %d,%d", name, x1, y1, x2, y2)
				}
			}
		}
	}
}
