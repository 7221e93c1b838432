package kernel

import (
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
