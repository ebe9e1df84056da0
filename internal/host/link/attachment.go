package link

import (
	"encoding/binary"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attachments counts, by interface index, how often the carrier came up. A link
// that is taken to another network is often down for so short a time that
// nobody sees it down; without addresses of its own nothing else tells of the
// move. A kernel that does not count (before 4.16) leaves it at zero.
func attachments() map[int]uint64 {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil
	}
	counts := make(map[int]uint64)
	for _, m := range messages {
		if len(m) < unix.SizeofIfInfomsg {
			continue
		}
		info := nl.DeserializeIfInfomsg(m)
		attrs, err := nl.ParseRouteAttr(m[info.Len():])
		if err != nil {
			continue
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_CARRIER_UP_COUNT && len(a.Value) >= 4 {
				counts[int(info.Index)] = uint64(binary.NativeEndian.Uint32(a.Value))
			}
		}
	}
	return counts
}
