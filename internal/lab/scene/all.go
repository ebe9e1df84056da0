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
		replay, flips, forged, strangers, nonces, redirect, rewritten, redundant,
		homeLink, pool, drained, drainedAbroad, fallen, steadfast, discovery, simultaneous, van,
		tour(encap.IPIP), tour(encap.GRE), tour(encap.Minimal),
		foreignCrash, visitorsOnly, visitByNAI, registrationRequired, encapsulating, foreignBehindNAT,
		silentMove, bogus,
		silentHole("default", time.Second), silentHole("fast", 250*time.Millisecond), loadedPath, narrowPath,
		twinModems, homePrefix, deafUplink,
		oneBox, overlapping, bogusBox, vanScene,
	}
}
