package options

// usage is the first part of the help.
const usage = `podinit is a container's PID 1: it forwards signals, reaps orphans, waits for processes that are still finishing,
and exits as the program does.

usage: init [flags] [--] program [argument...]
       init copy FILE               install this binary as FILE, atomically
       init pause                   wait for SIGTERM: keeps the image on a node
       init version | help

`

// column is where the meaning of a flag begins.
const column = "                                    "

// Help writes the help text, piece by piece: the init cannot allocate it whole.
func Help(write func(string)) {
	write(usage)
	for _, section := range sections {
		write(section)
		write("\n")
		for i := range flags {
			f := &flags[i]
			if f.section != section {
				continue
			}
			parts := [...]string{"  ", "-", f.letter, ", ", "--", f.name, "=", f.value}
			if f.letter == "" {
				parts[1], parts[3] = "", ""
			}
			if f.value == "" {
				parts[6] = ""
			}
			width := 0
			for _, part := range parts {
				write(part)
				width += len(part)
			}
			write(column[min(width, len(column)-1):])
			write(f.help)
			write("\n")
		}
	}
}
