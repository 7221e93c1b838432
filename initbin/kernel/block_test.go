package kernel

import (
	"bytes"
	"slices"
	"testing"
	"unsafe"
)

// An empty entry does not end the environment: NULL does.
func TestEnv(t *testing.T) {
	entry := []byte("A=1\x00")
	stack := struct {
		count    uintptr
		pointers [4]*byte
	}{0, [4]*byte{nil, &entry[3], &entry[0], nil}}
	block := (*Block)(unsafe.Pointer(&stack))
	for i, want := range []string{"", "A=1"} {
		if got, ok := block.Env(i); got != want || !ok {
			t.Errorf("entry %d: %q, %v", i, got, ok)
		}
	}
	if _, ok := block.Env(2); ok {
		t.Error("there is an entry behind the last one")
	}
}

// FuzzBlock reads arguments and environment from a block as execve leaves it, and moves arguments in it.
func FuzzBlock(f *testing.F) {
	f.Add([]byte("init\x00--\x00sh\x00-c\x00true"), []byte("A=1\x00\x00PATH=/bin"), uint8(2), uint8(1), uint8(2))
	f.Add([]byte(""), []byte(""), uint8(0), uint8(0), uint8(0))
	f.Fuzz(func(t *testing.T, arguments, environment []byte, from, further, n uint8) {
		args, env := bytes.Split(arguments, []byte{0}), bytes.Split(environment, []byte{0})
		const pointer = int(unsafe.Sizeof(uintptr(0)))
		words := 1 + len(args) + 1 + len(env) + 1
		memory, errno := Map(words*pointer + len(arguments) + len(environment) + len(args) + len(env))
		if errno != 0 {
			t.Fatal(errno)
		}
		defer memory.Unmap()
		all, text := View[uintptr](memory)[:words], View[byte](memory)[words*pointer:]
		all[0] = uintptr(len(args))
		for i, s := range slices.Concat(args, [][]byte{nil}, env) {
			if i == len(args) {
				continue // NULL
			}
			all[1+i] = uintptr(unsafe.Pointer(unsafe.SliceData(text)))
			text = text[copy(text, s)+1:]
		}
		block := (*Block)(unsafe.Pointer(&all[0]))

		first := min(int(from), len(args))
		got, list, errno := block.Args(first)
		if errno != 0 {
			t.Fatal(errno)
		}
		defer list.Unmap()
		same := func(got string, want []byte) {
			t.Helper()
			if got != string(want) {
				t.Fatalf("%q, want %q", got, want)
			}
		}
		if len(got) != len(args)-first {
			t.Fatalf("%d arguments, want %d", len(got), len(args)-first)
		}
		for i, word := range got {
			same(word, args[first+i])
		}
		for i, want := range env {
			entry, ok := block.Env(i)
			if !ok {
				t.Fatalf("entry %d is missing", i)
			}
			same(entry, want)
		}
		if entry, ok := block.Env(len(env)); ok {
			t.Fatalf("%q is behind the environment", entry)
		}

		count := min(int(n), len(args)-first)
		to := min(first+int(further), len(args)-count)
		want := slices.Clone(args)
		copy(want[to:], args[first:first+count])
		block.MoveArgs(first, to, count)
		for i := range want {
			same(block.Arg(i), want[i])
		}
	})
}
