package proc

import "testing"

func TestOOMKills(t *testing.T) {
	for text, want := range map[string]uint64{
		"low 0\nhigh 0\nmax 22\noom 2\noom_kill 1\noom_group_kill 0\n": 1,
		"low 0\nhigh 0\nmax 22\noom 2\noom_kill 0\noom_group_kill 0\n": 0,
		"oom_kill_disable 0\nunder_oom 0\noom_kill 12\n":               12,
		"oom_kill_disable 1\nunder_oom 1\noom_kill 0\n":                0,
		"oom_kill ": 0,
		"":          0,
	} {
		if got := OOMKills([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
