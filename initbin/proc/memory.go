package proc

import "github.com/podinit/podinit/initbin/decimal"

// OOMKills is how many processes the memory limit of a cgroup has killed, from memory.events or memory.oom_control.
func OOMKills(text []byte) uint64 {
	const heading = "oom_kill "
	for len(text) > 0 {
		end := 0
		for end < len(text) && text[end] != '\n' {
			end++
		}
		if begins(text[:end], heading) {
			n, _ := decimal.Prefix(text[len(heading):end])
			return n
		}
		text = text[min(end+1, len(text)):]
	}
	return 0
}
