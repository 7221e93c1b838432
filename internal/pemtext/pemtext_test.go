package pemtext

import (
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"

	"github.com/podinit/podinit/test/pki"
)

func TestCertificates(t *testing.T) {
	made := func(number int64) []byte {
		return new(pki.Pair).Issue(&x509.Certificate{SerialNumber: big.NewInt(number)}).PEM()
	}
	one, two := made(1), made(2)
	other := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	for name, c := range map[string]struct {
		text []byte
		want []int64 // nil for an error
	}{
		"one":                  {one, []int64{1}},
		"two in their order":   {slices.Concat(two, []byte("# a comment\n"), one), []int64{2, 1}},
		"between other blocks": {slices.Concat(other, one, other), []int64{1}},
		"other blocks alone":   {other, nil},
		"one cannot be read":   {slices.Concat(one, broken), nil},
		"no PEM":               {[]byte("x"), nil},
		"empty":                {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := Certificates(c.text)
			var got []int64
			for _, one := range all {
				got = append(got, one.SerialNumber.Int64())
			}
			if !slices.Equal(got, c.want) || (err != nil) != (c.want == nil) {
				t.Errorf("certificates %v, error %v; want %v", got, err, c.want)
			}
		})
	}
}
