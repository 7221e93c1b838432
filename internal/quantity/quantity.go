// Package quantity bounds the quantities that tenants write. Kubernetes takes 1e2000000000 for a valid one, and package
// resource writes out its digits to compare it: that takes minutes and 1 GiB.
package quantity

import (
	"encoding/json"
	"regexp"

	"k8s.io/apimachinery/pkg/api/resource"
)

// maxText bounds the text of a quantity, in bytes: any number that a node can have takes fewer.
const maxText = 64

// hugeExponent is one of more than two digits. 1e99 is more than any node has.
var hugeExponent = regexp.MustCompile(`[eE][+-]?[0-9]{3}`)

// maxBits and maxScale bound a quantity that is decoded already, in bits and decimal digits: more than Decode lets through.
const (
	maxBits  = 1024
	maxScale = 200
)

// Bounded says whether a quantity is so short, and its exponent so small, that computing with it takes no time. It does not
// write out the quantity, which may take minutes itself.
func Bounded(q resource.Quantity) bool {
	number := q.AsDec()
	scale := int64(number.Scale())
	return max(scale, -scale) <= maxScale && number.UnscaledBig().BitLen() <= maxBits
}

// Decode reads a quantity from JSON. It is not ok if there is none, or if it is not valid, too long, or has a huge exponent.
func Decode(raw json.RawMessage) (q resource.Quantity, ok bool) {
	if len(raw) == 0 || string(raw) == "null" || len(raw) > maxText || hugeExponent.Match(raw) {
		return q, false
	}
	return q, q.UnmarshalJSON(raw) == nil
}
