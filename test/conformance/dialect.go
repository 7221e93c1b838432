package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// An Init is a program under test and the dialect in which it takes its options.
type Init struct {
	// Name heads the init's column.
	Name string
	// Path is the binary.
	Path    string
	dialect dialect
}

// Options is what a check asks of an init, in podinit's words. The zero value asks for the init's own defaults.
type Options struct {
	Target    string // "main", "group" or "all"
	Subreaper bool   // as tini's -s
	Verbose   bool
	Rewrite   []string // "TERM:QUIT", "HUP:0"
	Remap     []int    // exit codes that become 0
	Grace     time.Duration
	Linger    time.Duration
	WaitAll   bool
	Escalate  bool
	Stop      string // the stop signal besides TERM
	Message   string // path of the termination message
	Procfile  string // started beside the main process
	Raw       []string
}

// A dialect turns options into arguments, main process not included, or says which option the init does not have.
type dialect func(Options) (args []string, missing string)

// ParseInit reads [name=]path; the dialect follows from the name, which is the file's unless given.
// A name that no peer has means podinit's dialect.
func ParseInit(s string) (Init, error) {
	name, path, named := strings.Cut(s, "=")
	if !named {
		name, path = filepath.Base(s), s
	}
	in := Init{Name: name, Path: path}
	switch {
	case name == "none":
		in.dialect = bare
		return in, nil
	case name == "wrong":
		self, err := os.Executable()
		return Init{name, self, heedless}, err
	case strings.HasPrefix(name, "tini"), name == "docker-init":
		in.dialect = tini
	case name == "dumb-init":
		in.dialect = dumbInit
	case name == "catatonit":
		in.dialect = catatonit
	default:
		in.dialect = podinit
	}
	var err error
	if in.Path, err = filepath.Abs(path); err != nil {
		return in, fmt.Errorf("init %q: %w", s, err)
	}
	return in, nil
}

func podinit(o Options) (args []string, missing string) {
	flag := func(name, value string) {
		if value != "" {
			args = append(args, "--"+name+"="+value)
		}
	}
	span := func(name string, d time.Duration) {
		if d != 0 {
			flag(name, d.String())
		}
	}
	flag("signal-target", o.Target)
	if o.Subreaper {
		args = append(args, "-s")
	}
	if o.Verbose {
		args = append(args, "-v")
	}
	for _, r := range o.Rewrite {
		flag("rewrite", r)
	}
	for _, c := range o.Remap {
		args = append(args, "-e", strconv.Itoa(c))
	}
	span("grace", o.Grace)
	span("linger", o.Linger)
	if o.WaitAll {
		flag("wait", "all")
	}
	if o.Escalate {
		flag("escalate", "all")
	}
	flag("stop-signal", o.Stop)
	flag("termination-message", o.Message)
	flag("procfile", o.Procfile)
	return append(append(args, o.Raw...), "--"), ""
}

// unknown names the first option that none of the peers has.
func (o Options) unknown() string {
	switch {
	case o.Target == "all":
		return "signal target all"
	case o.Grace != 0, o.Linger != 0:
		return "time to finish"
	case o.WaitAll:
		return "wait for all"
	case o.Escalate:
		return "escalation"
	case o.Stop != "":
		return "stop signal"
	case o.Message != "":
		return "termination message"
	case o.Procfile != "":
		return "procfile"
	}
	return ""
}

func tini(o Options) (args []string, missing string) {
	if len(o.Rewrite) > 0 {
		return nil, "rewrite"
	}
	if o.Target == "group" {
		args = append(args, "-g")
	}
	if o.Subreaper {
		args = append(args, "-s")
	}
	if o.Verbose {
		args = append(args, "-vvv", "-w")
	}
	for _, c := range o.Remap {
		args = append(args, "-e", strconv.Itoa(c))
	}
	return append(append(args, o.Raw...), "--"), o.unknown()
}

func dumbInit(o Options) (args []string, missing string) {
	if len(o.Remap) > 0 {
		return nil, "remap"
	}
	if o.Subreaper {
		return nil, "subreaper"
	}
	if o.Target == "main" {
		args = append(args, "-c")
	}
	if o.Verbose {
		args = append(args, "-v")
	}
	for _, r := range o.Rewrite {
		args = append(args, "-r", rewriteByNumber(r))
	}
	return append(append(args, o.Raw...), "--"), o.unknown()
}

// rewriteByNumber spells a rewrite as dumb-init wants it.
func rewriteByNumber(r string) string {
	from, to, _ := strings.Cut(r, ":")
	n := func(s string) string {
		if sig, ok := signalNumber(s); ok {
			return strconv.Itoa(sig)
		}
		return s
	}
	return n(from) + ":" + n(to)
}

func catatonit(o Options) (args []string, missing string) {
	switch {
	case len(o.Remap) > 0:
		return nil, "remap"
	case len(o.Rewrite) > 0:
		return nil, "rewrite"
	case o.Target == "group":
		args = append(args, "-g")
	}
	return append(append(args, o.Raw...), "--"), o.unknown()
}

// bare is no init, which has no options.
func bare(o Options) ([]string, string) {
	switch {
	case len(o.Rewrite) > 0:
		return nil, "rewrite"
	case len(o.Remap) > 0:
		return nil, "remap"
	case o.Target == "group":
		return nil, "signal target group"
	}
	return nil, o.unknown()
}

// heedless is the wrong init's: it takes every option and does nothing with it, but for a file to write nonsense into.
func heedless(o Options) ([]string, string) {
	if o.Message != "" {
		return []string{messageWord + o.Message}, ""
	}
	return nil, ""
}
