package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestServingCertificate(t *testing.T) {
	s := &servingCertificate{secret: types.NamespacedName{Namespace: "ours", Name: "certificate"}, log: testr.New(t)}
	one, two := newPair(t, 1), newPair(t, 2)
	for _, step := range []struct {
		name   string
		object any
		serial int64 // of what is served afterwards; 0 for nothing
	}{
		{"shipped empty", secretOf("ours", "certificate", nil), 0},
		{"someone else's", secretOf("ours", "other", one), 0},
		{"another namespace's", secretOf("theirs", "certificate", one), 0},
		{"no Secret", &corev1.ConfigMap{}, 0},
		{"the first", secretOf("ours", "certificate", one), 1},
		{"renewed", secretOf("ours", "certificate", two), 2},
		{"garbage", secretOf("ours", "certificate", map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y")}), 2},
		{"a key of another", secretOf("ours", "certificate", map[string][]byte{"tls.crt": one["tls.crt"], "tls.key": two["tls.key"]}), 2},
		{"emptied", secretOf("ours", "certificate", nil), 2},
	} {
		s.update(step.object)
		got, err := s.get(nil)
		switch {
		case step.serial == 0:
			if err == nil || s.loaded(nil) == nil || s.expiry() != 0 {
				t.Errorf("%s: serving %v until %v, and loaded is %v; want nothing", step.name, got, s.expiry(), s.loaded(nil))
			}
		case err != nil || s.loaded(nil) != nil:
			t.Errorf("%s: error %v, loaded is %v; want serial %d", step.name, err, s.loaded(nil), step.serial)
		case got.Leaf.SerialNumber.Int64() != step.serial:
			t.Errorf("%s: serving serial %v, want %d", step.name, got.Leaf.SerialNumber, step.serial)
		case s.expiry() != float64(ends(step.serial).Unix()):
			t.Errorf("%s: ends at %v, want %v", step.name, s.expiry(), ends(step.serial).Unix())
		}
	}
}

// TestServingCertificateFiles renews files as the kubelet does: it writes a directory beside,
// moves a symbolic link, and removes the directory before.
func TestServingCertificateFiles(t *testing.T) {
	s := &servingCertificate{log: testr.New(t)}
	directory := t.TempDir()
	if _, err := s.watchFiles(directory); err == nil || !strings.Contains(err.Error(), directory+"/tls.crt") {
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
	publish("1", newPair(t, 1))
	watcher, err := s.watchFiles(directory)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.get(nil); err != nil || c.Leaf.SerialNumber.Int64() != 1 {
		t.Fatalf("before it runs: %v, %v; want the first", c, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- watcher.Start(ctx) }()
	publish("2", map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y")})
	time.Sleep(100 * time.Millisecond)
	if c, _ := s.get(nil); c.Leaf.SerialNumber.Int64() != 1 {
		t.Errorf("after garbage: serial %v, want the one before", c.Leaf.SerialNumber)
	}
	publish("3", newPair(t, 3))
	for began := time.Now(); s.expiry() != float64(ends(3).Unix()); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the renewed certificate is not served")
		}
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func TestMarkerDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	directory, err := markerDirectory()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(directory, "tls.crt")); err != nil {
		t.Error(err)
	}
	t.Setenv("TMPDIR", "/nowhere")
	if _, err := markerDirectory(); err == nil {
		t.Error("no error where there is no temporary directory")
	}
}

func secretOf(namespace, name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
}

// ends is when the certificate of that serial number does.
func ends(serial int64) time.Time { return time.Date(2100, 1, int(serial), 0, 0, 0, 0, time.UTC) }

// newPair is a certificate that signs itself, and its key.
func newPair(t *testing.T, serial int64) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: ends(serial)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}
