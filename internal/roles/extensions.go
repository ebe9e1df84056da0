package roles

import (
	"careof/internal/config"
	"careof/internal/proto/mip4/feature/message"
	"careof/internal/proto/mip4/feature/opaque"
	"careof/wire/mip4"
)

// texts are what an agent says beside its reply codes.
func texts(list []config.MessageText) message.Texts {
	out := make(message.Texts)
	for _, m := range list {
		out[m.Code] = m.Text
	}
	return out
}

var parties = map[config.Party]opaque.Party{
	config.PartyHomeAgent:    opaque.HomeAgent,
	config.PartyForeignAgent: opaque.ForeignAgent,
	config.PartyMobileNode:   opaque.MobileNode,
}

// vendors are the extensions of RFC 3115.
func vendors(list []config.OpaqueExtension) []opaque.Extension {
	return extensions(list, mip4.ExtCVSE, mip4.ExtNVSE)
}

// experiments are the extensions of RFC 4064.
func experiments(list []config.OpaqueExtension) []opaque.Extension {
	return extensions(list, mip4.ExtExperimentalNonSkippable, mip4.ExtExperimentalSkippable)
}

func extensions(list []config.OpaqueExtension, critical, normal mip4.ExtType) (out []opaque.Extension) {
	for _, e := range list {
		x := opaque.Extension{
			Number: opaque.Number{Type: normal, Vendor: e.Vendor, Sub: e.Type},
			To:     parties[e.To], Value: e.Value, Deny: e.Deny,
		}
		if e.Critical {
			x.Type = critical
		}
		out = append(out, x)
	}
	return out
}
