package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// printTable prints a row for each time that a scenario's pod has run: without podinit, with it, and with node mode if that is
// installed.
func printTable(to io.Writer, results []result) error {
	fmt.Fprintf(to, "The same pods without and with podinit. Zombies are counted %.0f s after the start; the grace period is %.0f s.\n\n",
		settle.Seconds(), gracePeriod.Seconds())
	table := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "POD\tINIT\tPID 1\tZOMBIES\tLOGGED AT SHUTDOWN\tGONE AFTER\tEXIT CODE")
	for _, r := range results {
		title := r.title
		for _, side := range r.sides() {
			fmt.Fprintln(table, strings.Join(append([]string{title, side.init}, side.got.cells()...), "\t"))
			title = "" // once
		}
	}
	return table.Flush()
}

// cells are the columns that say what was seen.
func (o outcome) cells() []string {
	logged := "nothing"
	if len(o.logged) > 0 {
		logged = strings.Join(o.logged, ", ")
	}
	return []string{o.pid1, strconv.Itoa(o.zombies), logged, seconds(o.gone), exit(o.exitCode)}
}

// exit is an exit code, with the signal's name where it stands for one.
func exit(code int32) string {
	names := map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGTERM: "SIGTERM"}
	if name, ok := names[syscall.Signal(code-128)]; ok {
		return fmt.Sprintf("%d (%s)", code, name)
	}
	return strconv.Itoa(int(code))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// summary is what the table shows, in a sentence or two.
func summary(results []result) string {
	var killed, zombies, byNode int
	var slowest time.Duration
	for _, r := range results {
		if r.plain.exitCode == 128+int32(syscall.SIGKILL) {
			killed++
		}
		zombies += r.plain.zombies
		slowest = max(slowest, r.podinit.gone)
		if r.node != nil {
			slowest = max(slowest, r.node.gone)
			byNode++
		}
	}
	said := fmt.Sprintf("Without podinit %d of %d pods had to be killed after the whole grace period, their work unfinished, "+
		"and %d zombies stayed; with it every program ended by itself, the last pod was gone after %s, and no zombie was left.",
		killed, len(results), zombies, seconds(slowest))
	if byNode > 0 {
		said += fmt.Sprintf(" Nothing of the %d pods that the node wrapped was changed.", byNode)
	}
	return said
}
