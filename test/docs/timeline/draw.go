package timeline

import (
	"fmt"
	"html"
	"regexp"
	"strings"
)

// The picture's measures.
const (
	width, left, right = 760, 84, 24
	lane, head         = 30, 52
)

var (
	worksAs = regexp.MustCompile(`^(?:podinit: started )?"?(\w+)"?:?(?: works)? as pid (\d+)$`)
	pidOf   = regexp.MustCompile(`pid (\d+)`)
)

// Draw draws a recording as SVG: for each run a lane for the init, or the kernel, and one for each program.
func Draw(r Recording) string {
	var b strings.Builder
	height := 20
	for _, run := range r.Runs {
		height += panel(run)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img" aria-label="%s">`+"\n", width, height, html.EscapeString(label(r)))
	b.WriteString("  <style>.t{fill:#222}.h{fill:#222;font-size:14px;font-weight:bold}.s{fill:#555;font-size:11px}.g{stroke:#ddd}.p{fill:#cfe3d4;stroke:#1a6b2f}.e{fill:#1a56c4}.d{stroke:#b3261e;stroke-dasharray:5 3}.bad{fill:#b3261e;font-weight:bold}.good{fill:#1a6b2f;font-weight:bold}</style>\n")
	fmt.Fprintf(&b, `  <rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	y := 0
	for _, run := range r.Runs {
		drawRun(&b, y, r, run)
		y += panel(run)
	}
	x := scale(r)
	for second := 0; float64(second) <= r.Grace; second += 2 {
		fmt.Fprintf(&b, `  <text x="%.0f" y="%d" class="s" text-anchor="middle">%d s</text>`+"\n", x(float64(second)), height-6, second)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// label says in words what the picture shows.
func label(r Recording) string {
	var parts []string
	for _, run := range r.Runs {
		parts = append(parts, fmt.Sprintf("%s: the container ends %.1f s after SIGTERM with exit code %d", title(run), run.Ended, run.ExitCode))
	}
	return strings.Join(parts, "; ")
}

func title(run Run) string {
	if run.Init {
		return "With podinit"
	}
	return "Without podinit"
}

// scale is where a second after SIGTERM is.
func scale(r Recording) func(seconds float64) float64 {
	last := r.Grace
	for _, run := range r.Runs {
		last = max(last, run.Ended)
	}
	return func(seconds float64) float64 { return left + seconds/(last*1.04)*(width-left-right) }
}

func panel(run Run) int { return head + lane*len(lanes(run)) + 12 }

// lanes are the init's, if there is one, and those of the programs.
func lanes(run Run) []string {
	if run.Init {
		return append([]string{"podinit"}, programs...)
	}
	return programs
}

func drawRun(b *strings.Builder, top int, r Recording, run Run) {
	x := scale(r)
	names := map[string]string{}
	for _, line := range run.Lines {
		if m := worksAs.FindStringSubmatch(line.Text); m != nil {
			names[m[2]] = m[1]
		}
	}
	bottom := top + head + lane*len(lanes(run))
	outcome := "good"
	if run.ExitCode == 137 {
		outcome = "bad"
	}
	fmt.Fprintf(b, `  <text x="8" y="%d" class="h">%s</text>`+"\n", top+20, title(run))
	fmt.Fprintf(b, `  <path d="M%.0f %dV%d" stroke="#1a56c4"/><text x="%.0f" y="%d" class="s">SIGTERM</text>`+"\n", x(0), top+head-8, bottom, x(0)-4, top+head-12)
	fmt.Fprintf(b, `  <path d="M%.1f %dV%d" class="d"/><text x="%.1f" y="%d" class="%s" text-anchor="end">ended after %.1f s, exit code %d</text>`+"\n",
		x(run.Ended), top+head-8, bottom, max(x(run.Ended), 360), top+head-12, outcome, run.Ended, run.ExitCode)
	for i, name := range lanes(run) {
		y := top + head + lane*i
		fmt.Fprintf(b, `  <text x="8" y="%d" class="t">%s</text><path d="M%d %dH%d" class="g"/>`+"\n", y+19, html.EscapeString(name), left, y+lane, width-right)
		if name == "podinit" {
			drawInit(b, y, x, run, names)
		} else {
			drawProgram(b, y, x, run, name)
		}
	}
}

// drawProgram draws a bar from SIGTERM's handler to its end, or, where no handler ran, that.
func drawProgram(b *strings.Builder, y int, x func(float64) float64, run Run, name string) {
	begin, end := -1.0, run.Ended
	for _, line := range run.Lines {
		switch line.Text {
		case name + ": SIGTERM, finishes":
			begin = line.At
		case name + ": finished":
			end = line.At
		}
	}
	if begin < 0 {
		fmt.Fprintf(b, `  <path d="M%.1f %dH%.1f" stroke="#b3261e"/><text x="%.1f" y="%d" class="s">no SIGTERM: works on, until SIGKILL</text>`+"\n",
			x(0), y+20, x(run.Ended), x(0)+6, y+15)
		return
	}
	fmt.Fprintf(b, `  <rect x="%.1f" y="%d" width="%.1f" height="20" rx="3" class="p"/><text x="%.1f" y="%d" class="t">handler, %.1f s</text>`+"\n",
		x(begin), y+5, x(end)-x(begin), x(begin)+6, y+19, end-begin)
}

// drawInit draws a mark for each message after SIGTERM; what was sent or ended stands right of them.
func drawInit(b *strings.Builder, y int, x func(float64) float64, run Run, names map[string]string) {
	var words []string
	last := 0.0
	for _, line := range run.Lines {
		text, ok := strings.CutPrefix(line.Text, "podinit: ")
		if !ok || line.At < 0 {
			continue
		}
		fmt.Fprintf(b, `  <circle cx="%.1f" cy="%d" r="3.5" class="e"/>`+"\n", x(line.At), y+15)
		if sent, ok := strings.CutPrefix(text, "sending SIGTERM to "); ok {
			words = append(words, pidOf.ReplaceAllStringFunc(sent, func(pid string) string { return names[strings.TrimPrefix(pid, "pid ")] }))
		}
		last = max(last, line.At)
	}
	fmt.Fprintf(b, `  <text x="%.1f" y="%d" class="s">SIGTERM to %s</text>`+"\n", x(last)+9, y+19, strings.Join(words, ", "))
}
