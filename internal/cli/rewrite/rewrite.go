// Package rewrite is what commands that change the pod templates in manifests have in common: what they read, and how they
// print it.
package rewrite

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/files"
	"github.com/podinit/podinit/internal/cli/manifest"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/jsonpatch"
)

// Rewriter changes manifests.
type Rewriter struct {
	// Template is the JSON patch for the Pod of a template; nil if the template stays as it is.
	Template func(ctx context.Context, template manifest.Template) (patch []byte, err error)
	// Untouched is called for each document, to say what happens to the Pods of objects that are not changed; nil says nothing.
	Untouched func(*manifest.Document)
	// After is what a diff calls a changed file, behind its name.
	After string
	// Streams to read from and to print to.
	Streams genericiooptions.IOStreams

	files files.Options
	diff  bool
}

// Result is what manifests become.
type Result struct {
	// Text is what is printed: the manifests, or their diff.
	Text string
	// Templates are how many pod templates were found.
	Templates int
	// Different is set where a manifest has changed.
	Different bool
}

// AddFlags adds -f, -R and --diff.
func (r *Rewriter) AddFlags(command *cobra.Command) {
	r.files.AddFlags(command)
	command.Flags().BoolVar(&r.diff, "diff", false, "print a unified diff instead of the manifests; exit code 1 if there is a difference")
}

// NoArgs refuses words that are not flags, as kubectl does where -f names files.
func NoArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("name files with -f: -f %s", args[0])
	}
	return nil
}

// Check fails if no file is named.
func (r *Rewriter) Check(command *cobra.Command) error {
	if len(r.files.Names) == 0 {
		return exit.With(exit.Usage,
			fmt.Errorf("-f is required: -f FILE, -f DIRECTORY, or -f - for the standard input; see '%s --help'", command.CommandPath()))
	}
	return nil
}

// Rewrite reads everything, and prints nothing: a pipeline must not apply half of it.
func (r *Rewriter) Rewrite(ctx context.Context) (Result, error) {
	inputs, err := r.files.Read(r.Streams.In)
	if err != nil {
		return Result{}, err
	}
	var result Result
	var out strings.Builder
	for _, input := range inputs {
		changed, templates, err := r.file(ctx, input)
		if err != nil {
			return Result{}, err
		}
		result.Templates += templates
		result.Different = result.Different || changed != input.Text
		if r.diff {
			out.WriteString(r.unified(input.Name, input.Text, changed))
		} else {
			join(&out, changed)
		}
	}
	result.Text = out.String()
	return result, nil
}

// Print prints a result. With --diff a difference is an exit code.
func (r *Rewriter) Print(result Result) error {
	if _, err := io.WriteString(r.Streams.Out, result.Text); err != nil {
		return err
	}
	if r.diff && result.Different {
		return exit.Silently(exit.Found)
	}
	return nil
}

// Say prints a line on standard error; its level is note, warning or error.
func (r *Rewriter) Say(level, text string) {
	style := output.StyleFor(r.Streams.ErrOut)
	colour := map[string]func(string) string{"note": style.Faint, "warning": style.Yellow, "error": style.Red}[level]
	fmt.Fprintf(r.Streams.ErrOut, "%s %s\n", colour(level+":"), text)
}

// Where is what a line on standard error calls a template.
func Where(t manifest.Template) string {
	where := t.Object.String()
	if strings.Contains(t.At, "[") {
		where += ", " + t.At
	}
	return where
}

// join puts a file after others, with a separator between them if it does not begin with one.
func join(out *strings.Builder, text string) {
	if out.Len() > 0 {
		if !strings.HasSuffix(out.String(), "\n") {
			out.WriteByte('\n')
		}
		if !strings.HasPrefix(text, "---") {
			out.WriteString("---\n")
		}
	}
	out.WriteString(strings.TrimPrefix(text, "\ufeff"))
}

func (r *Rewriter) unified(name, before, after string) string {
	diff := udiff.Unified(name, name+" "+r.After, before, after)
	style := output.StyleFor(r.Streams.Out)
	if !bool(style) || diff == "" {
		return diff
	}
	lines := strings.SplitAfter(diff, "\n")
	for i, line := range lines {
		switch text := strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "@@"):
			lines[i] = style.Bold(text) + line[len(text):]
		case strings.HasPrefix(line, "+"):
			lines[i] = style.Green(text) + line[len(text):]
		case strings.HasPrefix(line, "-"):
			lines[i] = style.Red(text) + line[len(text):]
		}
	}
	return strings.Join(lines, "")
}

// file is a file's text with its pod templates changed, and how many it has.
func (r *Rewriter) file(ctx context.Context, input files.File) (text string, templates int, err error) {
	documents, err := manifest.Read(input.Text)
	if err != nil {
		return "", 0, exit.With(exit.Usage, fmt.Errorf("%s: %w", input.Name, err))
	}
	var out strings.Builder
	for _, d := range documents {
		templates += len(d.Templates)
		pods := map[int][]byte{}
		for i, template := range d.Templates {
			pod, err := r.template(ctx, template)
			if err != nil {
				return "", 0, exit.With(exit.Usage,
					fmt.Errorf("%s: the document that begins on line %d: %s: %w", input.Name, d.Line, template.Object, err))
			}
			if pod != nil {
				pods[i] = pod
			}
		}
		if r.Untouched != nil {
			r.Untouched(d)
		}
		text, lossy, err := d.With(pods)
		if err != nil {
			return "", 0, fmt.Errorf("%s: the document that begins on line %d: %w", input.Name, d.Line, err)
		}
		if lossy {
			r.Say("note", fmt.Sprintf("%s: the document that begins on line %d is formatted again: it has an anchor or a notation that cannot be "+
				"changed in place", input.Name, d.Line))
		}
		out.WriteString(text)
	}
	return out.String(), templates, nil
}

// template is the Pod that a template's becomes, nil if it stays as it is.
func (r *Rewriter) template(ctx context.Context, t manifest.Template) ([]byte, error) {
	patch, err := r.Template(ctx, t)
	if err != nil {
		return nil, manifest.Mistyped(err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if patch == nil {
		return nil, nil
	}
	return jsonpatch.Apply(t.Pod, patch)
}
