// Package pemtext reads certificates in PEM (RFC 7468).
package pemtext

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// Certificates are those in a text, in its order; other blocks, such as keys, are passed by. It is an error if there are
// none, or one cannot be read: an authority that is left out would lock its clients out.
func Certificates(text []byte) (all []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("it contains no certificate in PEM")
	}
	return all, nil
}
