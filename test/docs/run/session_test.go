package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// session is one bash in which the commands of a page are run in order, as a reader would: what one sets, the next
// finds. The first that fails ends it.
type session struct {
	directory string
	bash      *exec.Cmd
	commands  io.WriteCloser
	codes     *bufio.Reader
	blocks    int
}

// startSession starts bash in a directory, with these variables besides its own.
func startSession(ctx context.Context, directory string, environment ...string) (*session, error) {
	s := &session{directory: directory, bash: exec.CommandContext(ctx, "bash", "--noprofile", "--norc")}
	if err := os.Mkdir(filepath.Join(directory, ".blocks"), 0o755); err != nil {
		return nil, err
	}
	s.bash.Dir = directory
	s.bash.Env = append(os.Environ(), environment...)
	// A group of its own: what a block leaves in the background is ended with it.
	s.bash.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.bash.Cancel = func() error { return syscall.Kill(-s.bash.Process.Pid, syscall.SIGKILL) }
	var err error
	if s.commands, err = s.bash.StdinPipe(); err != nil {
		return nil, err
	}
	codes, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	s.codes = bufio.NewReader(codes)
	s.bash.ExtraFiles = []*os.File{write} // descriptor 3
	if err := s.bash.Start(); err != nil {
		return nil, err
	}
	_, err = io.WriteString(s.commands, "set -eu\n")
	return s, err
}

// run runs a block, and is what it writes to standard output and error.
func (s *session) run(script string) (string, error) {
	s.blocks++
	base := filepath.Join(s.directory, ".blocks", strconv.Itoa(s.blocks))
	if err := os.WriteFile(base, []byte(script), 0o644); err != nil {
		return "", err
	}
	_, err := fmt.Fprintf(s.commands, ". %s >%s.out 2>&1 3>&-\necho $? >&3\n", base, base)
	if err == nil {
		_, err = s.codes.ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = errors.New("a command failed")
		}
	}
	out, _ := os.ReadFile(base + ".out")
	return string(out), err
}

func (s *session) end() {
	s.commands.Close()
	_ = syscall.Kill(-s.bash.Process.Pid, syscall.SIGKILL)
	_ = s.bash.Wait()
}

// similar says where output differs from what a page shows: "" if it does not. Any amount of blank space is the same; in
// what is shown, … stands for anything within a line, and on a line of its own for any lines. Ages are alike.
func similar(shown, printed string) string {
	want, got := lines(shown), lines(printed)
	i := 0
	for n, line := range want {
		if line == "…" {
			if n == len(want)-1 {
				return ""
			}
			for i < len(got) && !alike(want[n+1], got[i]) {
				i++
			}
			continue
		}
		if i == len(got) || !alike(line, got[i]) {
			found := "(nothing more)"
			if i < len(got) {
				found = got[i]
			}
			return fmt.Sprintf("shown:   %s\nprinted: %s", line, found)
		}
		i++
	}
	if i < len(got) {
		return "shown:   (nothing more)\nprinted: " + got[i]
	}
	return ""
}

// lines without those that are blank, words apart by one space.
func lines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return lines
}

func alike(shown, printed string) bool {
	shown, printed = age.ReplaceAllString(shown, "AGE"), age.ReplaceAllString(printed, "AGE")
	parts := strings.Split(shown, "…")
	rest, ok := strings.CutPrefix(printed, parts[0])
	if !ok {
		return false
	}
	if len(parts) == 1 {
		return rest == ""
	}
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
