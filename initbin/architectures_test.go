package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// emulators are qemu-user's names of our architectures.
var emulators = map[string]string{
	"amd64": "qemu-x86_64", "arm64": "qemu-aarch64", "arm": "qemu-arm", "ppc64le": "qemu-ppc64le", "s390x": "qemu-s390x", "riscv64": "qemu-riscv64",
}

// sizeAtMost is what a stripped init may weigh. The linker aligns to 64 KiB where pages may be that large.
var sizeAtMost = map[string]int64{"amd64": 1_250_000, "arm64": 1_250_000}

// Every architecture's init lives a container's life, under an emulator where this machine is another.
func TestArchitectures(t *testing.T) {
	for _, arch := range architectures(t) {
		t.Run(arch, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "init")
			build := exec.Command("go", "build", "-trimpath", "-ldflags", ldflags, "-o", path, ".")
			build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if limit := sizeAtMost[arch]; limit > 0 && info.Size() > limit {
				t.Errorf("it weighs %d bytes, more than %d", info.Size(), limit)
			}
			checkStatic(t, path)

			command := []string{path}
			if arch != runtime.GOARCH {
				emulator, err := exec.LookPath(emulators[arch])
				if err != nil {
					t.Fatalf("%v: install qemu-user (apt-get install qemu-user)", err)
				}
				command = []string{emulator, path}
			}
			run := func(arguments ...string) *testContainer {
				c := newContainer(t)
				c.Args = append(append([]string{c.Args[0]}, command...), arguments...)
				return c
			}

			if c := run("--", "sh", "-c", "exit 42"); c.run() != 42 {
				t.Errorf("exit code %d, want 42: %s", c.ProcessState.ExitCode(), c.output)
			}
			if c := run("--", "no-such-program"); c.run() != 127 {
				t.Errorf("exit code %d, want 127: %s", c.ProcessState.ExitCode(), c.output)
			}

			// Of an image's platforms it takes its own, and of 32-bit ARM the newest that it can run.
			platforms := []string{"--platform=linux/arm/v6:2", "echo", "arm v6"}
			for _, a := range architectures(t) {
				name := strings.Replace(a+":2", "arm:", "arm/v7:", 1)
				platforms = append(platforms, "--platform=linux/"+name, "echo", a)
			}
			if c := run(append(platforms, "--", "argument")...); c.run() != 0 || c.output.String() != arch+" argument\n" {
				t.Errorf("of several platforms it runs %q (code %d)", c.output, c.ProcessState.ExitCode())
			}

			// The arguments, the environment, an orphan, /proc, SIGTERM through a shell, its trap, the code.
			c := run("--grace=20s", "--", "sh", "-c", `echo "$0 $MARK"; (sh -c "echo orphan" &); `+trapper("child", "TERM", "USR1")+"; true", "zero")
			c.Env = append(c.Env, "MARK=mark")
			c.start().waitFor("up child").waitFor("orphan").signal(syscall.SIGTERM).waitFor("child TERM").signal(syscall.SIGKILL).wait()
			if diff := cmp.Diff("child TERM\norphan\nup child\nzero mark\n", sortedLines(c.output.String())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}

			// A deadline that is further ahead than 32 bits have seconds for.
			c = run("--grace=876000h", "--", "sh", "-c", "trap 'exit 5' TERM; echo up; "+forever)
			if code := c.start().waitFor("up").signal(syscall.SIGTERM).wait(); code != 5 {
				t.Errorf("exit code %d, want 5: %s", code, c.output)
			}

			// The copy is whole; a machine of another architecture says so.
			directory := t.TempDir()
			c = run("copy", directory+"/init")
			code := c.run()
			if arch == runtime.GOARCH {
				if code != 0 || c.output.String() != "" {
					t.Errorf("copy: code %d, %s", code, c.output)
				}
				return
			}
			want := "podinit: cannot run " + directory + "/init: this machine cannot run it; the init image must be for the node's architecture\n"
			if diff := cmp.Diff(want, c.output.String()); diff != "" || code != 1 {
				t.Errorf("copy: code %d, want 1 (-want +got):\n%s", code, diff)
			}
			if files, _ := os.ReadDir(directory); len(files) != 0 {
				t.Errorf("copy has left %v", files)
			}
		})
	}
}

// checkStatic makes sure that nothing has to be loaded or relocated before the entry.
func checkStatic(t *testing.T, path string) {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if file.Type != elf.ET_EXEC {
		t.Errorf("the type is %v, want %v: no loader relocates a position-independent init", file.Type, elf.ET_EXEC)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("there is a segment of type %v", p.Type)
		}
	}
}

// A plain "go build" is no init, and says so.
func TestPlainBuild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "init")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.Command(path, "--", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "built without its entry point") {
		t.Errorf("%v: %s", err, out)
	}
}
