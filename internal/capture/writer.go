package capture

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// maxComment keeps an option within its 16-bit length, padding included.
const maxComment = 65000

// Writer writes one pcapng section. It is not safe for concurrent use. Output
// depends on the packets alone, not on the machine: two equal runs give equal
// files.
type Writer struct {
	w   io.Writer
	app string
	ng  *pcapgo.NgWriter // nil until the first interface
}

// NewWriter returns a writer that names app as the capturing application. It
// writes nothing before the first AddInterface.
func NewWriter(w io.Writer, app string) *Writer { return &Writer{w: w, app: app} }

// AddInterface adds an interface block and returns its index for
// Packet.Interface. Interfaces may be added between packets.
func (w *Writer) AddInterface(i Interface) (int, error) {
	ni := pcapgo.NgInterface{
		Name:                i.Name,
		Comment:             clip(i.Comment),
		LinkType:            layers.LinkType(i.LinkType),
		TimestampResolution: 9,
	}
	if w.ng != nil {
		id, err := w.ng.AddInterface(ni)
		if err != nil {
			return 0, fmt.Errorf("capture: add interface %s: %w", i.Name, err)
		}
		return id, nil
	}
	ng, err := pcapgo.NewNgWriterInterface(w.w, ni, pcapgo.NgWriterOptions{
		SectionInfo: pcapgo.NgSectionInfo{Application: w.app},
	})
	if err != nil {
		return 0, fmt.Errorf("capture: add interface %s: %w", i.Name, err)
	}
	w.ng = ng
	return 0, nil
}

// WritePacket adds a packet. Its interface must have been added.
func (w *Writer) WritePacket(p Packet) error {
	if w.ng == nil {
		return errors.New("capture: write packet: no interface yet")
	}
	ci := gopacket.CaptureInfo{
		Timestamp:      p.Time,
		CaptureLength:  len(p.Data),
		Length:         max(p.Length, len(p.Data)),
		InterfaceIndex: p.Interface,
	}
	var opts pcapgo.NgPacketOptions
	if p.Comment != "" {
		opts.Comments = []string{clip(p.Comment)}
	}
	if err := w.ng.WritePacketWithOptions(ci, p.Data, opts); err != nil {
		return fmt.Errorf("capture: write packet: %w", err)
	}
	return nil
}

// Flush hands everything that was written to the underlying writer.
func (w *Writer) Flush() error {
	if w.ng == nil {
		return nil
	}
	if err := w.ng.Flush(); err != nil {
		return fmt.Errorf("capture: flush: %w", err)
	}
	return nil
}

// clip shortens a comment that no option can hold, at a character's border.
func clip(s string) string {
	if len(s) <= maxComment {
		return s
	}
	return strings.ToValidUTF8(s[:maxComment], "")
}
