package scene

// All lists the scenes.
func All() []*Scene {
	return []*Scene{
		breakBeforeMake, makeBeforeBreak, natAndBack, natRebinding, blackHole, loss,
	}
}
