package unpullable

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// removeFromNode has the node's runtime forget an image: RemoveImage of its ImageService
// (k8s.io/cri-api, pkg/apis/runtime/v1/api.proto), without crictl, which nothing else here needs.
func removeFromNode(t *testing.T, image string) {
	t.Helper()
	field := func(content []byte) []byte { // number 1, of bytes
		return append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(content))), content...)
	}
	message := field(field([]byte(image))) // RemoveImageRequest{image: ImageSpec{image: ...}}
	framed := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	framed = append(framed, message...)

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	socket := running.RuntimeSocket()
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/runtime.v1.ImageService/RemoveImage", bytes.NewReader(framed))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	if status := response.Trailer.Get("Grpc-Status"); response.StatusCode != http.StatusOK || status != "0" {
		t.Fatalf("removing image %s from the node: HTTP %s, gRPC %q %q", image, response.Status, status, response.Trailer.Get("Grpc-Message"))
	}
}
