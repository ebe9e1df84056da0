package aaa

import (
	"errors"
	"fmt"
	"io"

	"careof/internal/core/ident"
)

// A Subscriber is what is known of a node.
type Subscriber struct {
	Secrets []Secret // shared with it
	Grant   Grant
	Keys    KeyPolicy // what keys are made for it
}

// A Book answers questions from what is written in it: the nodes of a
// configuration, without any server.
type Book map[ident.NAI]Subscriber

// Answer answers an [Authenticate] or an [Authorise]; [Account] is heard and
// forgotten. Other questions are refused. random is for the keys that are wanted
// with an answer; nil: none are made.
func (b Book) Answer(question any, random io.Reader) (Grant, error) {
	switch q := question.(type) {
	case Authenticate:
		s, known := b[q.NAI]
		if !known {
			return Grant{}, fmt.Errorf("aaa: %s: %w", q.NAI, ErrRejected)
		}
		for _, secret := range s.Secrets {
			if !secret.Verify(q.Proof) {
				continue
			}
			g := s.Grant
			if random != nil {
				keys, err := s.Keys.Make(secret, Identity(q.NAI, q.HomeAddress), q.Wishes, random)
				if err != nil {
					return Grant{}, err
				}
				g.Keys = keys
			}
			return g, nil
		}
		return Grant{}, fmt.Errorf("aaa: %s: wrong Mobile-AAA authenticator: %w", q.NAI, ErrRejected)
	case Authorise:
		s := b[q.NAI]
		for _, a := range s.Grant.Associations {
			if a.SPI() == q.SPI {
				return s.Grant, nil
			}
		}
		return Grant{}, fmt.Errorf("aaa: %s: no association with SPI %d: %w", q.NAI, q.SPI, ErrRejected)
	case Account:
		return Grant{}, nil
	}
	return Grant{}, errors.New("aaa: no such question")
}
