// Package wireguard is the negotiation of encrypted tunnels. Mobile node and
// home agent tell each other their WireGuard public keys in the registration
// itself, behind its identification and before its authenticator, so that who
// can register can encrypt, and nobody in between can offer a key of his own:
//
//	normal vendor/organisation specific extension (134, RFC 3115)
//	vendor vendor.Careof, type Key, value: the sender's X25519 public key, 32 octets
//
// A mobile node that encrypts asks for a UDP tunnel (RFC 3519, F flag) and adds
// its key. A home agent that encrypts binds the UDP tunnel with WireGuard in it
// and answers with its own key; one that does not know the extension skips it,
// and the node, which was told to encrypt, takes that for a denial: nothing
// leaves in the clear because somebody on the way took an extension out, which
// the authenticator would show, or because the home agent was set back.
//
// The tunnel's ends are those of the registration and move with it alone. Which
// packets they hold, what WireGuard says to whom and when, is the data plane's
// (package tun). In the simulated world an encrypted tunnel is a UDP tunnel.
//
// What must not go in here: cryptography.
package wireguard
