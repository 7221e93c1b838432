package live

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"github.com/podinit/podinit/test/observe"
)

// The picture's measures: a column and a row of the dashboard's grid.
const column, row = 50, 28

var colours = []string{"#1a56c4", "#1a6b2f", "#b3261e", "#b06a00", "#6a3fb5", "#00798c", "#8a5a44", "#555"}

// Draw draws the dashboard as SVG with the answers in a recording, each panel where the dashboard has it. Sections in which no
// panel has an answer are left out.
func Draw(dashboard observe.Dashboard, r Recording) string {
	answers := map[string][]Series{}
	for _, panel := range r.Panels {
		answers[panel.Title] = panel.Series
	}
	type section struct {
		title  string
		panels []observe.Panel
	}
	var sections []section
	for _, panel := range dashboard.Panels {
		if panel.Type == "row" {
			sections = append(sections, section{title: panel.Title})
		} else if n := len(sections); n > 0 {
			sections[n-1].panels = append(sections[n-1].panels, panel)
		}
	}
	sections = slices.DeleteFunc(sections, func(s section) bool {
		return !slices.ContainsFunc(s.panels, func(p observe.Panel) bool { return len(answers[p.Title]) > 0 })
	})
	var b strings.Builder
	y := 8
	for _, s := range sections {
		fmt.Fprintf(&b, `  <text x="8" y="%d" class="r">%s</text>`+"\n", y+18, html.EscapeString(s.title))
		top := s.panels[0].GridPos.Y
		bottom := top
		for _, panel := range s.panels {
			top, bottom = min(top, panel.GridPos.Y), max(bottom, panel.GridPos.Y+panel.GridPos.H)
		}
		for _, panel := range s.panels {
			at := panel.GridPos
			drawPanel(&b, at.X*column+4, y+26+(at.Y-top)*row, at.W*column-8, at.H*row-8, panel, answers[panel.Title])
		}
		y += 26 + (bottom-top)*row + 6
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img" aria-label="The panels of the dashboard %s, with %.0f seconds of a webhook under load">
  <style>.r{font-size:15px;font-weight:bold;fill:#222}.f{fill:#fff;stroke:#ddd}.h{fill:#222;font-weight:bold}.s{fill:#666;font-size:10px}.v{fill:#1a6b2f;font-size:24px}.n{fill:#999}.g{stroke:#eee}</style>
  <rect width="%[1]d" height="%[2]d" fill="#f7f7f8"/>
%[5]s</svg>
`, 24*column, y, html.EscapeString(dashboard.Title), r.Seconds, b.String())
}

func drawPanel(b *strings.Builder, x, y, w, h int, panel observe.Panel, series []Series) {
	fmt.Fprintf(b, `  <rect x="%d" y="%d" width="%d" height="%d" rx="3" class="f"/><text x="%d" y="%d" class="h">%s</text>`+"\n", x, y, w, h, x+8, y+17, html.EscapeString(short(panel.Title, w/7)))
	unit := panel.FieldConfig.Defaults.Unit
	switch {
	case len(series) == 0:
		fmt.Fprintf(b, `  <text x="%d" y="%d" class="n" text-anchor="middle">No data</text>`+"\n", x+w/2, y+h/2+8)
	case panel.Type == "stat":
		text := ""
		for _, s := range series {
			if value := last(s); panel.Title == "Versions" && s.Name != "" {
				text = s.Name
			} else if value != nil {
				text = format(*value, unit)
			}
		}
		fmt.Fprintf(b, `  <text x="%d" y="%d" class="v" text-anchor="middle">%s</text>`+"\n", x+w/2, y+h/2+18, html.EscapeString(text))
	default:
		drawLines(b, x+52, y+28, w-64, h-28-14*legendRows(series)-10, series, unit)
		drawLegend(b, x+12, y+h-14*legendRows(series), w-20, series)
	}
}

func last(s Series) *float64 {
	for _, value := range slices.Backward(s.Values) {
		if value != nil {
			return value
		}
	}
	return nil
}

func drawLines(b *strings.Builder, x, y, w, h int, series []Series, unit string) {
	top := 0.0
	for _, s := range series {
		for _, value := range s.Values {
			if value != nil {
				top = max(top, *value)
			}
		}
	}
	if top == 0 {
		top = 1
	}
	for _, part := range []float64{0, 0.5, 1} {
		at := float64(y+h) - part*float64(h)
		fmt.Fprintf(b, `  <path d="M%d %.1fh%d" class="g"/><text x="%d" y="%.1f" class="s" text-anchor="end">%s</text>`+"\n", x, at, w, x-4, at+3, html.EscapeString(format(part*top, unit)))
	}
	for i, s := range series {
		var path strings.Builder
		pen := "M"
		for j, value := range s.Values {
			if value == nil {
				pen = "M"
				continue
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", pen, float64(x)+float64(j)/float64(max(len(s.Values)-1, 1))*float64(w), float64(y+h)-*value/top*float64(h))
			pen = "L"
		}
		fmt.Fprintf(b, `  <path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path.String(), colours[i%len(colours)])
	}
}

// maxLegend bounds the names below a panel.
const maxLegend = 6

func legendRows(series []Series) int { return (min(len(series), maxLegend) + 2) / 3 }

func drawLegend(b *strings.Builder, x, y, w int, series []Series) {
	for i, s := range series[:min(len(series), maxLegend)] {
		if s.Name == "" {
			continue
		}
		at, line := x+i%3*w/3, y+i/3*14
		fmt.Fprintf(b, `  <rect x="%d" y="%d" width="8" height="3" fill="%s"/><text x="%d" y="%d" class="s">%s</text>`+"\n",
			at, line, colours[i%len(colours)], at+12, line+5, html.EscapeString(short(s.Name, w/3/6)))
	}
}

func short(text string, letters int) string {
	if runes := []rune(text); len(runes) > letters && letters > 1 {
		return string(runes[:letters-1]) + "…"
	}
	return text
}

// format is a value with its unit, as Grafana would write it.
func format(value float64, unit string) string {
	number := func(v float64) string {
		text := fmt.Sprintf("%.*f", int(max(0, 2-math.Floor(math.Log10(max(math.Abs(v), 0.01))))), v)
		if strings.Contains(text, ".") {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
		}
		return text
	}
	scaled := func(v float64, base float64, units ...string) string {
		i := 0
		for ; math.Abs(v) >= base && i < len(units)-1; i++ {
			v /= base
		}
		if v == 0 {
			return "0"
		}
		return fmt.Sprintf("%.3g %s", v, units[i])
	}
	switch unit {
	case "percentunit":
		return fmt.Sprintf("%.3g %%", value*100)
	case "bytes", "decbytes":
		return scaled(value, 1024, "B", "KiB", "MiB", "GiB")
	case "s", "dtdurations":
		switch {
		case value == 0:
			return "0"
		case value >= 2*86400:
			return fmt.Sprintf("%.0f days", value/86400)
		case value >= 1:
			return fmt.Sprintf("%.3g s", value)
		}
		return scaled(value*1e6, 1000, "µs", "ms")
	case "reqps", "ops", "cps":
		return number(value) + "/s"
	}
	if value == 0 {
		return "0"
	}
	return number(value)
}
