package cluster

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// ImageRegistry is an image registry in this process, at the machine's end of the cluster's network, for what the cluster's
// own registry does not do: it may want a password, or be away. It speaks plain HTTP, and the node's containerd knows.
type ImageRegistry struct {
	// Address is its host and port.
	Address string

	server *http.Server
	// hosts is the directory in which containerd reads that it speaks plain HTTP.
	hosts string
}

// NewImageRegistry starts a registry, to whose requests guard may give an answer of its own: true for one that it has answered.
func NewImageRegistry(guard func(http.ResponseWriter, *http.Request) (answered bool)) (*ImageRegistry, error) {
	listener, err := net.Listen("tcp", HostIP+":0")
	if err != nil {
		return nil, err
	}
	r := &ImageRegistry{Address: listener.Addr().String()}
	r.hosts = filepath.Join(Dir, "etc", "certs.d", r.Address)
	if err := os.MkdirAll(r.hosts, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(r.hosts, "hosts.toml"), fmt.Appendf(nil, "server = \"http://%s\"\n", r.Address), 0o600); err != nil {
		return nil, err
	}
	content := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !guard(w, request) {
			content.ServeHTTP(w, request)
		}
	})}
	go r.server.Serve(listener)
	return r, nil
}

// Close ends the registry.
func (r *ImageRegistry) Close() {
	r.server.Close()
	os.RemoveAll(r.hosts)
}
