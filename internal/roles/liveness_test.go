package roles

import (
	"testing"
	"time"

	"careof/internal/config"
	"careof/internal/proto/mip4/feature/liveness"
)

// TestHowLongAHomeAgentMayBeSilent: by the profile, unless it is said.
func TestHowLongAHomeAgentMayBeSilent(t *testing.T) {
	for _, c := range []struct {
		node config.MobileNode
		want liveness.Config
	}{
		{config.MobileNode{}, liveness.Config{Limit: liveness.DefaultLimit}},
		{config.MobileNode{Profile: config.ProfileFast}, liveness.Config{Limit: liveness.FastLimit}},
		{config.MobileNode{Profile: config.ProfileBattery}, liveness.Config{Limit: liveness.BatteryLimit}},
		{config.MobileNode{Profile: config.ProfileOff}, liveness.Config{}},
		{config.MobileNode{Profile: config.ProfileOff, HomeAgentTimeout: 20 * time.Second}, liveness.Config{Limit: 20 * time.Second, Exactly: true}},
		{config.MobileNode{HomeAgentTimeout: -1}, liveness.Config{}},
	} {
		if _, got := MobileNode(&c.node); got.Liveness != c.want {
			t.Errorf("%+v: %+v, want %+v", c.node.Profile, got.Liveness, c.want)
		}
	}
}
