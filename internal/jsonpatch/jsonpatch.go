// Package jsonpatch applies JSON patches (RFC 6902) with the library that the apiserver uses.
package jsonpatch

import jsonpatch "gopkg.in/evanphx/json-patch.v4"

// Apply returns an object as a patch changes it, or as it is if the patch is nil.
func Apply(object, patch []byte) ([]byte, error) {
	if patch == nil {
		return object, nil
	}
	decoded, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, err
	}
	return decoded.Apply(object)
}
