package path

import (
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// addHome adds the feature to a home agent.
func addHome(a *ha.Agent) error {
	a.Authenticate.Add(Name, "question", question)
	return nil
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
func question(x *ha.Exchange) engine.Verdict {
	if !x.Authentic || x.Association == nil || !x.Deregisters() || x.DeregistersAll() {
		return engine.Next()
	}
	if _, asked := vendor.Find(x.Message.Exts, true, vendor.Careof, Question); !asked || !signed(x.Message) {
		return engine.Next()
	}
	now, window := x.Now().Wall, x.Agent.Config().Window
	if off := assoc.TimeOf(x.Request.Identification, now).Sub(now).Abs(); x.Association.Replay() == assoc.Nonces || off > window {
		return engine.Next()
	}
	if !x.Agent.MayAnswer(x) {
		return engine.Done()
	}
	d := mip4.NewReply(mip4.RegistrationReply{
		Code: mip4.CodeHAVendorFromMobileNode, Lifetime: x.Request.Lifetime, HomeAddress: x.Request.HomeAddress, HomeAgent: x.HomeAgent,
		Identification: x.Request.Identification,
	})
	if x.NAI != "" {
		d.Add(mip4.ZoneHome, &mip4.NAI{Value: string(x.NAI)})
	}
	d.Add(mip4.ZoneHome, &mip4.NVSE{Vendor: vendor.Careof, VendorType: Answer})
	x.Agent.Aside(x, d)
	if x.Association.Authenticated() {
		d.Authenticate(mip4.ExtMobileHome, x.Association.Outbound())
	}
	data, err := d.Seal()
	if err != nil {
		return engine.Drop(err.Error())
	}
	to := x.ReplyTo
	x.Agent.Do(engine.Send{Link: to.Link, Src: to.Src, Dst: to.Dst, HW: to.HW, Data: data})
	return engine.Done()
}

// signed says whether the question stands before the authenticator that was
// checked: what stands behind it is anybody's.
func signed(m *mip4.Message) bool {
	last, ok := m.LastAuthorizing()
	if !ok {
		return true // algorithm none
	}
	for _, e := range m.Exts {
		if e.Type == mip4.ExtCVSE && e.Off < last.Off {
			if _, found := vendor.Find([]mip4.Ext{e}, true, vendor.Careof, Question); found {
				return true
			}
		}
	}
	return false
}
