package roles

import (
	"careof/internal/config"
	"careof/internal/core/aaa"
	"careof/internal/proto/mip4/feature/subscriber"
	"careof/internal/proto/mip4/standard"
)

// secret is what a node shares with AAA.
func secret(c *config.AAASecret) aaa.Secret {
	if c.Association == nil {
		return aaa.CHAP(c.Secret)
	}
	return aaa.Shared(c.Association)
}

// Book is what the [aaa] section's subscribers are to the driver "file".
func Book(c *config.AAA) aaa.Book {
	book := make(aaa.Book, len(c.Subscribers))
	for i := range c.Subscribers {
		s := &c.Subscribers[i]
		book[s.NAI] = aaa.Subscriber{
			Secrets: []aaa.Secret{secret(&s.AAASecret)},
			Grant:   aaa.Grant{HomeAddress: s.HomeAddress, Associations: s.Associations},
			Keys:    aaa.KeyPolicy{Lifetime: c.KeyLifetime},
		}
	}
	return book
}

// WithAAA has an agent's features ask AAA, where there is an [aaa] section.
func WithAAA(features standard.Config, c *config.AAA) standard.Config {
	if c != nil {
		features.Challenge.AAA, features.Challenge.Hold = true, c.Hold
		features.Subscribers = subscriber.Config{Authorise: true, Account: c.Accounting == config.On || c.Diameter != nil, Hold: c.Hold}
		if c.Diameter != nil {
			features.Challenge.Carried, features.Subscribers.Carried = true, true
		}
		on := c.Keys != config.AAAKeysOff
		features.Challenge.Keys, features.Subscribers.Keys = on, on
		features.Keys.Agent, features.Keys.Required = on, c.Keys == config.AAAKeysRequired
	}
	return features
}
