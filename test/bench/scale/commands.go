package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	fake "github.com/google/go-containerregistry/pkg/registry"

	"github.com/podinit/podinit/test/controlplane"
)

// commandTime bounds one command.
const commandTime = 5 * time.Minute

// command is what one of the command line's costs.
type command struct {
	name string
	wall, processor,
	// apiserver is the apiserver's processor time meanwhile, less what it takes when idle.
	apiserver time.Duration
	// memory is the most that it has had, in bytes.
	memory int64
	// requests, and the bytes of the bodies of all answers and of the largest, on the network.
	requests       int
	bytes, largest int64
}

// measureCommands runs the commands that read a cluster, which costs the apiserver so much when it is idle.
func (b *bench) measureCommands(ctx context.Context, idle window) (all []command, err error) {
	missing := strings.Replace(controlplane.InitImage, "registry.example", b.registry, 1)
	for _, args := range [][]string{
		{"status", "-n", namespaceOf(1)}, {"status", "-A"}, {"check", "-n", namespaceOf(1), "--init-image", missing}, {"explain", "-A",
			"--summary"},
	} {
		name := strings.Join(args[:2], " ")
		switch args[0] {
		case "status":
			name = strings.Replace(name, "-n", "of a namespace", 1)
		case "check":
			name = "check"
		case "explain":
			name = strings.Join(args, " ")
		}
		b.say("podinit %s", name)
		c, err := b.command(ctx, args, idle)
		if err != nil {
			return all, fmt.Errorf("podinit %s: %w", strings.Join(args, " "), err)
		}
		c.name = name
		all = append(all, c)
	}
	return all, nil
}

// command runs one, through a proxy that counts.
func (b *bench) command(ctx context.Context, args []string, idle window) (c command, err error) {
	meter := newMeter("https://"+b.APIServers[0], "admintoken")
	defer meter.server.Close()
	if err := b.WriteKubeconfig("counted-kubeconfig", meter.server.URL, ""); err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.podinit, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.File("counted-kubeconfig"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var ran error
	busy, err := b.window(ctx, func() {
		began := time.Now()
		if ran = cmd.Start(); ran != nil {
			return
		}
		ended := make(chan struct{})
		go func() {
			ran = cmd.Wait()
			close(ended)
		}()
		c.memory = peakUntil(ended, cmd.Process.Pid)
		c.wall = time.Since(began)
	})
	if err != nil {
		return c, err
	}
	// check exits with 1 if it finds something: here there is no Service, and no right of a cluster that has controllers.
	if ended := (*exec.ExitError)(nil); ran != nil && (!errors.As(ran, &ended) || ended.ExitCode() != 1 || args[0] != "check") {
		return c, fmt.Errorf("%w:\n%s", ran, out.String())
	}
	c.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.apiserver = max(0, busy.apiserver-time.Duration(idle.cores(idle.apiserver)*float64(busy.took)))
	c.requests, c.bytes, c.largest = meter.requests, meter.bytes, meter.largest
	return c, nil
}

// peakUntil is the most memory that a process has had resident, in bytes, as it says shortly before it ends: rusage has what its
// parent had, too (getrusage(2), ru_maxrss).
func peakUntil(ended <-chan struct{}, pid int) (bytes int64) {
	for {
		select {
		case <-ended:
			return bytes
		case <-time.After(5 * time.Millisecond):
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		amount, _, _ := strings.Cut(strings.TrimSpace(rest), " kB")
		if kibibytes, err := strconv.ParseInt(amount, 10, 64); err == nil {
			bytes = kibibytes << 10
		}
	}
}

// meter passes requests on to an apiserver, and counts them and what is answered.
type meter struct {
	server *httptest.Server

	mu             sync.Mutex
	requests       int
	bytes, largest int64
}

func newMeter(apiserver, token string) *meter {
	m := &meter{}
	target, err := url.Parse(apiserver)
	if err != nil {
		panic(err)
	}
	m.server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("Authorization", "Bearer "+token) // without TLS the command sends none
		},
		// What is compressed stays so.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true, ForceAttemptHTTP2: true},
		ModifyResponse: func(r *http.Response) error {
			r.Body = &counted{ReadCloser: r.Body, meter: m}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.requests++
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
	})
	return m
}

// counted is the body of an answer.
type counted struct {
	io.ReadCloser
	meter *meter
	read  int64
}

func (c *counted) Read(p []byte) (n int, err error) {
	n, err = c.ReadCloser.Read(p)
	c.meter.mu.Lock()
	defer c.meter.mu.Unlock()
	c.read += int64(n)
	c.meter.bytes += int64(n)
	c.meter.largest = max(c.meter.largest, c.read)
	return n, err
}

// emptyRegistry is the address of one that has no images, until this program ends.
func emptyRegistry() string {
	server := httptest.NewServer(fake.New(fake.Logger(log.New(io.Discard, "", 0))))
	return strings.TrimPrefix(server.URL, "http://")
}
