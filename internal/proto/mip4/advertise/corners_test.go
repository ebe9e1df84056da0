package advertise_test

import (
	"testing"
	"time"

	"careof/internal/proto/mip4/advertise"
	"careof/wire/adv4"
)

// The corner of agent advertisements. corners_test.go at the root of the
// repository lists all corners.

// Sequence numbers begin with 0 and go from 65535 to 256; B and R come with F
// only, and H only where the agent is a home agent; the ICMP Lifetime is three
// times the interval; prefix lengths where they are configured.
//
//rfc:5944#2.1.1
//rfc:5944#2.3
//rfc:5944#2.3.2
//rfc:5944#2.1-6
//rfc:5944#2.1.1-3
func TestCornerE17_Advertisements(t *testing.T) {
	cfg := config()
	cfg.Interval = time.Second
	cfg.Links = []advertise.Link{{Name: "eth1", Foreign: true, Registration: true}}
	d := newDriver(t, cfg, 1)
	d.up()
	for len(d.sent) < 0x10000+2 {
		d.advance(time.Hour)
	}
	if d.sent[0].Sequence != 0 || d.sent[0xffff].Sequence != 0xffff || d.sent[0x10000].Sequence != 256 {
		t.Errorf("numbers %d, %d, %d", d.sent[0].Sequence, d.sent[0xffff].Sequence, d.sent[0x10000].Sequence)
	}

	for _, c := range []struct {
		link        advertise.Link
		busy        bool
		want, never adv4.Flags
	}{
		{advertise.Link{Home: true}, true, adv4.FlagH, adv4.FlagF | adv4.FlagB | adv4.FlagR},
		{advertise.Link{Foreign: true}, true, adv4.FlagF | adv4.FlagB, adv4.FlagH | adv4.FlagR},
		{advertise.Link{Foreign: true, Registration: true}, false, adv4.FlagF | adv4.FlagR, adv4.FlagH | adv4.FlagB},
		{advertise.Link{Home: true, Foreign: true, PrefixLengths: true}, false, adv4.FlagH | adv4.FlagF, adv4.FlagB | adv4.FlagR},
	} {
		cfg := config()
		cfg.Interval = 4 * time.Second
		c.link.Name = "eth1"
		cfg.Links = []advertise.Link{c.link}
		d := newDriver(t, cfg, 1)
		d.a.SetBusy(d.now, c.busy)
		d.up()
		d.advance(time.Minute)
		last := d.sent[len(d.sent)-1]
		if !last.Flags.Has(c.want) || last.Flags&c.never != 0 {
			t.Errorf("%+v advertises %v", c.link, last.Flags)
		}
		if last.Message.Lifetime != 12 {
			t.Errorf("every 4 s, for %d s", last.Message.Lifetime)
		}
		if has := len(last.Prefixes()) > 0; has != c.link.PrefixLengths {
			t.Errorf("%+v: prefix lengths %v", c.link, last.Prefixes())
		}
	}

	cfg = config()
	cfg.Links = []advertise.Link{{Name: "eth1", Home: true, Registration: true}}
	if _, err := advertise.New(cfg, nil); err == nil {
		t.Error("R without F was accepted")
	}
}
