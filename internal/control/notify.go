package control

import (
	"context"
	"net/http"
)

// A Notifier tells peers something, for people there to read.
type Notifier interface {
	Notify(ctx context.Context, order NotifyOrder) (Notification, error)
}

// NotifyOrder is the body of POST /v1/notify.
type NotifyOrder struct {
	Node  string `json:"node,omitempty"`  // home address or NAI; at a mobile node none
	Agent bool   `json:"agent,omitempty"` // tell the agent at the other end, and not the node: see careof notify
	Text  string `json:"text"`            // 1 to 254 octets of UTF-8
}

// Notification is what came of a text that was sent.
type Notification struct {
	Direction string `json:"direction"` // from whom to whom
	Sent      int    `json:"sent"`      // how many times
	Answered  bool   `json:"answered"`
	Taken     bool   `json:"taken"`            // it was accepted
	Answer    string `json:"answer,omitempty"` // in words
	Over      bool   `json:"over"`             // it will not be sent again
}

var notifyRoutes = []Route{{
	Method: http.MethodPost, Path: "/v1/notify", Name: "notification", Body: NotifyOrder{}, Shape: Notification{},
	Doc: "Send a text to a node or an agent, for people to read (RFC 6098).",
	serve: with(func(o Notifier, w http.ResponseWriter, r *http.Request) {
		var body NotifyOrder
		if readBody(w, r, &body) {
			done, err := o.Notify(r.Context(), body)
			reply(w, "notification", done, err)
		}
	}),
}}

// Notify sends a text.
func (c *Client) Notify(ctx context.Context, order NotifyOrder) (Notification, error) {
	var done Notification
	return done, c.do(ctx, http.MethodPost, "/v1/notify", order, "notification", &done)
}
