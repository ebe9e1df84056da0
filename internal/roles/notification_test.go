package roles

import (
	"testing"
	"time"

	"careof/internal/config"
	"careof/internal/proto/mip4/feature/notification"
)

// TestNotificationsReachEveryRole: the keys of all three sections do.
//
//rfc:6098#4.4
func TestNotificationsReachEveryRole(t *testing.T) {
	want := notification.Config{Off: true, First: 2 * time.Second, Longest: time.Minute}
	keys := config.Notifying{Notifications: config.Off, NotificationWait: want.First, NotificationLongest: want.Longest}
	_, home := HomeAgent(&config.HomeAgent{Notifying: keys})
	_, foreign := ForeignAgent(&config.ForeignAgent{Notifying: keys}, nil)
	_, mobile := MobileNode(&config.MobileNode{Notifying: keys})
	for role, got := range map[string]notification.Config{"home agent": home.Notification, "foreign agent": foreign.Notification, "mobile node": mobile.Notification} {
		if got != want {
			t.Errorf("%s: %+v", role, got)
		}
	}
}
