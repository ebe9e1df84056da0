package config

import "time"

// A Notifying is what each of the three roles says of its notifications.
type Notifying struct {
	Notifications       Switch
	NotificationWait    time.Duration // first, between retransmissions
	NotificationLongest time.Duration
}

// notificationWait is the kind of a time between retransmissions: "The minimum
// time between GNMs MUST NOT be less than 1 second" (RFC 6098 section 4.3).
var notificationWait = Duration(time.Second, time.Hour)

// What the three roles say of their keys for notifications.
var (
	notificationsHelp = Help{
		Default: `"on"`,
		Doc: "Whether texts of the peers' operators are taken, shown and acknowledged, and can be sent (RFC 6098, careof notify). They\n" +
			"are signed and change nothing. Off ignores them, like a peer that does not know them.",
	}
	notificationWaitHelp = Help{
		Default: `"1s"`,
		Doc:     "How long an unanswered notification waits before it is sent again, at first; the wait doubles.",
	}
	notificationLongestHelp = Help{
		Default: `"32s"`,
		Doc:     "The longest time between two retransmissions of a notification.",
	}
)
