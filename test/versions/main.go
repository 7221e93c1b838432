// Versions runs podinit's suites on every minor version of Kubernetes that podinit is for, on nodes of older versions, and on clusters
// that are upgraded.
//
//	make test-versions
//	make test-versions VERSIONS='-versions 1.30,1.37'
//	make test-versions VERSIONS='-clusters CRI-O -crio /path/to/bin'
//
// Each cluster is the one of test/cluster, with its programs of Kubernetes built from the modules of that version. It needs root, as
// that cluster does, and 1 GiB of disk for a version.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/compatibility"
)

// releases are the versions of Kubernetes: of each minor version the newest patch that could be built; of newer ones of 1.31 and 1.32, a module
// proxy lacks some modules.
var releases = []string{"v1.30.14", "v1.31.4", "v1.32.9", "v1.33.13", "v1.34.4", "v1.35.4", "v1.36.3", "v1.37.2"}

// crioModule is the version of CRI-O that make builds, of the module in test/cluster/build/crio: the newest on the module proxy, and from before
// the release of that name, so that its NRI ignores a command line.
const crioModule = "v1.34.0"

var (
	// apiserver, controllers, with kubectl, and node are the programs that a version has.
	apiserver   = []string{"kube-apiserver"}
	controllers = []string{"kube-controller-manager", "kube-scheduler", "kubectl"}
	node        = []string{"kubelet", "kube-proxy"}
	// others are those of every version.
	others = []string{"etcd", "registry", "containerd", "containerd-shim-runc-v2", "ctr", "pause", "podinit-cluster"}
)

// options are the program's flags.
type options struct {
	programs, images, helm, versions, clusters, suites, page string
	time                                                     time.Duration
	// built is the directory below which make builds versions of Kubernetes.
	built string
	// crio is the directory with CRI-O, by default that of make.
	crio string
}

const builtCRIO = "bin/crio"

func main() {
	o := options{built: "bin/versions"}
	flag.StringVar(&o.programs, "programs", "bin/cluster", "the `directory` with the test cluster's programs")
	flag.StringVar(&o.images, "images", "", "the `directory` of the archives that make images writes")
	flag.StringVar(&o.helm, "helm", "", "the `directory` with helm3 and helm4")
	flag.StringVar(&o.crio, "crio", builtCRIO, "the `directory` with crio and pinns; any but the default has them already")
	flag.StringVar(&o.versions, "versions", "", "only clusters whose parts have one of these minor `versions`, such as 1.30,1.31")
	flag.StringVar(&o.clusters, "clusters", ".", "only clusters whose name, the first cell of their row, matches this `expression`")
	flag.StringVar(&o.suites, "suites", ".", "only suites whose name matches this `expression`")
	flag.DurationVar(&o.time, "time", time.Hour, "`time` that one cluster may take")
	flag.StringVar(&o.page, "write", "", "the `page` to write results to")
	flag.Parse()
	compatibility.Main("versions", o.run)
}

// run tries every cluster that is selected, and returns what went wrong on any.
func (o options) run(ctx context.Context, w io.Writer) error {
	crio, err := o.versionOfCRIO(ctx)
	if err != nil {
		return err
	}
	for _, directory := range []*string{&o.programs, &o.images, &o.helm, &o.built, &o.crio} {
		if *directory, err = filepath.Abs(*directory); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("a kubelet needs root: run this as root")
	}
	selected, err := selectKubernetes(o.versions, crio)
	if err != nil {
		return err
	}
	if selected, err = compatibility.Select("clusters", o.clusters, selected); err != nil {
		return err
	}
	return compatibility.TryEach(ctx, w, "versions", selected, func(k Kubernetes) error { return o.try(ctx, w, k) })
}

// Kubernetes is a cluster of certain versions.
type Kubernetes struct {
	// APIServer and Controllers are of its control plane, and Node is that of kubelet and kube-proxy.
	APIServer, Controllers, Node string
	// Next is what all of them are upgraded to; "" for nothing.
	Next string
	// CRIO is the version of CRI-O in place of containerd; "" for containerd.
	CRIO string
}

