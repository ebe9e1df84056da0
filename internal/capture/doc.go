// Package capture writes pcapng files with a comment on every packet that
// deserves one, and reads pcap and pcapng files.
//
// A capture of ours is a story: the comment of a packet is what the suite
// thought about it. Wireshark shows comments in its packet list, so the file
// alone explains a session.
package capture

import (
	"errors"
	"strconv"
	"time"
)

// LinkType is what a packet begins with, a LINKTYPE number of the pcap registry.
type LinkType uint16

const (
	// Ethernet: an Ethernet header, no preamble and no check sequence.
	Ethernet LinkType = 1
	// Raw: an IPv4 or IPv6 header, told apart by its version.
	Raw LinkType = 101
	// LinuxSLL is the 16-octet pseudo header of a capture on "any".
	LinuxSLL LinkType = 113
	// IPv4: an IPv4 header.
	IPv4 LinkType = 228
)

var linkNames = []struct {
	t    LinkType
	name string
}{
	{Ethernet, "ethernet"},
	{Raw, "raw"},
	{LinuxSLL, "linux-sll"},
	{IPv4, "ipv4"},
}

// String returns a short name, or LinkType(147).
func (t LinkType) String() string {
	for _, n := range linkNames {
		if n.t == t {
			return n.name
		}
	}
	return "LinkType(" + strconv.Itoa(int(t)) + ")"
}

// Packet is one captured packet.
type Packet struct {
	Time      time.Time
	Interface int      // index, in the order in which the interfaces were added
	LinkType  LinkType // of the interface; ignored on writing
	Data      []byte   // what was captured, from the link header on
	Length    int      // octets that were on the wire; 0 on writing means len(Data)
	Comment   string   // one or several lines, UTF-8; empty for none
}

// Interface is a place where packets were captured.
type Interface struct {
	Name     string
	Comment  string // empty for none
	LinkType LinkType
}

// ErrFormat says that a file is neither pcap nor pcapng.
var ErrFormat = errors.New("capture: neither pcap nor pcapng")
