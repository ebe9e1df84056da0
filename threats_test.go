package careof_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// A threat is what somebody may do to those who use careof, with the tests that
// show what comes of it; or why there is no defence yet.
type threat struct {
	name, what string
	scenes     []string // of the laboratory
	tests      []string // package folder, a point, the test
	open       string   // what is not defended, in words
}

// threats are all that the project knows of, in one place: docs/security.md says
// how users meet them.
var threats = []threat{
	{
		name: "T01", what: "a registration is replayed, or comes late, and the binding goes back",
		scenes: []string{"replay"},
		tests: []string{
			"internal/proto/mip4/ha.TestCornerE02_ReplayAfterARestart",
			"internal/proto/mip4/ha.TestBindingNeverRegresses",
			"internal/core/assoc.TestAMarkNeverGoesBack",
		},
	},
	{
		name: "T02", what: "a registration is forged or changed on its way",
		scenes: []string{"bit-flips"},
		tests: []string{
			"internal/proto/mip4/ha.TestNoBitCanBeFlipped",
			"internal/proto/mip4/ha.TestStrangersGetSilence",
		},
	},
	{
		name: "T03", what: "somebody on the path rewrites the outer source, and the data goes there",
		scenes: []string{"rewritten-source"},
		tests: []string{
			"internal/proto/mip4/standard.TestARewrittenSourceGetsAReplyAndLittleElse",
		},
		open: "with path-validation off, or a peer that knows nothing of it, data follows a rewritten source until the next registration",
	},
	{
		name: "T04", what: "a forged keepalive completes a tunnel",
		tests: []string{
			"internal/proto/mip4/feature/natt.TestHalfBound",
			"internal/host/plane/tun.TestHalfBound",
		},
	},
	{
		name: "T05", what: "tunnels are opened for anybody: open decapsulators and relays",
		scenes: []string{"strangers"},
		tests: []string{
			"internal/host/lan.TestNobodyOnAVisitedLinkReachesTheRouterInItsNetwork",
			"internal/host/lan.TestAnEncryptedNodeTakesNothingBesideItsTunnel",
			"internal/host/plane/planetest.TestUserSpace",
			"internal/host/plane/bpf.TestConformance",
			"internal/lab/check.TestOpenDecapsulatorIsFound",
		},
	},
	{
		name: "T06", what: "a node sends from addresses that are not its own",
		tests: []string{
			"internal/host/plane/tun.TestInnerAddressesAreTheBindings",
			"internal/proto/mip4/standard.TestWhatIsNotInThePrefixTableIsNotServed",
		},
	},
	{
		name: "T07", what: "one packet becomes many by simultaneous bindings",
		tests: []string{
			"internal/proto/mip4/standard.TestManyCareOfAddressesBringNoAmplification",
			"internal/proto/mip4/ha.TestCode1WhenSimultaneousBindingsAreUnsupported",
		},
	},
	{
		name: "T08", what: "a node has its data sent to a victim",
		scenes: []string{"redirect-flood"},
		tests: []string{
			"internal/proto/mip4/standard.TestANewAddressIsSentLittleUntilItAnswers",
		},
		open: "a node that knows nothing of path validation, unless it is required",
	},
	{
		name: "T09", what: "packets go in a circle between agents",
		tests: []string{
			"wire/encap.TestLoopsAreNotTunnelled",
			"internal/host/plane/tun.TestLoopsAreRefused",
			"internal/host/plane/tun.TestNestedNetworksAndCircles",
		},
	},
	{
		name: "T10", what: "a revocation is forged, replayed or thrown back",
		tests: []string{
			"internal/proto/mip4/feature/revoke.TestOldRevocationsAreIgnored",
			"internal/proto/mip4/feature/revoke.TestAnIdentifierFromTheFutureIsIgnored",
			"internal/proto/mip4/feature/revoke.TestTheAgentBitIsChecked",
		},
	},
	{
		name: "T11", what: "somebody on the visited link advertises as an agent",
		scenes: []string{"bogus-foreign-agent", "bogus-agent"},
		tests: []string{
			"internal/proto/mip4/mn.TestBogusAgentInterruptsNothing",
		},
	},
	{
		name: "T12", what: "a foreign agent's lists are flooded",
		tests: []string{
			"internal/proto/mip4/fa.TestAGoodNodeRegistersDuringAFlood",
			"internal/proto/mip4/fa.TestAFloodOfForgedRequestsIsBounded",
			"internal/lab/flood.TestForgeriesLeaveNothingBehind",
		},
	},
	{
		name: "T13", what: "a home agent's room, pools and questions to AAA are used up",
		tests: []string{
			"internal/daemon.TestAMillionStrangersReachTheServerNoFasterThanTheCap",
			"internal/proto/mip4/standard.TestARenewalDoesNotWaitForADeadServer",
			"internal/proto/mip4/ha.TestPoolExhaustion",
		},
	},
	{
		name: "T14", what: "bad authenticators burn the processor",
		tests: []string{
			"internal/host/drive.TestRenewalsAreHeardFirstAndWhenStrangersFillTheirRoom",
			"internal/lab/load.TestForgedTrafficMovesNothingAndRealTrafficGoesOn",
		},
	},
	{
		name: "T15", what: "replies are reflected at a victim, or are longer than what asks for them",
		tests: []string{
			"internal/proto/mip4/ha.TestStrangersGetSilence",
			"internal/proto/mip4/ha.TestDenials",
			"internal/proto/mip4/fa.TestCornerE20_OneDenialASecond",
		},
	},
	{
		name: "T16", what: "forged ICMP errors narrow a tunnel, or deny a registration",
		scenes: []string{"narrow-path"},
		tests: []string{
			"internal/host/plane/tun.TestForgedTooBig",
			"internal/host/plane/tun.TestWhatProbesContradictIsNotBelieved",
			"internal/lab/live.TestAForgedTooBigMakesNoTunnelNarrow",
			"internal/proto/mip4/fa.TestICMPErrorsOnTheWayToTheHomeAgent",
		},
	},
	{
		name: "T17", what: "ARP on the home link is answered for what nobody may have",
		scenes: []string{"home-link"},
		tests: []string{
			"internal/proto/mip4/ha.TestCornerE08_InterceptionFollowsTheBinding",
			"internal/proto/mip4/ha.TestConfigurationIsChecked",
		},
	},
	{
		name: "T18", what: "a subscriber takes another one's home address",
		tests: []string{
			"internal/proto/mip4/ha.TestAKeyOpensNobodyElsesBinding",
		},
	},
	{
		name: "T19", what: "a mobile router claims prefixes that are not its own",
		tests: []string{
			"internal/proto/mip4/feature/mobilenetwork.TestACodeForEachPrefix",
			"internal/proto/mip4/feature/mobilenetwork.TestWhoMayBeARouter",
		},
	},
	{
		name: "T20", what: "clocks jump, or start in 1970; code 133 is forged",
		scenes: []string{"clock-jumps", "mobile-node-crash", "forged-133"},
	},
	{
		name: "T21", what: "messages that no parser should see",
		tests: []string{
			"wire/mip4.TestCornerE05_ListsOfExtensions",
			"wire/adv4.TestTruncatedMessagesNeverParseAsWhole",
			"wire/mip4.FuzzParse",
			"wire/adv4.FuzzAdv4",
			"wire/encap.FuzzPullIP",
			"wire/encap.FuzzPullUDP",
			"wire/diameter.FuzzParse",
		},
	},
	{
		name: "T22", what: "a queue is full of what never goes",
		tests: []string{
			"internal/lab/load.TestTheWatchdogIsFedOnlyWhileTheCanarySings",
			"internal/lab/load.TestForgedTrafficMovesNothingAndRealTrafficGoesOn",
		},
	},
	{
		name: "T23", what: "data is read on the way",
		tests: []string{
			"internal/daemon.TestAnEncryptedTunnel",
		},
		open: "encapsulations but wireguard leave data as it is",
	},
	{
		name: "T24", what: "packets leave beside the tunnel",
		scenes: []string{"mobile-router"},
		tests: []string{
			"internal/host/plane.TestFailClosed",
			"internal/host/plane.TestIPv6DoesNotLeak",
			"internal/host/plane.TestWhatBindsToAnUplinkDoesNotLeak",
			"internal/daemon.TestNoProgramLeaksBesideADaemon",
			"internal/daemon.TestTheGuardHoldsUntilTheDaemonRuns",
		},
		open: "between a boot and the daemon's start the host sends as any other does, unless careof-guard is enabled",
	},
	{
		name: "T25", what: "a crash leaves routes, rules, ARP entries and tunnels behind",
		tests: []string{
			"internal/lab/load.TestKillAtRandomPointsLeavesTheStateOfAFreshStart",
			"internal/host/route.TestReconcileAfterAKill",
			"internal/host/plane.TestRestartAfterAKill",
		},
	},
	{
		name: "T26", what: "two home agents serve one home address",
		scenes: []string{"ha-dies"},
		tests: []string{
			"internal/proto/mip4/standard.TestAHomeAgentThatRoseLetsGoOfWhoHasMovedOn",
		},
		open: "home agents of a pool that cannot reach each other are not told apart by an epoch: each serves the nodes that register with it",
	},
	{
		name: "T27", what: "answers of AAA are forged",
		tests: []string{
			"internal/host/aaa.TestAForgedAnswerIsRefused",
			"internal/lab/live.TestANodeOfFreeRADIUSMovesIsCountedAndEjected",
			"internal/core/diameter.TestSecretsGoOverTLSOrNotAtAll",
		},
	},
	{
		name: "T28", what: "filters of sources swallow what is right",
		tests: []string{
			"internal/daemon/doctor.TestEveryCheckFindsWhatIsWrong",
			"internal/daemon/doctor.TestWrongSettingsOfARealHostAreFound",
			"internal/daemon.TestAForeignAgentServesAVisitor", // whose router filters
		},
	},
	{
		name: "T29", what: "a request for any home agent is copied to several",
		tests: []string{
			"internal/proto/mip4/standard.TestACapturedRequestIsGoodForOneHomeAgent",
		},
	},
	{
		name: "T30", what: "nodes are followed by the names in their requests",
		open: "registrations name the node in the clear: there are no pseudonyms",
	},
	{
		name: "T31", what: "keys are made and carried by hand",
		tests: []string{
			"internal/enrol.TestANodeJoinsOnce",
			"internal/enrol.TestAnImpostorLearnsNothing",
			"internal/proto/mip4/ha.TestTenThousandKeysAreRotatedLive",
		},
	},
	{
		name: "T32", what: "what a flaw in the program could reach",
		tests: []string{
			"packaging.TestTheUnitsAreASandbox",
			"packaging.TestTheUnitsCapabilitiesAreEnough",
			"packaging.TestAPackageIsTheSameEveryTime",
		},
		open: "what parses strangers' messages is not a process of its own",
	},
}

// Every threat has its tests, or a reason why there is none.
func TestThreatsAreListed(t *testing.T) {
	there, played := tests(t), scenes(t)
	for i, c := range threats {
		if want := fmt.Sprintf("T%02d", i+1); c.name != want {
			t.Errorf("%s stands where %s belongs", c.name, want)
		}
		if len(c.tests)+len(c.scenes) == 0 && c.open == "" {
			t.Errorf("%s (%s): neither a test nor a reason", c.name, c.what)
		}
		for _, name := range c.tests {
			if !there[name] {
				t.Errorf("%s (%s): there is no test %s", c.name, c.what, name)
			}
		}
		for _, name := range c.scenes {
			if !slices.Contains(played, name) {
				t.Errorf("%s (%s): there is no scene %s", c.name, c.what, name)
			}
		}
	}
}

var sceneName = regexp.MustCompile(`(?m)^\tName: +"([a-z0-9-]+)"`)

// scenes are the names of all scenes.
func scenes(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("internal/lab/scene/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range sceneName.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names
}
