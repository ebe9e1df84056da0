package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"careof/internal/control"
	"careof/internal/core/engine"
	"careof/internal/host/drive"
	"careof/internal/proto/mip4/feature/notification"
	"careof/wire/mip4"
)

// Notify implements [control.Notifier]: of the roles here, the first that knows
// the node tells it.
func (d *daemon) Notify(ctx context.Context, order control.NotifyOrder) (control.Notification, error) {
	what := notification.Notify{Agent: order.Agent, Text: order.Text}
	roles := []*drive.Driver{d.home, d.foreign}
	if order.Node == "" {
		roles = []*drive.Driver{d.mobile}
	} else {
		who, err := named(order.Node)
		if err != nil {
			return control.Notification{}, err
		}
		what.Node = who
	}
	err := fmt.Errorf("%w: no role of this daemon could tell it (a mobile node names nobody, agents name the node)", control.ErrNotFound)
	for _, role := range roles {
		if role == nil {
			continue
		}
		var answers []any
		if answers, err = role.Command(ctx, what); err == nil {
			return told(answers), nil
		}
		for of, kind := range map[error]error{notification.ErrNotFound: control.ErrNotFound, notification.ErrCannot: control.ErrInvalid} {
			if errors.Is(err, of) {
				err = fmt.Errorf("%w: %s", kind, strings.TrimPrefix(err.Error(), of.Error()+": "))
			}
		}
		if !errors.Is(err, control.ErrNotFound) {
			break
		}
	}
	return control.Notification{}, err
}

func told(answers []any) (out control.Notification) {
	for _, a := range answers {
		if r, ok := a.(notification.Report); ok {
			out = control.Notification{
				Direction: r.Direction.String(), Sent: r.Sent, Answered: r.Answered,
				Taken: r.Answered && r.Code == mip4.NotificationAccepted, Over: r.Over,
			}
			if r.Answered {
				out.Answer = r.Code.String()
			}
		}
	}
	return out
}

// directionOf tells a notification or its acknowledgement, and from whom to whom
// it goes (RFC 6098 section 4.1).
func directionOf(p engine.Packet) (mip4.Direction, bool) {
	if len(p.Data) < 2 || mip4.MessageType(p.Data[0]) != mip4.TypeNotification && mip4.MessageType(p.Data[0]) != mip4.TypeNotificationAck {
		return 0, false
	}
	return mip4.Direction(p.Data[1]), true
}

// toMobileNode tells whether a message is a notification for a mobile node.
func toMobileNode(p engine.Packet) bool {
	to, is := directionOf(p)
	return is && (to == mip4.HomeAgentToMobileNode || to == mip4.ForeignAgentToMobileNode)
}

// ofVisitor tells whether a message is a visitor's notification.
func ofVisitor(p engine.Packet) bool {
	from, is := directionOf(p)
	return is && (from == mip4.MobileNodeToHomeAgent || from == mip4.MobileNodeToForeignAgent)
}

// notifiesForeign tells whether a notification that came to one of our addresses
// is for the foreign agent: about a visitor, to its care-of address.
func (d *daemon) notifiesForeign(p engine.Packet) bool {
	to, is := directionOf(p)
	return is && (to == mip4.HomeAgentToMobileNode || to == mip4.HomeAgentToForeignAgent) &&
		slices.Contains(d.cfg.ForeignAgent.CareOfAddresses, p.Dst.Addr()) && p.Dst.Port() == d.cfg.ForeignAgent.Port
}