// String is the row on the page.
func (k Kubernetes) String() string {
	number := func(release string) string { return strings.TrimPrefix(release, "v") }
	switch {
	case k.Next != "":
		return number(k.APIServer) + ", upgraded to " + number(k.Next)
	case k.CRIO != "":
		return number(k.APIServer) + ", CRI-O " + number(k.CRIO)
	case k.Controllers != k.APIServer:
		return number(k.APIServer) + ", all but the apiserver " + number(k.Node)
	case k.Node != k.APIServer:
		return number(k.APIServer) + ", kubelet " + number(k.Node)
	}
	return number(k.APIServer)
}

// minor is "1.30" of "v1.30.14".
func minor(release string) string {
	return strings.TrimPrefix(release[:strings.LastIndexByte(release, '.')], "v")
}

// A kubelet may be so many minor versions behind the apiserver, the controllers one:
// https://kubernetes.io/releases/version-skew-policy/.
const kubeletSkew = 3

// versionOfCRIO is what CRI-O says that it is, or that of the module for the one that make builds.
func (o options) versionOfCRIO(ctx context.Context) (string, error) {
	if o.crio == builtCRIO {
		return crioModule, nil
	}
	program := filepath.Join(o.crio, "crio")
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("-crio: %s --version: %w", program, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	version, ok := strings.CutPrefix(line, "crio version ")
	if !ok || !slices.ContainsFunc(releases, func(r string) bool { return strings.HasPrefix(version, minor(r)+".") }) {
		return "", fmt.Errorf("-crio: %s --version says %q, and no Kubernetes of %v has that minor version", program, line, releases)
	}
	return "v" + version, nil
}

// selectKubernetes lists the clusters whose parts all have one of the versions, "" for any, and one with that version of CRI-O, which
// goes with the same minor version of Kubernetes.
func selectKubernetes(versions, crio string) (selected []Kubernetes, err error) {
	wanted := strings.Split(versions, ",")
	for _, version := range wanted {
		if versions != "" && !slices.ContainsFunc(releases, func(r string) bool { return minor(r) == version }) {
			return nil, fmt.Errorf("-versions: %q is not among %v", version, releases)
		}
	}
	add := func(k Kubernetes) {
		for _, release := range []string{k.APIServer, k.Node, k.Next} {
			if versions != "" && release != "" && !slices.Contains(wanted, minor(release)) {
				return
			}
		}
		selected = append(selected, k)
	}
	for i, release := range releases {
		add(Kubernetes{APIServer: release, Controllers: release, Node: release})
		if minor(release) == minor(crio) {
			add(Kubernetes{APIServer: release, Controllers: release, Node: release, CRIO: crio})
		}
		if i >= 1 {
			add(Kubernetes{APIServer: release, Controllers: releases[i-1], Node: releases[i-1]})
			add(Kubernetes{APIServer: releases[i-1], Controllers: releases[i-1], Node: releases[i-1], Next: release})
		}
		if i >= kubeletSkew {
			add(Kubernetes{APIServer: release, Controllers: release, Node: releases[i-kubeletSkew]})
		}
	}
	return selected, nil
}

// suitesOf are what runs on a cluster whose programs are in a directory, in this order: from the chart on, each installs podinit itself.
func (o options) suitesOf(k Kubernetes, programs string) []suite {
	images := []string{"-images", o.images}
	nodeMode := suite{name: "node mode", path: "./test/nodemode", args: images}
	if k.Next != "" {
		next := append(images, "-next", filepath.Join(o.built, k.Next))
		return []suite{{name: "upgrade", path: "./test/operate", run: "^TestKubernetesUpgrade$", args: next}}
	}
	endToEnd := suite{name: "end to end", path: "./test/e2e", args: []string{"-generated", "50"}}
	if k.Node != k.APIServer {
		return []suite{endToEnd}
	}
	check := suite{name: "check", path: "./test/brokeninstalls"}
	if k.CRIO != "" {
		// A directory of containerd's.
		endToEnd.skip = "^TestHostsDirectory$"
		if k.CRIO == crioModule {
			return []suite{endToEnd, check}
		}
		return []suite{endToEnd, check, nodeMode}
	}
	helm := append(images, "-cluster", "-helm", o.helm, "-kubectl", filepath.Join(programs, "kubectl"))
	return []suite{
		endToEnd,
		check,
		{name: "chart", path: "./test/chart", run: "^TestLifecycle$", args: helm},
		nodeMode,
	}
}

// try builds what a cluster is of, runs the suites on it, and writes its row.
func (o options) try(ctx context.Context, w io.Writer, k Kubernetes) error {
	ctx, cancel := context.WithTimeout(ctx, o.time)
	defer cancel()
	programs, err := os.MkdirTemp("", "versions-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	suites, err := compatibility.Select("suites", o.suites, o.suitesOf(k, programs))
	if err != nil {
		return err
	}
	for _, release := range []string{k.APIServer, k.Node, k.Next} {
		if release == "" {
			continue
		}
		if err := run(ctx, w, "make", "--silent", filepath.Join("bin", "versions", release, "kubectl")); err != nil {
			return err
		}
	}
	if k.CRIO == crioModule {
		if err := run(ctx, w, "make", "--silent", filepath.Join(builtCRIO, "crio"), filepath.Join(builtCRIO, "pinns")); err != nil {
			return err
		}
	}
	if err := o.link(k, programs); err != nil {
		return err
	}
	// One cluster runs on a machine, and it may be of other versions.
	if err := cluster.Down(w); err != nil {
		return err
	}
	defer cluster.Down(w)
	if _, err := cluster.Up(ctx, programs, filepath.Join(programs, "podinit-cluster"), 1, w); err != nil {
		return err
	}
	if k.Next == "" { // others install it themselves
		if err := run(ctx, w, "make", "--silent", "cluster-deploy", "CLUSTER_BIN="+programs); err != nil {
			return err
		}
	}
	var ran, failed []string
	for _, s := range suites {
		passed, wrong, err := s.test(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		ran = append(ran, fmt.Sprintf("%s %d of %d", s, passed, passed+len(wrong)))
		failed = append(failed, wrong...)
	}
	row := k.tableRow(ran, failed)
	fmt.Fprintln(w, row)
	if err := compatibility.Update(o.page, "versions", []compatibility.Row{row}); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// link puts links to the programs that a cluster is of into a directory.
func (o options) link(k Kubernetes, directory string) error {
	type part struct {
		from  string
		names []string
	}
	parts := []part{
		{o.programs, others}, {filepath.Join(o.built, k.APIServer), apiserver},
		{filepath.Join(o.built, k.Controllers), controllers}, {filepath.Join(o.built, k.Node), node},
	}
	if k.CRIO != "" { // the cluster takes it where it is
		parts = append(parts, part{o.crio, []string{"crio", "pinns"}})
	}
	for _, part := range parts {
		for _, name := range part.names {
			if err := os.Symlink(filepath.Join(part.from, name), filepath.Join(directory, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func run(ctx context.Context, w io.Writer, program string, args ...string) error {
	command := exec.CommandContext(ctx, program, args...)
	command.Stdout, command.Stderr = w, w
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return nil
}

// tableRow is what stands on the page: how many tests of each suite hold, and what is not as on other versions.
func (k Kubernetes) tableRow(ran, failed []string) compatibility.Row {
	var differs []string
	if k.Next == "" {
		differs = differences(k)
	}
	for _, test := range failed {
		differs = append(differs, "`"+test+"` fails")
	}
	return compatibility.Row{k.String(), strings.Join(ran, ", "), cmp.Or(strings.Join(differs, "; "), "nothing"), time.Now().UTC().Format(time.DateOnly)}
}

// differences are what the tests demand of a cluster by its oldest part: test/e2e, TestImageVolume and TestAuto.
func differences(k Kubernetes) []string {
	switch oldest, _ := strconv.Atoi(strings.TrimPrefix(minor(k.Node), "1.")); {
	case oldest < 35:
		return []string{"no image volumes without a feature gate: `Auto` takes the init container, " +
			"and pods with `ImageVolume` are refused or do not start"}
	case oldest < 36:
		return []string{"image volumes are on, but may be off: `Auto` takes the init container"}
	}
	return nil
}
