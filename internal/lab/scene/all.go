package scene

// All lists the scenes.
func All() []*Scene {
	return []*Scene{
		breakBeforeMake, makeBeforeBreak, natAndBack, natRebinding, blackHole, loss,
		crash, reboot, mobileCrash, clocks, brokenDisk, failedUndo,
		replay, flips, forged, strangers, nonces,
		homeLink, pool, discovery, simultaneous,
	}
}
