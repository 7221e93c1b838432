package proc

// OutOfMemory says whether the memory limit of a cgroup has killed a process: memory.events or memory.oom_control.
func OutOfMemory(text []byte) bool {
	const heading = "oom_kill "
	for len(text) > 0 {
		end := 0
		for end < len(text) && text[end] != '\n' {
			end++
		}
		if begins(text[:end], heading) {
			return end > len(heading) && text[len(heading)] != '0'
		}
		text = text[min(end+1, len(text)):]
	}
	return false
}
