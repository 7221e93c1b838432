package kernel

import "unsafe"

// Block is what execve(2) leaves on a new process's stack: the number of arguments, the arguments, NULL, the
// environment, NULL. The strings are the process's own as long as it lives.
type Block struct {
	count uintptr
	first *byte
}

// Count is the number of arguments, the program's name included.
func (b *Block) Count() int { return int(b.count) }

// Argv is the address of the i-th argument, as execve wants it.
func (b *Block) Argv(i int) **byte {
	return (**byte)(unsafe.Add(unsafe.Pointer(&b.first), uintptr(i)*unsafe.Sizeof(uintptr(0))))
}

// Envp is the environment, as execve wants it.
func (b *Block) Envp() **byte { return b.Argv(b.Count() + 1) }

// Arg is the i-th argument.
func (b *Block) Arg(i int) string { return Text(*b.Argv(i)) }

// Env is the i-th entry of the environment, NAME=value, or anything else, even nothing; ok is false after the last one.
func (b *Block) Env(i int) (entry string, ok bool) {
	if p := *b.env(i); p != nil {
		return Text(p), true
	}
	return "", false
}

func (b *Block) env(i int) **byte { return b.Argv(b.Count() + 1 + i) }

// SetArg replaces an argument. It writes an address as a number: text must live outside the heap.
func (b *Block) SetArg(i int, text []byte) { set(b.Argv(i), text) }

// SetEnv does the same in the environment.
func (b *Block) SetEnv(i int, text []byte) { set(b.env(i), text) }

func set(pointer **byte, text []byte) {
	*(*uintptr)(unsafe.Pointer(pointer)) = uintptr(unsafe.Pointer(unsafe.SliceData(text)))
}

// MoveArgs moves n arguments to a later position, over those that are there.
func (b *Block) MoveArgs(from, to, n int) {
	for i := n - 1; i >= 0; i-- {
		*(*uintptr)(unsafe.Pointer(b.Argv(to + i))) = *(*uintptr)(unsafe.Pointer(b.Argv(from + i)))
	}
}

// Args are the arguments from the first-th on. The slice itself is mapped: unmap it when they have been read.
func (b *Block) Args(first int) ([]string, Mapping, Errno) {
	n := b.Count() - first
	if n <= 0 {
		return nil, Mapping{}, 0
	}
	var entry string
	m, errno := Map(n * int(unsafe.Sizeof(entry)))
	if errno != 0 {
		return nil, m, errno
	}
	words := View[[2]uintptr](m)
	for i := range n {
		s := b.Arg(first + i)
		words[i] = [2]uintptr{uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(len(s))}
	}
	return unsafe.Slice((*string)(unsafe.Pointer(unsafe.SliceData(words))), n), m, 0
}

// Text is a C string as a Go string, without a copy.
//
//go:noinline
func Text(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return unsafe.String(p, n)
}

// Bytes is a string's own memory, to be read only.
func Bytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Pointer is the address of a string's own memory, as execve wants an argument: it must end in a NUL byte.
func Pointer(s string) *byte { return unsafe.StringData(s) }

// AsString is the same memory as a string, which must not be written to while the string is used.
func AsString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Terminate puts a NUL byte after a text, whose memory must be longer.
func Terminate(text []byte) {
	*(*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(text)), len(text))) = 0
}
