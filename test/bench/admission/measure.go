package main

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used since it started.
type usage struct {
	// CPU time, the garbage collector's too.
	CPU time.Duration
	// Allocated bytes.
	Allocated uint64
}

func used() (usage, error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return usage{}, err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{CPU: time.Duration(r.Utime.Nano() + r.Stime.Nano()), Allocated: m.TotalAlloc}, nil
}

// sample is what some requests have cost.
type sample struct {
	requests  int
	cpu       time.Duration
	allocated uint64
	latencies []time.Duration
}

// perRequest is the CPU time of one request.
func (s sample) perRequest() time.Duration { return s.cpu / time.Duration(s.requests) }

// target is a variant that can be asked.
type target interface {
	// ask sends one AdmissionReview and reads the answer.
	ask(body []byte) error
	// now is the time on the clock by which a request's latency is told.
	now() (time.Duration, error)
	// used says what the variant's process has used.
	used() (usage, error)
}

// measure asks for as long as it is told, and at least once.
func measure(t target, body []byte, during time.Duration) (sample, error) {
	s := sample{}
	before, err := t.used()
	if err != nil {
		return s, err
	}
	for start := time.Now(); s.requests == 0 || time.Since(start) < during; s.requests++ {
		asked, err := t.now()
		if err != nil {
			return s, err
		}
		if err := t.ask(body); err != nil {
			return s, err
		}
		answered, err := t.now()
		if err != nil {
			return s, err
		}
		s.latencies = append(s.latencies, answered-asked)
	}
	after, err := t.used()
	s.cpu, s.allocated = after.CPU-before.CPU, after.Allocated-before.Allocated
	return s, err
}

// compare measures the targets in turn, round after round, so that whatever else the machine does hits all alike.
// The first round warms up and does not count.
func compare(targets []target, body []byte, rounds int, during time.Duration) ([][]sample, error) {
	samples := make([][]sample, len(targets))
	for round := range rounds + 1 {
		for i, t := range targets {
			runtime.GC()
			s, err := measure(t, body, during)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				samples[i] = append(samples[i], s)
			}
		}
	}
	return samples, nil
}

// median of a figure of pairs of rounds, or of rounds.
func median(figures []float64) float64 {
	slices.Sort(figures)
	return figures[len(figures)/2]
}

// inProcess is a variant that is called without a network: from the request's bytes to the answer's.
type inProcess struct {
	handler http.Handler
	request *http.Request
	answer  answer
}

func newInProcess(handler http.Handler) *inProcess {
	return &inProcess{handler: handler, answer: answer{header: http.Header{}}, request: &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/", RawQuery: "timeout=10s"},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
	}}
}

func (p *inProcess) ask(body []byte) error {
	p.request.Body, p.request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	p.handler.ServeHTTP(&p.answer, p.request)
	return nil
}

// now is the process's CPU time: latencies are then those of a processor of its own, however busy the machine is.
func (p *inProcess) now() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}

func (p *inProcess) used() (usage, error) { return used() }

// answer is an http.ResponseWriter that throws away what it is given.
type answer struct{ header http.Header }

func (a *answer) Header() http.Header             { return a.header }
func (a *answer) Write(b []byte) (int, error)     { return len(b), nil }
func (a *answer) WriteHeader(int)                 {}
func (a *answer) SetReadDeadline(time.Time) error { return nil }
