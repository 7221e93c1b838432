// Package initprogram knows which architectures podinit's init is built for, and asks a file whether it is the init.
package initprogram

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Architectures that the init is built for.
var Architectures = []string{"amd64", "arm64", "arm", "ppc64le", "s390x", "riscv64"}

// timeout bounds the program's run.
const timeout = 10 * time.Second

// ErrOther means that the program runs, and is not podinit's init.
var ErrOther = errors.New("it is not podinit's init")

// Version runs the program and returns the version that it says it has, "v1.2.3" for one. A program that does not say so
// gives ErrOther.
func Version(ctx context.Context, program string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	command := exec.CommandContext(ctx, program, "version")
	const most = 1 << 10
	var out bytes.Buffer
	command.Stdout = &bounded{to: &out, left: most}
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("running %s version: %w", program, err)
	}
	version, ok := strings.CutPrefix(strings.TrimSpace(out.String()), "podinit ")
	if !ok {
		return "", fmt.Errorf("%s says that it is %.100q: %w", program, out.String(), ErrOther)
	}
	return version, nil
}

// bounded keeps the first bytes that are written to it.
type bounded struct {
	to   *bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.to.Write(p[:n])
	b.left -= n
	return len(p), nil
}
