package imageconfig

import "strings"

// imageKey is an image at an endpoint, as it was read for these architectures.
type imageKey struct{ endpoint, digest, architectures string }

// answerKey is a reference as a candidate's key sees it.
type answerKey struct{ reference, candidate string }

// lookupKey is a lookup by one candidate for a namespace.
type lookupKey struct{ namespace, reference, candidate, architectures string }

// hostKey is a registry's host as a namespace has met it.
type hostKey struct{ namespace, host string }

// podsKey is the same for Pods of one namespace with the same paths to an image.
type podsKey struct{ namespace, secrets, reference string }

func (k imageKey) kept() (imageKey, int) {
	return imageKey{strings.Clone(k.endpoint), strings.Clone(k.digest), strings.Clone(k.architectures)},
		len(k.endpoint) + len(k.digest) + len(k.architectures)
}

func (k answerKey) kept() (answerKey, int) {
	return answerKey{strings.Clone(k.reference), strings.Clone(k.candidate)}, len(k.reference) + len(k.candidate)
}

func (k lookupKey) kept() (lookupKey, int) {
	return lookupKey{strings.Clone(k.namespace), strings.Clone(k.reference), strings.Clone(k.candidate), strings.Clone(k.architectures)},
		len(k.namespace) + len(k.reference) + len(k.candidate) + len(k.architectures)
}

func (k hostKey) kept() (hostKey, int) {
	return hostKey{strings.Clone(k.namespace), strings.Clone(k.host)}, len(k.namespace) + len(k.host)
}

func (k podsKey) kept() (podsKey, int) {
	return podsKey{strings.Clone(k.namespace), strings.Clone(k.secrets), strings.Clone(k.reference)},
		len(k.namespace) + len(k.secrets) + len(k.reference)
}

func imageKeyOf(q Query, endpoint, digest string) imageKey {
	return imageKey{endpoint, digest, architectures(q)}
}

func lookupKeyOf(q Query, candidate Candidate) lookupKey {
	return lookupKey{q.Namespace, q.Reference.String(), candidate.Key, architectures(q)}
}

// maxSecretNames bounds what the names of imagePullSecrets may take in a key, in bytes: what valid ones take at most
// that are read.
const maxSecretNames = 16 * 254

// podsKeyOf is not ok for a Pod that names more Secrets than are read.
func podsKeyOf(q Query, reference string) (key podsKey, ok bool) {
	size := 0
	for _, name := range q.PullSecrets {
		size += len(name) + 1
	}
	if size > maxSecretNames {
		return podsKey{}, false
	}
	return podsKey{q.Namespace, strings.Join(q.PullSecrets, "\x00"), reference}, true // no name has a NUL in it
}

// architectures has a NUL between them: no node's label has one, and two lists do not look like one another.
func architectures(q Query) string { return strings.Join(q.Architectures, "\x00") }
