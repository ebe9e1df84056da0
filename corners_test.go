package careof_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A corner is something that implementations of Mobile IP cut, or that the text
// had to settle, and the tests here that notice when it is cut.
type corner struct {
	name  string   // as in the tests' names
	what  string   // what is cut
	tests []string // package folder, a point, the test
}

// corners are all of them, in one place.
var corners = []corner{
	{"E01", "Foreign-Home authentication is optional, or added where it must not be", []string{
		"internal/proto/mip4/ha.TestCornerE01_ForeignHomeAuthentication",
		"internal/proto/mip4/fa.TestWhenThe34IsAppended",
	}},
	{"E02", "replays work after a restart; a forged 133 moves the clock", []string{
		"internal/proto/mip4/ha.TestCornerE02_ReplayAfterARestart",
		"internal/proto/mip4/mn.TestCornerE02_AForged133MovesNoClock",
	}},
	{"E03", "denials without a new nonce; repeats that are answered with 133", []string{
		"internal/proto/mip4/ha.TestCornerE03_NoncesAndRepeats",
		"internal/proto/mip4/mn.TestCornerE03_RetransmissionUnderNonces",
	}},
	{"E04", "a foreign agent strips or covers what it must not, or forwards what is for itself", []string{
		"internal/proto/mip4/fa.TestCornerE04_WhatPassesAForeignAgent",
		"wire/mip4.TestRelayedRequest",
	}},
	{"E05", "unknown extensions below 128 are skipped; padding ends the list; long formats are read as short", []string{
		"wire/mip4.TestCornerE05_ListsOfExtensions",
		"internal/proto/mip4/fa.TestCornerE05_UnknownExtensions",
		"internal/proto/mip4/mn.TestCornerE05_UnknownExtensionsInReplies",
		"internal/proto/mip4/ha.TestUnknownExtensions",
	}},
	{"E06", "simultaneous bindings that replace each other, or go together", []string{
		"internal/proto/mip4/ha.TestCornerE06_SimultaneousBindings",
		"internal/host/plane/tun.TestSimultaneousBindingsGetACopyEach",
	}},
	{"E07", "broadcasts: no B bit, not nested for a foreign agent's care-of address, unwrapped twice", []string{
		"internal/host/plane/tun.TestCornerE07_AForeignAgentUnwrapsOnce",
		"internal/host/plane/planetest.TestUserSpace", // its duties about broadcasts and multicast
	}},
	{"E08", "ARP: none on return, in the wrong order, for nodes that are not bound, changed by a rejection", []string{
		"internal/proto/mip4/ha.TestCornerE08_InterceptionFollowsTheBinding",
		"internal/proto/mip4/mn.TestCornerE08_OrderOfReturning",
	}},
	{"E09", "lifetimes: from the reply, longer than asked, extended by repeats, 65535 as a number", []string{
		"internal/proto/mip4/ha.TestCornerE09_Lifetimes",
		"internal/proto/mip4/mn.TestCornerE09_ALateReplyGivesLess",
	}},
	{"E10", "a pending request overwrites the visit; no 78; no 80 to 88; tunnel packets for strangers are routed", []string{
		"internal/proto/mip4/fa.TestCornerE10_AVisitAndWhatIsPending",
		"internal/host/plane/tun.TestCornerE10_APacketForNoVisitorGoesNowhere",
		"internal/host/visit.TestVisitsComeMoveAndGo",
	}},
	{"E11", "reverse tunnels without the checks of TTL and of inner and outer source, delivery styles without 79", []string{
		"internal/proto/mip4/fa.TestCornerE11_ReverseTunnelRequests",
		"internal/host/plane/tun.TestCornerE11_TheHomeAgentChecksInnerAndOuterSource",
	}},
	{"E12", "NAT: replies and data to other ports, keepalives from anywhere, no registration when they are lost", []string{
		"internal/proto/mip4/feature/natt.TestCornerE12_WhereUDPTunnelsEnd",
		"internal/proto/mip4/standard.TestLostMapping",
		"internal/host/plane/tun.TestEveryPartOfATunnelMustMatch",
	}},
	{"E13", "the reply to a returning node goes through the stale tunnel, or comes from another address", []string{
		"internal/proto/mip4/ha.TestCornerE13_WhereRepliesComeFromAndGo",
	}},
	{"E14", "ICMP in tunnels is lost, headers are not checked", []string{
		"wire/encap.TestCornerE14_HeadersAndErrorsOfTunnels",
		"wire/encap.TestTooBigTellsTheTunnelMTUMinusTheEncapsulation",
		"internal/host/plane/tun.TestForgedTooBig",
		"internal/host/plane/tun.TestSoftStateWithoutAnInnerHeader",
		"internal/host/plane/planetest.TestUserSpace",
	}},
	{"E15", "challenges: one at a time, lost to a flood, remembered for each request, taken twice", []string{
		"internal/proto/mip4/standard.TestAFloodTakesNoChallengeAway",
		"internal/proto/mip4/standard.TestARetransmissionMayRepeatItsChallenge",
		"internal/proto/mip4/standard.TestAReplayedChallengeIsRefused",
		"internal/proto/mip4/standard.TestAWrongChallengeInTheReply",
	}},
	{"E16", "revocations: replayed, thrown back, sent once, never told to the node", []string{
		"internal/proto/mip4/feature/revoke.TestOldRevocationsAreIgnored",
		"internal/proto/mip4/feature/revoke.TestTheAgentBitIsChecked",
		"internal/proto/mip4/feature/revoke.TestALostAnswerMakesItAskAgain",
		"internal/proto/mip4/feature/revoke.TestADirectNodeIsTold",
		"internal/proto/mip4/feature/revoke.TestAVisitorMustNotOfferIt",
	}},
	{"E17", "advertisements: numbers roll over to 0, B or R without F, H everywhere", []string{
		"internal/proto/mip4/advertise.TestCornerE17_Advertisements",
		"internal/proto/mip4/mn.TestForeignAgentReboots",
	}},
	{"E18", "mobile networks: prefixes that nobody listed, inner sources unchecked, stale prefixes kept", []string{
		"internal/proto/mip4/standard.TestWhatIsNotInThePrefixTableIsNotServed",
		"internal/proto/mip4/standard.TestANetworkThatIsNotNamedAnyMoreGoes",
		"internal/proto/mip4/standard.TestAMobileRouterHasAReverseTunnel",
		"internal/host/plane/tun.TestInnerAddressesAreTheBindings",
	}},
	{"E19", "AAA: keys in the clear, without an end, sessions that nobody ends, replies without a nonce", []string{
		"internal/core/realm.TestKeysGoOverProtectedConnectionsAlone",
		"internal/proto/mip4/standard.TestAKeyThatHasEndedOpensNothing",
		"internal/host/aaa.TestSessionsAreToldOfAndTerminated",
		"internal/proto/mip4/standard.TestForgedNoncesChangeNothing",
	}},
	{"E20", "no limit of rates: flapping links, denials, answers to replays", []string{
		"internal/proto/mip4/mn.TestCornerE20_AFlappingLinkMakesFewRequests",
		"internal/proto/mip4/fa.TestCornerE20_OneDenialASecond",
		"internal/proto/mip4/ha.TestCornerE20_ReplaysAreNotAnsweredOneByOne",
	}},

	// The issues with RFC 3344 of the working group's tracker.
	{"Issue09", "a foreign agent denies with a home agent's code 136", []string{"internal/proto/mip4/fa.TestIssue09_AForeignAgentDoesNotDenyWith136"}},
	{"Issue17", "a home agent accepts for an address that is not its own", []string{"internal/proto/mip4/ha.TestIssue17_RequestsForOthersAreRejected"}},
	{"Issue18", "a foreign agent denies with a home agent's code 137", []string{"internal/proto/mip4/fa.TestIssue18_AForeignAgentDoesNotDenyWith137"}},
	{"Issue19", "of several authorization-enabling extensions one is enough", []string{"internal/proto/mip4/ha.TestIssue19_AllAuthorizationEnablingExtensionsAreChecked"}},
	{"Issue20", "a foreign agent judges the mobile node's authenticator", []string{"internal/proto/mip4/fa.TestIssue20_AForeignAgentDoesNotJudgeExtension32"}},
	{"Issue21", "a foreign agent relays no further than extension 32", []string{"internal/proto/mip4/fa.TestIssue21_OtherAuthorizationsAreRelayed"}},
}

var (
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	cornerTest   = regexp.MustCompile(`^Test(?:Corner(E\d\d)|(Issue\d\d))_`)
)

// Every corner has its tests, and every test that bears a corner's name is in
// the list.
func TestCornersAreListed(t *testing.T) {
	there := tests(t)
	listed := map[string]string{}
	for _, c := range corners {
		for _, name := range c.tests {
			listed[name] = c.name
			if !there[name] {
				t.Errorf("%s (%s): there is no test %s", c.name, c.what, name)
			}
		}
	}
	for name := range there {
		_, function, _ := strings.Cut(name, ".")
		if m := cornerTest.FindStringSubmatch(function); m != nil && listed[name] != m[1]+m[2] {
			t.Errorf("%s is not listed under %s", name, m[1]+m[2])
		}
	}
	for i := 1; i <= 20; i++ {
		name := fmt.Sprintf("E%02d", i)
		if !slices.ContainsFunc(corners, func(c corner) bool { return c.name == name }) {
			t.Errorf("%s is not listed", name)
		}
	}
}

// tests are all tests and fuzz targets of the module, as "folder.Test".
func tests(t *testing.T) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			there[filepath.ToSlash(filepath.Dir(path))+"."+string(m[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}
