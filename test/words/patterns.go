package words

// Patterns to avoid, first those of grammar, then words that have a common one.
var Patterns = []Pattern{
	{
		Match: `(?:is|are|was|were|be|been|being) no`, Allowed: `there (?:is|are|was|were|can be|has been) no|(?:is|are|was|were|be) no (?:longer|more|less|later|earlier|larger|smaller)`,
		Reason: "the verb is denied by its object", Instead: "is not a, is not an, is not",
		Bad: `"x" is no valid duration`, Good: `"x" is not a valid duration`,
	},
	{
		Match: `(?:is|are|was|were|be|what is) none|becomes? none`, Allowed: `there (?:is|are|was|were) none`,
		Reason: "the reader must find the noun that none stands for", Instead: "is not a, with the noun",
		Bad: "The webhook itself is none.", Good: "The webhook itself is not such a dependency.",
	},
	{
		Match: `whoever|whomever|who|whom`, Reason: "it stands for a program or a role that has a name", Instead: "the noun: client, issuer, administrator, people that",
		Bad: "Whoever may read the Secret has the key.", Good: "Every user that may read the Secret has the key.",
	},
	{
		Match: `somebody|someone|anybody|anyone|nobody|everybody|everyone`, Reason: "it stands for a program or a role that has a name", Instead: "the noun: a client, any user, no process, every tenant",
		Bad: "Nobody handles the signal.", Good: "No process handles the signal.",
	},
	{
		Match: `(?:is|are|was|were|be|been|being|not|it) (?:said|told)|told`, Reason: "passive, and used for signals, settings and messages alike", Instead: "notified (a process), set (a flag), reported, named",
		Bad: "Processes that were not told get SIGTERM.", Good: "Processes that were not notified yet get SIGTERM.",
	},
	{
		Match: `says? it with|say so with|says? (?:who|whom)`, Reason: "it does not name what is required", Instead: "X is required, set X",
		Bad: "which image holds the init? Say it with -init-image", Good: "-init-image or $PODINIT_INIT_IMAGE is required",
	},
	{
		Match: `which (?:it|they) (?:has|have)|what (?:is|are) none|that which|those which`, Reason: "the sentence needs a second reading", Instead: "its, their",
		Bad: "the credentials which it has", Good: "its credentials",
	},
	{
		Match: `errands?`, Reason: "a word of our own", Instead: "request",
		Bad: "one errand for each image", Good: "one request for each image",
	},
	{
		Match: `flights?`, Allowed: `(?:in|in-)flight|in flight`, Reason: "a word of our own", Instead: "request, lookup in flight",
		Bad: "a flight is shared", Good: "a lookup in flight is shared",
	},
	{
		Match: `accidents?`, Allowed: `by accident`, Reason: "a word of our own", Instead: "transient error",
		Bad: "an accident is not cached", Good: "a transient error is not cached",
	},
	{
		Match: `wish|wishes|wished`, Reason: "a word of our own", Instead: "request, annotation, setting",
		Bad: "the wish is ignored", Good: "the annotation is ignored",
	},
	{
		Match: `beside`, Reason: "it says where, not what", Instead: "Procfile process; next to, as well as, together with, compared with",
		Bad: "programs beside it", Good: "Procfile processes",
	},
	{
		Match: `strangers?`, Reason: "a word of our own", Instead: "unknown kinds, other users",
		Bad: "strangers are left out", Good: "unknown kinds are left out",
	},
	{
		Match: `credential programs?`, Reason: "Kubernetes has a name for it", Instead: "credential plugin",
		Bad: "the credential program fails", Good: "the credential plugin fails",
	},
	{
		Match: `(?:to|can|cannot|could) be had|be had`, Reason: "archaic", Instead: "is available, cannot be pulled",
		Bad: "an image that cannot be had", Good: "an image that cannot be pulled",
	},
	{
		Match: `the rest`, Allowed: `the rest of (?:the|this|that|your|its|an?)`, Reason: "the reader must find the noun", Instead: "remaining processes, the others",
		Bad: "the rest gets SIGTERM", Good: "the remaining processes get SIGTERM",
	},
	{
		Match:  `(?:tells?|telling|hands?|handed|handing|pass|passes|passing|passed) (?:a|the|every|each|its|that|this|all)?[ ]?signals?|signals? (?:is|are) (?:handed|passed)`,
		Reason: "three words for one act", Instead: "send, deliver, forward",
		Bad: "passes the signal on", Good: "forwards the signal",
	},
	{
		Match: `anew|lest|thereof|therein|whereof|hence`, Reason: "archaic", Instead: "again, so that not, of it, which is why",
		Bad: "make the pod anew", Good: "create the pod again",
	},
	{
		Match: `as (?:it|they) (?:came|comes|come)`, Reason: "the sentence needs a second reading", Instead: "unchanged",
		Bad: "the pod is admitted as it came", Good: "the pod is admitted unchanged",
	},
}

// Exceptions to the patterns.
var Exceptions = []Exception{
	{File: "docs/cli.md", Words: "nobody      SIGTERM reaches it", Reason: "output that shows a value which programs read"},
}
