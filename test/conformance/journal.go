package main

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Journal collects the lines that the programs of one container write, each at once and whole, into a FIFO.
// A FIFO reaches them where descriptors do not: across exec, another user, a read-only root.
type Journal struct {
	Path string

	fifo  *os.File
	mu    sync.Mutex
	more  *sync.Cond
	lines []Line
}

// A Line is what a program said, and when it came in.
type Line struct {
	Text string
	At   time.Time
}

const lastLine = "-- the container is gone --"

func newJournal(path string) (*Journal, error) {
	if err := unix.Mkfifo(path, 0o666); err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, err
	}
	// Opened for both, it never sees an end of file and never blocks.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	j := &Journal{Path: path, fifo: f}
	j.more = sync.NewCond(&j.mu)
	go j.read()
	return j, nil
}

func (j *Journal) read() {
	for s := bufio.NewScanner(j.fifo); s.Scan(); {
		j.mu.Lock()
		j.lines = append(j.lines, Line{s.Text(), time.Now()})
		j.more.Broadcast()
		j.mu.Unlock()
		if s.Text() == lastLine {
			return
		}
	}
}

// end marks that nothing more can come.
func (j *Journal) end() { j.fifo.WriteString(lastLine + "\n") }

// wait returns once line was said n times, and whether that happened before the deadline or the end.
func (j *Journal) wait(line string, n int, patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	timer := time.AfterFunc(patience+time.Millisecond, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.more.Broadcast()
	})
	defer timer.Stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		if j.count(line) >= n {
			return true
		}
		if j.count(lastLine) > 0 || !time.Now().Before(deadline) {
			return false
		}
		j.more.Wait()
	}
}

func (j *Journal) count(line string) (n int) {
	for _, l := range j.lines {
		if l.Text == line {
			n++
		}
	}
	return n
}

// all returns what was said so far.
func (j *Journal) all() []Line {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *Journal) String() string {
	var b strings.Builder
	for _, l := range j.all() {
		if l.Text != lastLine {
			b.WriteString("\n    " + l.Text)
		}
	}
	return b.String()
}
