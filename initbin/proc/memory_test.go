package proc

import "testing"

func TestOutOfMemory(t *testing.T) {
	for text, want := range map[string]bool{
		"low 0\nhigh 0\nmax 22\noom 2\noom_kill 1\noom_group_kill 0\n": true,
		"low 0\nhigh 0\nmax 22\noom 2\noom_kill 0\noom_group_kill 0\n": false,
		"oom_kill_disable 0\nunder_oom 0\noom_kill 12\n":               true,
		"oom_kill_disable 1\nunder_oom 1\noom_kill 0\n":                false,
		"oom_kill ": false,
		"":          false,
	} {
		if got := OutOfMemory([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
