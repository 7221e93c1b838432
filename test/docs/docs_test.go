package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

func read(t *testing.T) []Page {
	t.Helper()
	pages, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 10 {
		t.Fatalf("only %d pages", len(pages))
	}
	return pages
}

// Every link to something in the repository leads to it, to a heading too.
func TestLinks(t *testing.T) {
	pages := read(t)
	anchors := map[string]map[string]bool{}
	for _, p := range pages {
		anchors[p.Path] = p.Anchors
	}
	linked := map[string]bool{}
	for _, p := range pages {
		for _, link := range p.Links {
			if strings.Contains(link, "://") {
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			target := p.Path
			if file != "" {
				target = path.Join(path.Dir(p.Path), file)
			}
			linked[target] = true
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %s leads nowhere: %v", p.Path, link, err)
			} else if anchor != "" && !anchors[target][anchor] {
				t.Errorf("%s: %s has no heading %q", p.Path, target, anchor)
			}
		}
	}
	for _, p := range pages {
		if strings.HasPrefix(p.Path, "docs/") && !linked[p.Path] {
			t.Errorf("no page leads to %s", p.Path)
		}
	}
}

// What the webhook's own messages, alerts and manifests say about pages is so.
func TestPagesThatAreNamed(t *testing.T) {
	known := map[string]Page{}
	for _, p := range read(t) {
		known[p.Path] = p
	}
	for _, file := range []string{"config/prometheus/prometheus_rule.yaml", "config/prometheus/dashboard.json"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\b(docs/[\w/-]+\.md)(?:#([\w-]+))?`).FindAllStringSubmatch(string(text), -1) {
			if page, ok := known[m[1]]; !ok || m[2] != "" && !page.Anchors[m[2]] {
				t.Errorf("%s: there is no %s", file, m[0])
			}
		}
	}
}

// maxNotRun bounds the blocks of commands that no test runs. Run one instead of raising it. One is for OpenShift, whose
// client and registry there are not here.
const maxNotRun = 4

// Every command is run by a test, or it is said why not.
func TestEveryCommandIsRun(t *testing.T) {
	commands := regexp.MustCompile(`(?m)^\s*(\$ )?((kubectl|helm|make|docker|buildah|git|curl|apt-get) [a-z-]|podinit (inject|explain|status|check) )[^─]*$`)
	run, not := 0, 0
	for _, p := range read(t) {
		if p.Path != "README.md" && !strings.HasPrefix(p.Path, "docs/") {
			continue // for contributors: what CI runs is in the Makefile
		}
		for i, b := range p.Blocks {
			switch {
			case slices.Contains([]string{"bash", "shell", "console"}, b.Language), b.Language == "" && b.Marker.Kind == "" && commands.MatchString(b.Text):
				t.Errorf("%s:%d: label commands sh", p.Path, b.Line)
			case b.Language == "sh":
				switch b.Marker.Kind {
				case RunOnCluster, RunBare, RunOffline:
					run++
				case NotRun:
					not++
					first, _, _ := strings.Cut(strings.TrimSpace(b.Text), "\n")
					t.Logf("%s:%d is not run: %s (%s)", p.Path, b.Line, b.Marker.Text, first)
				default:
					t.Errorf("%s:%d: say run: cluster, run: offline, or not run and why, in a comment before the commands", p.Path, b.Line)
				}
			case b.Marker.Kind == RunOnCluster, b.Marker.Kind == RunBare, b.Marker.Kind == RunOffline, b.Marker.Kind == NotRun:
				t.Errorf("%s:%d: only sh is run, not %q", p.Path, b.Line, b.Language)
			case b.Marker.Kind == Output && (i == 0 || p.Blocks[i-1].Language != "sh"):
				t.Errorf("%s:%d: output of which commands?", p.Path, b.Line)
			}
		}
	}
	if not > maxNotRun {
		t.Errorf("%d blocks of commands are not run; %d are the most", not, maxNotRun)
	}
	t.Logf("%d blocks of commands are run, %d are not", run, not)
}

func TestParse(t *testing.T) {
	page, err := Parse("a.md", []byte("# What it *is*: `a.b`\n\n## Same\n\n## Same\n\n[x](b.md#c) ![y](d.svg)\n\n| a |\n|---|\n| [z](e) |\n\n"+
		"<!-- run: cluster -->\n```sh\nkubectl x\n```\n\n<!-- output -->\n```\nx\n```\n\n- in a list:\n\n  <!-- not run: no -->\n  ```sh\n  y\n  ```\n\n```yaml\nz: 1\n```\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Page{
		Path: "a.md", Links: []string{"b.md#c", "d.svg", "e"},
		Anchors: map[string]bool{"what-it-is-ab": true, "same": true, "same-1": true},
		Blocks: []Block{
			{14, "sh", "kubectl x\n", Marker{Kind: RunOnCluster}}, {19, "", "x\n", Marker{Kind: Output}},
			{26, "sh", "y\n", Marker{NotRun, "no"}}, {30, "yaml", "z: 1\n", Marker{}},
		},
	}
	if diff := cmp.Diff(want, page); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"run: everywhere", "not run:", "file:"} {
		if _, err := Parse("a.md", []byte("<!-- "+bad+" -->\n```sh\nx\n```\n")); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
