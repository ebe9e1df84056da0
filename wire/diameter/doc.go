// Package diameter is the codec of the Diameter base protocol (RFC 6733) and of its Mobile IPv4 application (RFC 4004).
//
// A message is a header and a list of AVPs, in order; nothing that was received is dropped, known or not. The dictionary is a table
// ([Lookup]): number, name, data format, M bit. Constants of type [Code] are its rows, and they make AVPs:
//
//	m := diameter.NewRequest(diameter.AAMobileNode, diameter.MobileIPv4,
//		diameter.SessionID.Text("fa.visited.example;1;2"),
//		diameter.AuthApplicationID.Uint32(uint32(diameter.MobileIPv4)),
//		diameter.UserName.Text("alice@home.example"),
//		diameter.MIPRegRequest.Octets(request),
//		diameter.MIPMNAAAAuth.Group(
//			diameter.MIPMNAAASPI.Uint32(1000), …),
//		diameter.MIPFeatureVector.Uint32(uint32(diameter.MNHAKeyRequest)))
//	octets, err := m.Append(nil)
//
// Identifiers, Origin-Host and Origin-Realm are the sender's: internal/core/diameter sets them. Reading is framing, judging, asking:
//
//	m, err := diameter.Parse(octets)  // frames: lengths and padding; *Error when that fails
//	err = m.Check()                   // *Error: formats, M bits, how often each AVP may occur; with Result-Code and Failed-AVP
//	name, ok := m.Text(diameter.UserName)
//	auth, ok := m.Group(diameter.MIPMNAAAAuth) // a List again
//	spi, ok := auth.Uint32(diameter.MIPMNAAASPI)
//
// A getter returns false when there is no such AVP, or one that is not of that format; after Check only the first can be. An answer
// is made of its request, and an error makes its own answer:
//
//	a := m.Answer(diameter.Success, diameter.OriginHost.Text(host), …)
//	a = m.Refuse(err, diameter.OriginHost.Text(host), …) // E bit where the RFC wants it, Failed-AVP
//
// AVPs of a parsed message share its octets. Transport, peers and retransmission are not here.
//
//rfc:6733#3
//rfc:6733#4
package diameter
