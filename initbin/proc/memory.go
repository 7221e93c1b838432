package proc

// OOMKills says how many processes the memory limit of a cgroup has killed: memory.events or memory.oom_control.
func OOMKills(text []byte) (n uint64) {
	const heading = "oom_kill "
	for len(text) > 0 {
		end := 0
		for end < len(text) && text[end] != '\n' {
			end++
		}
		if begins(text[:end], heading) {
			for _, digit := range text[len(heading):end] {
				n = n*10 + uint64(digit-'0')
			}
			return n
		}
		text = text[min(end+1, len(text)):]
	}
	return 0
}
