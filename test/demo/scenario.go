package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/test/debianimage"
)

const (
	// gracePeriod is the pods' terminationGracePeriodSeconds: short, so that a pod that needs all of it ends soon.
	gracePeriod = 10 * time.Second
	// settle is the time from a program's first line until its pod is looked at and stopped.
	settle = 3 * time.Second
	// container is the name of the one container of each pod.
	container = "program"
	// orphans is how many processes app/orphans.py leaves behind.
	orphans = 20
)

// scenario is a program that people have trouble with, and what must be seen of it.
type scenario struct {
	// name is the pod's name, title what the table calls it.
	name, title string
	command     []string
	// wantPlain and wantPodinit are what must be seen without podinit, and with it: by the webhook or by the node.
	wantPlain, wantPodinit expectation
}

// expectation is what must be seen of a pod.
type expectation struct {
	pid1    string
	zombies int
	// logged are the lines that the program writes after it was told to stop.
	logged []string
	// killed pods need the whole grace period. How long others need depends on the machine's load too: they are
	// quicker than the same pod when it is killed.
	killed bool
	// exitCode is the main process's own; 128+n when signal n ended it.
	exitCode int32
}

// outcome is what was seen of a pod.
type outcome struct {
	// pid1 is the program that is PID 1 in the container.
	pid1 string
	// zombies are the processes in the container that ended and were not reaped, counted after settle.
	zombies int
	// logged are the lines in the container's log after the pod was deleted.
	logged []string
	// gone is the time from the delete request until the pod was gone.
	gone time.Duration
	// exitCode is the container's, from the pod's last status.
	exitCode int32
	// admitted is the pod after admission, as asAdmitted has it.
	admitted *corev1.Pod
}

// result is what was seen of a scenario.
type result struct {
	scenario
	plain, podinit outcome
	// node is what was seen where the webhook leaves pods to the nodes; nil where podinit-node is not installed.
	node *outcome
}

// side is one of the times that a pod has run.
type side struct {
	// namespace it has run in, and init as the table has it.
	namespace, init string
	want            expectation
	got             outcome
}

// sides are those of a result, in the order of the table.
func (r result) sides() []side {
	all := []side{{plainNamespace, "none", r.wantPlain, r.plain}, {podinitNamespace, "podinit", r.wantPodinit, r.podinit}}
	if r.node != nil {
		all = append(all, side{nodeNamespace, "node", r.wantPodinit, *r.node})
	}
	return all
}

const initPath = "/podinit/init"

var scenarios = []scenario{{
	name:        "shell-entrypoint",
	title:       "shell script around Python",
	command:     []string{"/bin/sh", "/app/entrypoint.sh"},
	wantPlain:   expectation{pid1: "/bin/sh", killed: true, exitCode: 137},
	wantPodinit: expectation{pid1: initPath, logged: []string{"SIGTERM handler ran", "atexit hook ran"}, exitCode: 143},
}, {
	name:        "orphans",
	title:       "leaves orphans behind",
	command:     []string{"python3", "/app/orphans.py"},
	wantPlain:   expectation{pid1: "python3", zombies: orphans, logged: []string{"SIGTERM handler ran"}, exitCode: 0},
	wantPodinit: expectation{pid1: initPath, logged: []string{"SIGTERM handler ran"}, exitCode: 0},
}, {
	name:        "no-handler",
	title:       "knows nothing of signals",
	command:     []string{"python3", "/app/batch.py"},
	wantPlain:   expectation{pid1: "python3", killed: true, exitCode: 137},
	wantPodinit: expectation{pid1: initPath, exitCode: 143},
}, {
	name:        "slow-stop",
	title:       "bash around a 3 s shutdown",
	command:     []string{"bash", "-c", "cd /app && ./server; true"},
	wantPlain:   expectation{pid1: "bash", killed: true, exitCode: 137},
	wantPodinit: expectation{pid1: initPath, logged: []string{"SIGTERM: finishing", "all work finished"}, exitCode: 143},
}}

