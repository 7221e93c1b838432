package options

// Platform is what runs on one platform, where an image runs something else on each:
//
//	--platform=OS/ARCHITECTURE[/VARIANT]:COUNT[:SIGNAL] word...
//
// Platforms follow the flags and end with "--". COUNT words belong to each; they are counted, so they may be anything.
// What runs on a platform are its words and then those after "--".
type Platform struct {
	// Name as in image indexes, such as linux/arm/v7.
	Name string
	// Words is how many of the words after the flag belong to it.
	Words int
	// StopSignal overrides Options.StopSignal, unless it is 0.
	StopSignal Signal
}

const platformFlag = "--platform"

const (
	wantPlatform = "a platform, the number of its words and perhaps its stop signal, such as linux/arm64:2 or linux/arm/v7:2:SIGQUIT"
	wantWords    = "fewer words follow than its count says"
	wantEnd      = "another --platform, or the -- that ends them"
)

// IsPlatform reports whether a word begins a platform.
func IsPlatform(word string) bool {
	return hasPrefix(word, platformFlag) && (len(word) == len(platformFlag) || word[len(platformFlag)] == '=')
}

// HasPlatforms reports whether platforms follow the n words that Parse has read. After "--" there is only the program.
func HasPlatforms(words []string, n int) bool {
	return n < len(words) && IsPlatform(words[n]) && (n == 0 || words[n-1] != "--")
}

// NextPlatform reads the platform at words[at]; its words are words[at+1:next]. After the last one its Name is empty, and
// the common words are words[next:].
func NextPlatform(words []string, at int) (p Platform, next int, problem Problem) {
	switch {
	case at >= len(words):
		return Platform{}, at, Problem{Flag: platformFlag, Want: "the -- that ends the platforms is missing"}
	case words[at] == "--":
		return Platform{}, at + 1, Problem{}
	case !IsPlatform(words[at]):
		return Platform{}, at, Problem{Flag: platformFlag, Word: words[at], Want: wantEnd}
	}
	_, value, _ := cut(words[at], '=')
	name, rest, counted := cut(value, ':')
	count, signal, signalled := cut(rest, ':')
	p.Name = name
	ok := counted && name != ""
	if ok {
		p.Words, ok = parseNumber(count, 1<<20)
	}
	if ok && signalled {
		p.StopSignal, ok = ParseSignal(signal)
	}
	if !ok {
		return Platform{}, at, Problem{Flag: platformFlag, Word: value, Want: wantPlatform}
	}
	if next = at + 1 + p.Words; next > len(words) {
		return Platform{}, at, Problem{Flag: words[at], Want: wantWords}
	}
	return p, next, Problem{}
}

// Machine is the machine that an init runs on.
type Machine struct {
	// Architecture that the init was built for, in Go's names.
	Architecture string
	// ARM is the version of a 32-bit ARM, 5 to 7.
	ARM int
}

// Choice is the platform that a machine runs.
type Choice struct {
	Platform
	// First is the position of its words, and Rest that of the common words.
	First, Rest int
	// Lost: no platform matches, though some have words.
	Lost bool
}

// Choose finds the platform that fits a machine best, of those that follow the n words that Parse has read.
func Choose(words []string, n int, m Machine) (c Choice, problem Problem) {
	c.First, c.Rest = n, n
	if !HasPlatforms(words, n) {
		return c, Problem{}
	}
	best := unfit
	haveWords := false
	for {
		p, next, problem := NextPlatform(words, c.Rest)
		if problem.Any() {
			return Choice{}, problem
		}
		if p.Name == "" {
			c.Rest, c.Lost = next, haveWords && best == unfit
			return c, Problem{}
		}
		haveWords = haveWords || p.Words > 0
		if d := m.distance(p.Name); d < best {
			best = d
			c.Platform, c.First = p, c.Rest+1
		}
		c.Rest = next
	}
}

// unfit is the distance of a platform that cannot run, and otherVariant that of a variant that may not.
const (
	unfit        = 100
	otherVariant = 50
	otherWidth   = 20 // a 32-bit platform on a 64-bit machine
)

// distance is how far a platform is from this machine's own. Container runtimes choose so
// (github.com/containerd/platforms, platformVector): the newest variant that the machine can run, and without any for this
// architecture its 32-bit one. A newer variant is better than none: the image was pulled, so
// the node's runtime expects that it can run.
func (m Machine) distance(name string) int {
	os, name, _ := cut(name, '/')
	architecture, variant, _ := cut(name, '/')
	if os != "linux" {
		return unfit
	}
	version := 0
	if len(variant) == 2 && variant[0] == 'v' {
		version = int(variant[1]) - '0'
	}
	further, newest := 0, 0
	switch {
	case architecture == "arm" && m.Architecture == "arm":
		newest = m.ARM
	case architecture == "arm" && m.Architecture == "arm64":
		further, newest = otherWidth, 8
	case architecture == "386" && m.Architecture == "amd64":
		return otherWidth
	case architecture != m.Architecture:
		return unfit
	case variant == "", architecture == "arm64" && variant == "v8", architecture == "amd64" && variant == "v1":
		return 0
	default:
		return otherVariant
	}
	if variant == "" {
		version = 7 // what ARM is without a variant
	}
	if version < 5 || version > newest {
		return further + otherVariant
	}
	return further + newest - version
}
