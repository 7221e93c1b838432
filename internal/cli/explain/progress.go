package explain

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/podinit/podinit/internal/cli/output"
)

// progressTime is how often a person is shown how far it is.
const progressTime = 100 * time.Millisecond

// progress is a line on a terminal that says how far it is. It may be used by several goroutines.
type progress struct {
	w io.Writer // nil if it is not a terminal

	mu    sync.Mutex
	shown time.Time // zero while nothing is
}

func newProgress(w io.Writer) *progress {
	if !output.IsTerminal(w) {
		return &progress{}
	}
	return &progress{w: w}
}

// show replaces the line, unless it has just been.
func (p *progress) show(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil || time.Since(p.shown) < progressTime {
		return
	}
	p.shown = time.Now()
	// ESC [ K erases to the end of the line (ECMA-48, EL).
	fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
}

// clear removes the line.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = time.Time{}
	}
}
