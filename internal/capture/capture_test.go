package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"careof/internal/capture"
)

var story = []capture.Packet{
	{Time: time.Unix(1_800_000_000, 123456789).UTC(), Interface: 0, LinkType: capture.Raw, Data: []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, Length: 20, Comment: "mn: registration request 1\nhome 10.0.0.1"},
	{Time: time.Unix(1_800_000_001, 1).UTC(), Interface: 1, LinkType: capture.Ethernet, Data: []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5odd"), Length: 17},
	{Time: time.Unix(1_800_000_002, 0).UTC(), Interface: 0, LinkType: capture.Raw, Data: []byte{0x45}, Length: 1400, Comment: "ħalf · cut"},
}

func write(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := capture.NewWriter(&buf, "careof")
	for i, in := range []capture.Interface{{Name: "mn0", Comment: "the mobile node's uplink", LinkType: capture.Raw}, {Name: "home", LinkType: capture.Ethernet}} {
		if id, err := w.AddInterface(in); err != nil || id != i {
			t.Fatalf("AddInterface = %d, %v; want %d", id, err, i)
		}
	}
	for _, p := range story {
		if err := w.WritePacket(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func read(b []byte) ([]capture.Packet, error) {
	r, err := capture.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var out []capture.Packet
	for {
		p, err := r.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, p)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	got, err := read(write(t))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(story, got); d != "" {
		t.Errorf("packets differ (-written +read):\n%s", d)
	}
}

func TestEqualRunsGiveEqualFiles(t *testing.T) {
	if !bytes.Equal(write(t), write(t)) {
		t.Error("two files with the same packets differ")
	}
}

func TestTruncatedFileIsAnError(t *testing.T) {
	b := write(t)
	whole := 0
	for n := range len(b) {
		got, err := read(b[:n])
		if err == nil {
			// Only the ends of blocks are good ends.
			whole++
		}
		if len(got) > len(story) {
			t.Fatalf("%d packets from %d octets", len(got), n)
		}
	}
	// After the section header, after each interface, and after packets 1 and 2.
	if whole > 5 {
		t.Errorf("%d of %d truncations were taken for whole files", whole, len(b))
	}
}

func TestReadsPcapOfBothOrdersAndResolutions(t *testing.T) {
	for _, tc := range []struct {
		name  string
		order binary.AppendByteOrder
		magic uint32
		nanos int64
	}{
		{"little endian microseconds", binary.LittleEndian, 0xa1b2c3d4, 7000},
		{"big endian microseconds", binary.BigEndian, 0xa1b2c3d4, 7000},
		{"little endian nanoseconds", binary.LittleEndian, 0xa1b23c4d, 7},
		{"big endian nanoseconds", binary.BigEndian, 0xa1b23c4d, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b []byte
			b = tc.order.AppendUint32(b, tc.magic)
			b = tc.order.AppendUint16(b, 2)
			b = tc.order.AppendUint16(b, 4)
			b = append(b, make([]byte, 8)...)
			b = tc.order.AppendUint32(b, 65535)
			b = tc.order.AppendUint32(b, 1)
			for _, v := range []uint32{1_800_000_000, 7, 3, 60} {
				b = tc.order.AppendUint32(b, v)
			}
			b = append(b, 'a', 'b', 'c')
			want := []capture.Packet{{Time: time.Unix(1_800_000_000, tc.nanos).UTC(), LinkType: capture.Ethernet, Data: []byte("abc"), Length: 60}}
			got, err := read(b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	for _, s := range []string{"", "abc", "0101 0384", "\x7fELF...."} {
		if _, err := capture.NewReader(strings.NewReader(s)); !errors.Is(err, capture.ErrFormat) {
			t.Errorf("NewReader(%q) = %v, want ErrFormat", s, err)
		}
	}
}

func TestPacketWithoutInterfaceIsRefused(t *testing.T) {
	w := capture.NewWriter(io.Discard, "careof")
	if err := w.WritePacket(story[0]); err == nil {
		t.Error("a packet before any interface was written")
	}
	if _, err := w.AddInterface(capture.Interface{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(story[1]); err == nil {
		t.Error("a packet of an interface that was never added was written")
	}
}

func TestOverlongCommentIsCut(t *testing.T) {
	var buf bytes.Buffer
	w := capture.NewWriter(&buf, "careof")
	if _, err := w.AddInterface(capture.Interface{Name: "a", LinkType: capture.Raw}); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(capture.Packet{Time: story[0].Time, Data: []byte{1}, Comment: strings.Repeat("ħ", 40000)}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := read(buf.Bytes())
	if err != nil || len(got) != 1 || len(got[0].Comment) > 65535 || strings.Trim(got[0].Comment, "ħ") != "" {
		t.Fatalf("read %d packets, %v", len(got), err)
	}
}

// tshark is the independent reader: names, comments and times must be what we wrote.
func TestTsharkReadsComments(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	cmd := exec.Command(tshark, "-r", "-", "-T", "fields", "-e", "frame.interface_name", "-e", "frame.time_epoch", "-e", "frame.comment", "-e", "frame.len")
	cmd.Stdin = bytes.NewReader(write(t))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mn0\t1800000000.123456789\tmn: registration request 1\\nhome 10.0.0.1\t20",
		"home\t1800000001.000000001\t\t17",
		"mn0\t1800000002.000000000\tħalf · cut\t1400",
	}
	if d := cmp.Diff(want, strings.Split(strings.TrimSpace(string(out)), "\n")); d != "" {
		t.Errorf("tshark reads it otherwise (-want +got):\n%s", d)
	}
}

// FuzzReader: no file makes the reader panic or loop.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00x"))
	var buf bytes.Buffer
	w := capture.NewWriter(&buf, "x")
	if _, err := w.AddInterface(capture.Interface{Name: "a", LinkType: capture.Raw}); err != nil {
		f.Fatal(err)
	}
	if err := w.WritePacket(story[0]); err != nil {
		f.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := read(b)
		for _, p := range got {
			if len(p.Data) > len(b) {
				t.Fatalf("a packet of %d octets from a file of %d", len(p.Data), len(b))
			}
		}
	})
}
