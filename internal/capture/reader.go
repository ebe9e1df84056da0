package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Reader reads the packets of a pcap or pcapng file one by one.
type Reader struct {
	pcap *pcapgo.Reader
	ng   *pcapgo.NgReader
	n    int
}

// Magic numbers: the begin of a pcapng section header, and the four of pcap.
const (
	magicNg        = 0x0a0d0d0a
	magicPcapMicro = 0xa1b2c3d4
	magicPcapNano  = 0xa1b23c4d
)

// Is reports whether b begins like a capture file.
func Is(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	switch binary.BigEndian.Uint32(b) {
	case magicNg, magicPcapMicro, magicPcapNano:
		return true
	}
	switch binary.LittleEndian.Uint32(b) {
	case magicPcapMicro, magicPcapNano:
		return true
	}
	return false
}

// NewReader recognises the format of r and reads its header. A file that is
// neither pcap nor pcapng gives ErrFormat.
func NewReader(r io.Reader) (*Reader, error) {
	br := bufio.NewReader(r)
	head, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("capture: %w", err)
	}
	if !Is(head) {
		return nil, ErrFormat
	}
	var rd Reader
	if binary.BigEndian.Uint32(head) == magicNg {
		rd.ng, err = pcapgo.NewNgReader(br, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	} else {
		rd.pcap, err = pcapgo.NewReader(br)
	}
	if err != nil {
		return nil, fmt.Errorf("capture: file header: %w", err)
	}
	return &rd, nil
}

// Next returns the next packet, which the caller may keep. After the last one
// the error is io.EOF; a file that is cut off ends with io.ErrUnexpectedEOF.
func (r *Reader) Next() (Packet, error) {
	var (
		data []byte
		ci   gopacket.CaptureInfo
		p    Packet
		err  error
	)
	if r.ng != nil {
		var opts pcapgo.NgPacketOptions
		data, ci, opts, err = r.ng.ReadPacketDataWithOptions()
		p.Comment = strings.Join(opts.Comments, "\n")
		if err == nil && len(ci.AncillaryData) > 0 {
			if t, ok := ci.AncillaryData[0].(layers.LinkType); ok {
				p.LinkType = LinkType(t)
			}
		}
	} else {
		data, ci, err = r.pcap.ReadPacketData()
		p.LinkType = LinkType(r.pcap.LinkType())
	}
	if errors.Is(err, io.EOF) {
		return Packet{}, io.EOF
	}
	if err != nil {
		return Packet{}, fmt.Errorf("capture: packet %d: %w", r.n+1, err)
	}
	r.n++
	// LINKTYPE_RAW has the number 12 or 14 in the files of some systems.
	if p.LinkType == 12 || p.LinkType == 14 {
		p.LinkType = Raw
	}
	p.Time, p.Data, p.Length, p.Interface = ci.Timestamp.UTC(), data, ci.Length, ci.InterfaceIndex
	return p, nil
}
