package path

import (
	"encoding/binary"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// addHome adds the feature to a home agent.
func addHome(a *ha.Agent) error {
	h := &home{agent: a, held: make(map[forward.Key]answer)}
	a.Authenticate.Add(Name, "question", h.question)
	a.AddTimer(h.due.Next, h.release)
	return nil
}

// home is the feature's part of one home agent.
type home struct {
	agent *ha.Agent

	// held are the answers that nodes want later, one for each node: a
	// restart forgets them, and nobody must rely on one.
	held map[forward.Key]answer
	due  engine.Agenda[forward.Key]
}

// An answer waits until its time has come.
type answer struct {
	asked uint64 // the Identification of the question
	send  engine.Send
}

// MaxWait is the longest that an answer is held back.
const MaxWait = 10 * time.Minute

// Later is the value of a Question whose answer is to come after that time, to
// where the question came from. In between nothing is sent there, so that the
// answer tells whether a NAT keeps a mapping for so long.
//
//	0 1  seconds
func Later(wait time.Duration) []byte {
	return binary.BigEndian.AppendUint16(nil, uint16(min(max(wait, 0), MaxWait)/time.Second))
}

// release sends the answers whose time has come.
func (h *home) release() {
	for {
		key, due := h.due.Due(h.agent.Now().Mono)
		if !due {
			return
		}
		h.agent.Do(h.held[key].send)
		delete(h.held, key)
	}
}

// question answers a mobile node that asks whether a path is good. It is a
// deregistration of a care-of address, which is authentic by now, and the node
// says by the extension that it is not meant: so nothing is ended, nothing is
// counted for replay protection, and nothing has to be durable. The code is the
// one by which others refuse the extension (RFC 3115 section 2.3), for nothing
// was accepted.
//
// Nothing that the node's present time does not stand in is answered so; it
// takes the ordinary way, and is denied there. Within that window a stranger
// who has heard one may repeat it and have its answer sent to whom he likes:
// one octet for one octet, and not oftener than requests are answered with 133.
//
//rfc:3115#2.1
func (h *home) question(x *ha.Exchange) engine.Verdict {
	if !x.Authentic || x.Association == nil || !x.Deregisters() || x.DeregistersAll() {
		return engine.Next()
	}
	value, asked := vendor.Find(x.Message.Authorized(), true, vendor.Careof, Question)
	if !asked {
		return engine.Next()
	}
	now, window := x.Now().Wall, x.Agent.Config().Window
	if off := assoc.TimeOf(x.Request.Identification, now).Sub(now).Abs(); x.Association.Replay() == assoc.Nonces || off > window {
		return engine.Next()
	}
	if !x.Agent.MayAnswer(x) {
		return engine.Done()
	}
	// A question with a value is about a NAT's mapping, from a port that is
	// not the binding's: what is said of where the node is seen would be wrong.
	aside := len(value) == 2
	var wait time.Duration
	if aside {
		wait = min(time.Duration(binary.BigEndian.Uint16(value))*time.Second, MaxWait)
	}
	d := mip4.NewReply(mip4.RegistrationReply{
		Code: mip4.CodeHAVendorFromMobileNode, Lifetime: x.Request.Lifetime, HomeAddress: x.Request.HomeAddress, HomeAgent: x.HomeAgent,
		Identification: x.Request.Identification,
	})
	if x.NAI != "" {
		d.Add(mip4.ZoneHome, &mip4.NAI{Value: string(x.NAI)})
	}
	d.Add(mip4.ZoneHome, &mip4.NVSE{Vendor: vendor.Careof, VendorType: Answer})
	if !aside {
		x.Agent.Aside(x, d)
	}
	if x.Association.Authenticated() {
		d.Authenticate(mip4.ExtMobileHome, x.Association.Outbound())
	}
	data, err := d.Seal()
	if err != nil {
		return engine.Drop(err.Error())
	}
	to := x.ReplyTo
	reply := engine.Send{Link: to.Link, Src: to.Src, Dst: to.Dst, HW: to.HW, Data: data}
	if wait == 0 || x.Node == nil {
		x.Agent.Do(reply)
		return engine.Done()
	}
	// The newest question counts, and a repeated one does not: a stranger
	// cannot have the answer go elsewhere later.
	if key := x.Node.Key(); x.Request.Identification > h.held[key].asked {
		h.held[key] = answer{x.Request.Identification, reply}
		h.due.Set(key, x.Now().Mono.Add(wait))
	}
	return engine.Done()
}
