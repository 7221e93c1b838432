package imageconfig

import (
	"container/list"
	"time"
)

// What things cost besides their words, measured on 64 bits (TestMemory holds the sum to it).
const (
	// entryOverhead: an entry, its list element, its interface and its place in the map.
	entryOverhead = 320
	// configOverhead: a Config's own strings and slices.
	configOverhead = 144
)

// memory is a map of bounded size that forgets what was not used for longest. Its zero value holds nothing.
type memory struct {
	bound  int // in bytes
	bytes  int
	images int
	// forgotten counts what had to go to make room.
	forgotten uint64
	entries   map[string]*list.Element
	// used has the entries, the last one used first.
	used list.List
}

// entry is one thing remembered, and since when.
type entry struct {
	key   string
	value any
	size  int
	at    time.Time
}

func (e entry) cost() int { return len(e.key) + e.size + entryOverhead }

func (m *memory) get(key string) (entry, bool) {
	element, ok := m.entries[key]
	if !ok {
		return entry{}, false
	}
	m.used.MoveToFront(element)
	return element.Value.(entry), true
}

func (m *memory) put(e entry) {
	m.drop(e.key)
	if m.entries == nil {
		m.entries = map[string]*list.Element{}
	}
	m.entries[e.key] = m.used.PushFront(e)
	m.count(e, 1)
	for m.bytes > m.bound {
		m.drop(m.used.Back().Value.(entry).key)
		m.forgotten++
	}
}

func (m *memory) drop(key string) {
	if element, ok := m.entries[key]; ok {
		delete(m.entries, key)
		m.count(m.used.Remove(element).(entry), -1)
	}
}

func (m *memory) count(e entry, sign int) {
	m.bytes += sign * e.cost()
	if _, ok := e.value.(Image); ok {
		m.images += sign
	}
}
