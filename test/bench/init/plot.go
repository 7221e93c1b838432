package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// drawing is how the plot shows a row.
type drawing int

const (
	notDrawn drawing = iota
	bars             // a panel with a bar for each contender
	cells            // a column in the panel of all rows of this kind: figures are percentages
)

// The plot's measures, in pixels.
const (
	panelsInLine = 3
	panelWidth   = 310
	panelHeight  = 168
	margin       = 20
	heading      = 64
	lineHeight   = 22
	nameWidth    = 78
)

const (
	ink, faint, paper = "#1f2328", "#6e7781", "#ffffff"
	ourColour         = "#0969da"
	theirColour       = "#afb8c1"
	lostColour        = "#cf222e"
)

// draw is the rows as an SVG image. Less is better in every panel.
func draw(conditions string, contenders []contender, rows []row) string {
	var panels []string
	var columns []row
	for _, r := range rows {
		switch r.drawing {
		case bars:
			panels = append(panels, barPanel(contenders, r))
		case cells:
			columns = append(columns, r)
		}
	}
	if len(columns) > 0 {
		panels = append(panels, cellPanel(contenders, columns))
	}

	width := 2*margin + panelsInLine*panelWidth
	height := heading + (len(panels)+panelsInLine-1)/panelsInLine*panelHeight + margin
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%[2]d" viewBox="0 0 %[1]d %d" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="%s"/>`+"\n", width, height, paper)
	s.WriteString(text(margin, 28, `font-size="17" font-weight="600"`, ink, "podinit beside the packaged inits: less is better"))
	s.WriteString(text(margin, 46, `font-size="11"`, faint, conditions))
	for i, p := range panels {
		fmt.Fprintf(&s, `<g transform="translate(%d %d)">`+"\n%s</g>\n", margin+i%panelsInLine*panelWidth, heading+i/panelsInLine*panelHeight, p)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

// barPanel has a line for each contender: its name, a bar, the figure.
func barPanel(contenders []contender, r row) string {
	const longest = panelWidth - nameWidth - 75
	most := 0.0
	for _, c := range contenders {
		v, _ := r.figures.value(c.name)
		most = max(most, v)
	}
	var s strings.Builder
	s.WriteString(text(0, 22, `font-weight="600"`, ink, r.title()))
	for i, c := range contenders {
		v, ok := r.figures.value(c.name)
		if !ok {
			continue
		}
		length := 0.0
		if most > 0 {
			length = v / most * longest
		}
		y := 32 + i*lineHeight
		s.WriteString(contenderName(i, c, y))
		fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", nameWidth, y, max(length, 1), lineHeight-6, colour(i))
		s.WriteString(text(nameWidth+int(length)+6, y+12, "", ink, number(v)))
	}
	return s.String()
}

// cellPanel has a line for each contender and a column for each row; a cell is the redder the more it is.
func cellPanel(contenders []contender, rows []row) string {
	cell := (panelWidth - nameWidth - 20) / len(rows)
	var s strings.Builder
	s.WriteString(text(0, 22, `font-weight="600"`, ink, "SIGTERM lost, %, by µs after the init's exec"))
	for i, c := range contenders {
		y := 32 + i*lineHeight
		s.WriteString(contenderName(i, c, y))
		for j, r := range rows {
			v, _ := r.figures.value(c.name)
			fill := ourColour
			opacity := 0.12
			if v > 0 {
				fill, opacity = lostColour, 0.15+0.65*v/100
			}
			x := nameWidth + j*cell
			fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s" fill-opacity="%.2f"/>`+"\n", x, y, cell-2, lineHeight-4, fill, opacity)
			s.WriteString(text(x+cell/2-1, y+13, `text-anchor="middle" font-size="11"`, ink, number(v)))
		}
	}
	for j, r := range rows {
		s.WriteString(text(nameWidth+j*cell+cell/2-1, 32+len(contenders)*lineHeight+10, `text-anchor="middle" font-size="11"`, faint, fmt.Sprint(r.moment)))
	}
	return s.String()
}

func contenderName(i int, c contender, y int) string {
	weight := ""
	if i == 0 {
		weight = `font-weight="600"`
	}
	return text(nameWidth-8, y+12, `text-anchor="end" `+weight, ink, c.name)
}

func colour(i int) string {
	if i == 0 {
		return ourColour
	}
	return theirColour
}

func text(x, y int, attributes, fill, content string) string {
	var escaped strings.Builder
	xml.EscapeText(&escaped, []byte(content))
	return fmt.Sprintf(`<text x="%d" y="%d" fill="%s" %s>%s</text>`+"\n", x, y, fill, attributes, escaped.String())
}
