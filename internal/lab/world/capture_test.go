package world

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"careof/internal/capture"
	"careof/wire/encap"
)

func TestRecordingHoldsEveryFrame(t *testing.T) {
	run := func() (*rig, []byte) {
		r := newRig(t, 21)
		var file bytes.Buffer
		rec, err := r.Record(&file)
		if err != nil {
			t.Fatal(err)
		}
		r.move(r.access1)
		r.registered(t)
		r.Run(time.Second)
		if err := r.mn.Ping(homeAddress, cnAddress, 1, 1, func(encap.Echo) {}); err != nil {
			t.Fatal(err)
		}
		r.Run(time.Second)
		if err := rec.Flush(); err != nil {
			t.Fatal(err)
		}
		return r, file.Bytes()
	}
	_, file := run()
	if _, again := run(); !bytes.Equal(file, again) {
		t.Error("the same run gave two files")
	}
	reader, err := capture.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	signals, tunnelled, told := 0, 0, 0
	for {
		p, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(p.Comment, "ha: bound") || strings.Contains(p.Comment, "mn: registered") {
			told++
		}
		if len(p.Data) < 14 || p.Data[12] != 8 || p.Data[13] != 0 {
			continue
		}
		if _, d, err := encap.ParseUDP(p.Data[14:]); err == nil && d.Dst.Port() == 434 {
			if d.Payload[0] == encap.TunnelDataType {
				tunnelled++
			} else {
				signals++
			}
		}
	}
	if signals == 0 || tunnelled == 0 || told < 2 {
		t.Errorf("%d requests, %d tunnel packets and %d comments were recorded", signals, tunnelled, told)
	}
}
