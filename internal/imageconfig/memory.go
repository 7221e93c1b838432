package imageconfig

import (
	"container/list"
	"time"
)

// What things cost besides their words, measured on 64 bits (TestMemory holds the sum to it).
const (
	// entryOverhead: an entry with its key, its list element, its interface and its place in the map.
	entryOverhead = 320
	// configOverhead: a Config's own strings and slices.
	configOverhead = 144
)

// memory bounds what the entries of all kinds take together, and forgets what was not used for longest. Its zero value
// holds nothing.
type memory struct {
	bound int // in bytes
	bytes int
	// forgotten counts what had to go to make room.
	forgotten uint64
	// used has the entries of all kinds, the last one used first.
	used list.List // of forgettable
}

// forgettable is an entry of any kind.
type forgettable interface {
	// forget takes the entry out of its map.
	forget()
	cost() int
}

// key is what a kind of entries is kept by.
type key[K any] interface {
	comparable
	// kept is the same key with strings of its own, which keep nothing else in memory, and how long they are together.
	kept() (K, int)
}

// entries are those of one kind.
type entries[K key[K], V any] struct {
	memory *memory
	byKey  map[K]*list.Element
}

// entry is one thing remembered, and since when.
type entry[K key[K], V any] struct {
	key   K
	value V
	size  int // with the key
	at    time.Time
	of    *entries[K, V]
}

func (e *entry[K, V]) forget()   { delete(e.of.byKey, e.key) }
func (e *entry[K, V]) cost() int { return e.size + entryOverhead }

func newEntries[K key[K], V any](m *memory) entries[K, V] {
	return entries[K, V]{memory: m, byKey: map[K]*list.Element{}}
}

// get is what is kept under a key, and since when.
func (e *entries[K, V]) get(key K) (value V, at time.Time, ok bool) {
	element, ok := e.byKey[key]
	if !ok {
		return value, at, false
	}
	e.memory.used.MoveToFront(element)
	found := element.Value.(*entry[K, V])
	return found.value, found.at, true
}

// put keeps a value of that size.
func (e *entries[K, V]) put(key K, value V, size int, at time.Time) {
	e.drop(key)
	own, length := key.kept()
	added := &entry[K, V]{key: own, value: value, size: length + size, at: at, of: e}
	e.byKey[own] = e.memory.used.PushFront(added)
	e.memory.bytes += added.cost()
	for e.memory.bytes > e.memory.bound {
		e.memory.remove(e.memory.used.Back())
		e.memory.forgotten++
	}
}

func (e *entries[K, V]) drop(key K) {
	if element, ok := e.byKey[key]; ok {
		e.memory.remove(element)
	}
}

func (m *memory) remove(element *list.Element) {
	removed := m.used.Remove(element).(forgettable)
	removed.forget()
	m.bytes -= removed.cost()
}
