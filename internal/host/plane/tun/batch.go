package tun

// batch is packets from the network on their way to the device, with buffers
// for those that come without.
type batch struct {
	bufs    [][]byte // one buffer each
	packets [][]byte // the packets, in the buffers
	n       int
	out     outbox
	last    lastMatch
	used    int    // of bufs, by packets that had to be moved
	part    []byte // room for a packet of a train that has to be cut
}

// newBatch makes n buffers for packets of any length. More are made as needed.
func newBatch(n int) *batch {
	b := &batch{bufs: make([][]byte, n), packets: make([][]byte, n)}
	for i := range b.bufs {
		b.bufs[i] = make([]byte, headroom+maxPacket)
	}
	return b
}

// move copies a packet to where there is room in front of it, until the batch
// is written.
func (b *batch) move(p []byte) []byte {
	if b.used == len(b.bufs) {
		b.bufs = append(b.bufs, make([]byte, headroom+maxPacket))
	}
	buf := b.bufs[b.used]
	b.used++
	return buf[:headroom+copy(buf[headroom:], p)]
}

// room is a buffer for a packet of a train.
func (b *batch) room() []byte {
	if b.part == nil {
		b.part = make([]byte, maxPacket)
	}
	return b.part
}
