package natt_test

import (
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A home agent of others denies the question, and an older one answers at once:
// neither is taken for a NAT that keeps mappings long, nor asked again.
func TestAHomeAgentThatAnswersAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		ext       mip4.Payload
		questions int
	}{
		"others": {nil, 1},
		"older":  {&mip4.NVSE{Vendor: vendor.Careof, VendorType: path.Answer}, 2},
	} {
		v := newTraveller(t, natt.Config{})
		v.attach("192.168.8.100/24")
		v.answer(mip4.CodeAccepted, mip4.ZoneHome, &mip4.UDPTunnelReply{Keepalive: 40})
		var questions, unanswered int
		var last, before time.Time // keepalives
		for end := v.now.Mono.Add(4 * time.Hour); ; {
			sends, asks := len(v.sends), len(v.asks)
			at := v.node.Deadline()
			if at.After(end) {
				break
			}
			if at.After(v.now.Mono) {
				v.now.Wall = v.now.Wall.Add(at.Sub(v.now.Mono))
				v.now.Mono = at
			}
			v.step(engine.Wake{})
			for _, a := range v.asks[asks:] {
				v.step(engine.Answer{Ticket: a.Ticket, Value: forward.Use{}})
			}
			if len(v.sends) == sends {
				continue
			}
			switch s := v.sends[len(v.sends)-1]; {
			case s.Aside:
				questions++
				v.answer(mip4.CodeHAVendorFromMobileNode, mip4.ZoneHome, c.ext)
			case s.Data[0] != encap.TunnelDataType:
				v.answer(mip4.CodeAccepted, mip4.ZoneHome, &mip4.UDPTunnelReply{Keepalive: 40})
			case unanswered < 3: // a mapping is lost
				unanswered++
			default:
				before, last = last, v.now.Mono
				e, _ := encap.ParseKeepalive(s.Data[4:], travellerAgent)
				v.step(engine.Plane{Event: forward.EchoReply{Key: v.node.Key(), From: s.Dst, ID: e.ID, Seq: e.Seq, Received: v.now.Mono}})
			}
		}
		if k := last.Sub(before); questions != c.questions || k != 20*time.Second {
			t.Errorf("%s: %d questions, the interval is %v", name, questions, k)
		}
	}
}
