package scene

import (
	"time"

	"careof/wire/encap"
)

// All lists the scenes.
func All() []*Scene {
	return []*Scene{
		breakBeforeMake, makeBeforeBreak, natAndBack, natRebinding, natSwallowing, blackHole, loss,
		crash, reboot, mobileCrash, clocks, brokenDisk, failedUndo,
		replay, flips, forged, strangers, nonces, redirect, rewritten, redundant, redundantEncrypted,
		homeLink, pool, drained, drainedAbroad, fallen, steadfast, discovery, simultaneous, van,
		tour(encap.IPIP), tour(encap.GRE), tour(encap.Minimal),
		foreignCrash, visitorsOnly, visitByNAI, registrationRequired, encapsulating, foreignBehindNAT,
		silentMove, bogus,
		silentHole("default", time.Second), silentHole("fast", 130*time.Millisecond), silentHole("fast", 130*time.Millisecond, "encrypted", "encapsulation = \"wireguard\"\npath-validation = \"on\"\n"),
		loadedPath, loadedPathFast, narrowPath,
		twinModems, homePrefix, deafUplink,
		oneBox, overlapping, bogusBox, vanScene,
	}
}
