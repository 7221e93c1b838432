package explain

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/podinit/podinit/internal/cli/output"
)

// print prints the report in any format.
func (r Report) print(w io.Writer, format output.Format) error {
	if format != output.Table && format != output.Wide {
		return format.Print(w, r)
	}
	var b strings.Builder
	if err := r.table(&b, output.StyleFor(w), format == output.Wide); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// table is a line for each container, and the summary below.
func (r Report) table(b *strings.Builder, style output.Style, wide bool) error {
	live := slices.ContainsFunc(r.Containers, func(row Row) bool { return row.Pods > 0 })
	header := []string{"NAMESPACE", "WORKLOAD", "CONTAINER"}
	if live {
		header = append(header, "PODS")
	}
	header = append(header, "PID 1", "SIGNAL", "REACHES PROGRAM", "REAPED BY", "WITH PODINIT", "VERDICT")
	if wide {
		header = append(header, "KIND", "GRACE", "RUNS", "WHY")
	}
	var rows [][]string
	for _, row := range r.Containers {
		workload := row.Workload
		if row.Template != "" {
			workload += ", " + row.Template
		}
		cells := []string{row.Namespace, workload, row.Container}
		if live {
			cells = append(cells, strconv.Itoa(row.Pods))
		}
		cells = append(cells, brief(row.PID1), row.StopSignal, coloured(style, row.SignalReachesProgram), row.ReapedBy, row.with(),
			row.emphasis(style))
		if wide {
			runs := "unknown"
			if len(row.Runs) > 0 {
				runs = strings.Map(func(c rune) rune {
					if c < ' ' {
						return ' '
					}
					return c
				}, shown(row.Runs))
			}
			cells = append(cells, row.Kind, fmt.Sprintf("%ds", row.GracePeriodSeconds), runs, row.why())
		}
		rows = append(rows, cells)
	}
	if len(rows) > 0 {
		if err := output.Rows(b, header, rows); err != nil {
			return err
		}
		b.WriteByte('\n')
	}
	for i, sentence := range r.sentences() {
		if i == 0 {
			sentence = style.Bold(sentence)
		}
		b.WriteString(sentence + "\n")
	}
	s := r.Summary
	of := "In " + output.Count(s.Workloads, "workload")
	if live {
		of += " with " + output.Count(s.Pods, "pod")
	}
	if s.InitContainers > 0 {
		of += fmt.Sprintf("; %s not shown, which podinit leaves alone", output.Count(s.InitContainers, "init container"))
	}
	b.WriteString(style.Faint(of+".") + "\n")
	return nil
}

func coloured(style output.Style, a Answer) string {
	switch a {
	case Yes:
		return style.Green(string(a))
	case No:
		return style.Red(string(a))
	}
	return style.Yellow(string(a))
}

// with is what is, or would be, with podinit.
func (r Row) with() string {
	switch {
	case r.Verdict == HasPodinit:
		return "has it already"
	case r.LeftAlone != nil:
		return "left alone: " + string(r.LeftAlone.Reason)
	case r.Changes == "" || r.Verdict == NothingToGain:
		return "no difference"
	}
	return r.Changes
}

func (r Row) emphasis(style output.Style) string {
	text := verdicts[r.Verdict]
	switch r.Verdict {
	case GainsSignal:
		return style.Red(text)
	case MayGain, GainsReaping, UnknownVerdict:
		return style.Yellow(text)
	case HasPodinit:
		return style.Green(text)
	}
	return text
}

// why is the reason behind the verdict, in a sentence.
func (r Row) why() string {
	because := func(l *LeftAlone) string {
		text := l.Because
		if l.Detail != "" {
			text += " (" + l.Detail + ")"
		}
		return oneLine(text)
	}
	switch {
	case r.Unknown != nil:
		return because(r.Unknown)
	case r.LeftAlone != nil:
		return because(r.LeftAlone)
	case r.Verdict == GainsReaping:
		return r.OrphansWhy
	}
	return r.SignalWhy
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
