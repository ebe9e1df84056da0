package tun

const (
	// headroom is free in front of every packet read from the device: the
	// encapsulation's headers, and what the device's own header needs when
	// the packet goes back.
	headroom = 64
	// deviceOffset is what Device.Write wants free in front of a packet.
	deviceOffset = 16
	// maxPacket is the longest IPv4 packet.
	maxPacket = 1<<16 - 1
	// maxRead is the longest packet that the device is read for; with
	// segmentation offload that is the device's MTU.
	maxRead = 16 << 10
)

// batch is packets on their way, with buffers for them.
type batch struct {
	bufs    [][]byte // one buffer each
	packets [][]byte // the packets, in the buffers
	n       int
	out     [][]byte // what Device.Write gets
	arena   []byte   // for parts of merged packets, see whole
}

// newBatch makes n buffers. Long ones hold any packet, and what the device's
// GRO appends to it.
func newBatch(n int, long bool) *batch {
	size := headroom + maxRead
	if long {
		size = headroom + maxPacket
	}
	b := &batch{bufs: make([][]byte, n), packets: make([][]byte, n), out: make([][]byte, 0, n)}
	for i := range b.bufs {
		b.bufs[i] = make([]byte, size)
	}
	return b
}
