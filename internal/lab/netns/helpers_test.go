package netns

var helpers = map[string]func() int{}