// check returns what is not as it must be.
func check(results []result) error {
	var problems []error
	for _, r := range results {
		for i, side := range r.sides() {
			for _, problem := range side.want.compare(side.got) {
				problems = append(problems, fmt.Errorf("pod %s/%s: %s", side.namespace, r.name, problem))
			}
			if i > 0 && r.wantPlain.killed && side.got.gone >= r.plain.gone {
				problems = append(problems, fmt.Errorf("pod %s/%s: gone after %s, want less than the %s without podinit",
					side.namespace, r.name, seconds(side.got.gone), seconds(r.plain.gone)))
			}
		}
		if r.node != nil && !equality.Semantic.DeepEqual(r.node.admitted, r.plain.admitted) {
			problems = append(problems, fmt.Errorf("pod %s/%s: admission has changed it, and the node alone was to wrap it; without podinit it is\n%s\nand here\n%s",
				nodeNamespace, r.name, toJSON(r.plain.admitted), toJSON(r.node.admitted)))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("not as it must be:\n%w", errors.Join(problems...))
	}
	return nil
}

// toJSON is for people; a pod can always be printed.
func toJSON(pod *corev1.Pod) string {
	text, err := json.Marshal(pod)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// compare says in words where got differs.
func (want expectation) compare(got outcome) (problems []string) {
	problem := func(format string, arguments ...any) { problems = append(problems, fmt.Sprintf(format, arguments...)) }
	if got.pid1 != want.pid1 {
		problem("PID 1 is %s, want %s", got.pid1, want.pid1)
	}
	if got.zombies != want.zombies {
		problem("%d zombies after %s, want %d", got.zombies, seconds(settle), want.zombies)
	}
	if !slices.Equal(got.logged, want.logged) {
		problem("logged %q at shutdown, want %q", got.logged, want.logged)
	}
	if want.killed && got.gone < gracePeriod {
		problem("gone after %s, want the whole grace period of %s", seconds(got.gone), seconds(gracePeriod))
	}
	if got.exitCode != want.exitCode {
		problem("exit code %d, want %d", got.exitCode, want.exitCode)
	}
	return problems
}

// pod is what a careful tenant would write, under the restricted Pod Security Standard.
func (s scenario) pod(image string) *corev1.Pod {
	var (
		yes, no = true, false
		user    = int64(1000)
		grace   = int64(gracePeriod.Seconds())
	)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: s.name},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &grace,
			AutomountServiceAccountToken:  &no,
			// The image has the architecture of the machine that it was made on.
			NodeSelector: map[string]string{corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH},
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   &yes,
				RunAsUser:      &user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name:    container,
				Image:   image,
				Command: s.command,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no,
					ReadOnlyRootFilesystem:   &yes,
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

//go:embed app
var app embed.FS

// buildImage makes the one image that all pods run.
func buildImage(ctx context.Context, progress io.Writer) (v1.Image, error) {
	cache, err := debianimage.UserCache(progress)
	if err != nil {
		return nil, err
	}
	spec := debianimage.Spec{
		Packages: []string{"bash", "coreutils", "procps", "python3-minimal"},
		Config:   v1.Config{User: "1000:1000"},
	}
	programs, err := fs.ReadDir(app, "app")
	if err != nil {
		return nil, err
	}
	for _, program := range programs {
		content, err := fs.ReadFile(app, "app/"+program.Name())
		if err != nil {
			return nil, err
		}
		spec.Files = append(spec.Files, debianimage.File{Path: "/app/" + program.Name(), Mode: 0o755, Content: string(content)})
	}
	return cache.Build(ctx, spec)
}

// parseProcesses reads what "ps -ww -eo pid=,stat=,args=" prints: the program that is PID 1, and the number of zombies.
func parseProcesses(output string) (pid1 string, zombies int, err error) {
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return "", 0, fmt.Errorf("ps printed %q, want pid, state and arguments", line)
		}
		if fields[0] == "1" {
			pid1 = fields[2]
		}
		if strings.HasPrefix(fields[1], "Z") {
			zombies++
		}
	}
	if pid1 == "" {
		return "", 0, fmt.Errorf("ps printed no PID 1 in %q", output)
	}
	return pid1, zombies, nil
}
