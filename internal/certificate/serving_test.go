package certificate

import (
	"context"
	"crypto/x509"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/podinit/podinit/test/pki"
)

// TestServingCertificateFiles renews files as the kubelet does: it writes a directory beside,
// moves a symbolic link, and removes the directory before.
func TestServingCertificateFiles(t *testing.T) {
	s := NewServing(testr.New(t))
	directory := t.TempDir()
	if _, err := s.WatchFiles(directory); err == nil || !strings.Contains(err.Error(), directory+"/tls.crt") {
		t.Errorf("without files: error %v; want one that names them", err)
	}
	publish := func(version string, files map[string][]byte) {
		if err := os.Mkdir(filepath.Join(directory, version), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(directory, version, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		data, next := filepath.Join(directory, "..data"), filepath.Join(directory, "..new")
		before, _ := filepath.EvalSymlinks(data)
		if err := errors.Join(os.Symlink(version, next), os.Rename(next, data), os.RemoveAll(before)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(directory, name)); err != nil {
			t.Fatal(err)
		}
	}
	publish("1", newPair(1))
	watcher, err := s.WatchFiles(directory)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.Get(nil); err != nil || c.Leaf.SerialNumber.Int64() != 1 {
		t.Fatalf("before it runs: %v, %v; want the first", c, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- watcher.Start(ctx) }()
	publish("2", map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y")})
	time.Sleep(100 * time.Millisecond)
	if c, _ := s.Get(nil); c.Leaf.SerialNumber.Int64() != 1 {
		t.Errorf("after garbage: serial %v, want the one before", c.Leaf.SerialNumber)
	}
	publish("3", newPair(3))
	for began := time.Now(); s.Expiry() != float64(ends(3).Unix()); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the renewed certificate is not served")
		}
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// ends is when the certificate of that serial number does.
func ends(serial int64) time.Time { return time.Date(2100, 1, int(serial), 0, 0, 0, 0, time.UTC) }

// newPair is a certificate that signs itself, and its key.
func newPair(serial int64) map[string][]byte {
	pair := new(pki.Pair).Issue(&x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: ends(serial), BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		DNSNames: []string{"podinit-webhook.podinit-system.svc"},
	})
	return map[string][]byte{"tls.crt": pair.PEM(), "tls.key": pair.KeyPEM()}
}
