package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"time"
)

// remote is a variant that serves HTTPS in a process of its own, so that its CPU time is not the client's.
type remote struct {
	url     string
	client  *http.Client
	process *exec.Cmd
	stdin   io.Closer
}

// start runs this program again, as the server of a variant.
func start(v variant) (*remote, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	process := exec.Command(program, "-serve", v.name)
	process.Env = append(os.Environ(), "GOMAXPROCS=1")
	process.Stderr = os.Stderr
	stdin, err := process.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	r := &remote{process: process, stdin: stdin, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // our own child, on loopback
	}}}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		r.stop()
		return nil, fmt.Errorf("starting the server of %s: %w", v.name, err)
	}
	r.url = strings.TrimSpace(url)
	return r, nil
}

// stop ends the server: it lives as long as its standard input.
func (r *remote) stop() {
	_ = r.stdin.Close()
	_ = r.process.Wait()
}

func (r *remote) ask(body []byte) error {
	_, err := r.do(r.client.Post(r.url+"/?timeout=10s", "application/json", bytes.NewReader(body)))
	return err
}

// began is when this program did.
var began = time.Now()

// now is the time of day: what the network and the scheduler do belongs to it.
func (r *remote) now() (time.Duration, error) { return time.Since(began), nil }

func (r *remote) used() (u usage, err error) {
	raw, err := r.do(r.client.Get(r.url + "/used"))
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal(raw, &u)
}

func (r *remote) do(response *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", response.StatusCode, raw)
	}
	return raw, err
}

// serve is the server of a variant: HTTP/1.1 over TLS, as podinit-webhook serves. It says its URL and stays until
// standard input ends.
func serve(v variant) error {
	mux := http.NewServeMux()
	mux.Handle("POST /", v.handler)
	mux.HandleFunc("GET /used", func(w http.ResponseWriter, _ *http.Request) {
		u, err := used()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(u)
	})
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
	server.StartTLS()
	defer server.Close()
	fmt.Println(server.URL)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
