package inject

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/profile"
)

func TestDecideRuntime(t *testing.T) {
	enabled := map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled}
	disabled := map[string]string{v1alpha1.Inject: v1alpha1.InjectDisabled}
	grace := func(seconds int64) *int64 { return &seconds }
	usual := []string{InitPath, "--grace=30s", "--termination-message=/dev/termination-log", "--", "/bin/app", "$HOME", "$$"}
	type c = RuntimeContainer
	for name, tt := range map[string]struct {
		container RuntimeContainer
		namespace string // its label
		profile   v1alpha1.InitProfileSpec
		suspended bool
		want      []string
		reason    v1alpha1.Reason
		ignored   []v1alpha1.Reason
	}{
		"namespace":           {namespace: "enabled", want: usual},
		"pod's label":         {container: c{PodLabels: enabled}, want: usual},
		"pod's annotation":    {container: c{PodAnnotations: enabled}, want: usual},
		"not opted in":        {reason: v1alpha1.ReasonNotOptedIn},
		"opted out":           {container: c{PodLabels: disabled}, namespace: "enabled", reason: v1alpha1.ReasonOptedOut},
		"closed namespace":    {container: c{PodLabels: enabled}, namespace: "disabled", reason: v1alpha1.ReasonNamespaceDisabled},
		"suspended":           {namespace: "enabled", suspended: true, reason: v1alpha1.ReasonSuspended},
		"unknown value":       {container: c{PodLabels: map[string]string{v1alpha1.Inject: "yes"}}, namespace: "enabled", want: usual, ignored: []v1alpha1.Reason{v1alpha1.ReasonUnknownValue}},
		"wasm":                {container: c{RuntimeHandler: "spin"}, namespace: "enabled", reason: v1alpha1.ReasonWasm},
		"hostPID":             {container: c{HostPID: true}, namespace: "enabled", reason: v1alpha1.ReasonHostPID},
		"wrapped by webhook":  {container: c{Args: []string{InitPath, "--grace=5s", "--", "app"}, MountPaths: []string{MountPath}}, namespace: "enabled", reason: v1alpha1.ReasonAlreadyInit},
		"broken wrap":         {container: c{Args: []string{InitPath, "--nonsense"}}, namespace: "enabled", reason: v1alpha1.ReasonAlreadyInit},
		"copier":              {container: c{Name: CopierName, Args: []string{"/init", "copy", InitPath}, MountPaths: []string{MountPath}}, namespace: "enabled", reason: v1alpha1.ReasonAlreadyInit},
		"copier's name":       {container: c{Name: CopierName}, namespace: "enabled", reason: v1alpha1.ReasonNameConflict},
		"tini":                {container: c{Args: []string{"/usr/bin/tini", "--", "app"}}, namespace: "enabled", reason: v1alpha1.ReasonAlreadyInit},
		"systemd":             {container: c{Args: []string{"/lib/systemd/systemd"}}, namespace: "enabled", reason: v1alpha1.ReasonRequiresPID1},
		"no argv":             {container: c{Args: []string{}}, namespace: "enabled", reason: v1alpha1.ReasonNoProgram},
		"mount conflict":      {container: c{MountPaths: []string{"/proc", "/podinit/data"}}, namespace: "enabled", reason: v1alpha1.ReasonMountConflict},
		"termination message": {container: c{TerminationMessagePath: "/podinit/message"}, namespace: "enabled", reason: v1alpha1.ReasonMountConflict},
		"other mounts":        {container: c{MountPaths: []string{"/proc", "/dev", "/podinit-data", "/etc/hosts"}}, namespace: "enabled", want: usual},
		"localhost profile":   {container: c{LocalhostProfile: true}, namespace: "enabled", reason: v1alpha1.ReasonLocalhostProfile},
		"localhost allowed":   {container: c{LocalhostProfile: true}, namespace: "enabled", profile: v1alpha1.InitProfileSpec{LocalhostProfiles: true}, want: usual},
		"small limit":         {container: c{MemoryLimit: 8 << 20}, namespace: "enabled", reason: v1alpha1.ReasonMemoryLimitTooSmall},
		"pod's small limit":   {container: c{PodMemoryLimit: 8 << 20}, namespace: "enabled", reason: v1alpha1.ReasonMemoryLimitTooSmall},
		"limit":               {container: c{MemoryLimit: 16 << 20, PodMemoryLimit: 8 << 20}, namespace: "enabled", want: usual},
		"excluded by profile": {container: c{Name: "istio-proxy"}, namespace: "enabled", reason: v1alpha1.ReasonExcludedByProfile},
		"skipped": {
			container: c{PodAnnotations: map[string]string{v1alpha1.SkipContainersAnnotation: "other, app"}}, namespace: "enabled", reason: v1alpha1.ReasonNotChosen,
		},
		"chosen": { // the annotation's other name may well be another container's
			container: c{PodAnnotations: map[string]string{v1alpha1.ContainersAnnotation: "other,app"}}, namespace: "enabled", want: usual,
		},
		"flags": {
			container: c{PodAnnotations: map[string]string{v1alpha1.FlagsAnnotation + "app": "--grace=3s --stop-signal=QUIT"}}, namespace: "enabled",
			want: []string{InitPath, "--grace=3s", "--stop-signal=SIGQUIT", "--termination-message=/dev/termination-log", "--", "/bin/app", "$HOME", "$$"},
		},
		"invalid flags": {
			container: c{PodAnnotations: map[string]string{v1alpha1.FlagsAnnotation + "app": "--no-such"}}, namespace: "enabled", reason: v1alpha1.ReasonInvalidFlags,
		},
		"flags not for pods": {
			container: c{PodAnnotations: map[string]string{v1alpha1.FlagsAnnotation + "app": "--grace=3s"}}, namespace: "enabled",
			profile: v1alpha1.InitProfileSpec{PodsMayChoose: new(bool)}, want: usual, ignored: []v1alpha1.Reason{v1alpha1.ReasonProfileFixed},
		},
		"left to the node": {namespace: "enabled", profile: v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByNode}, want: usual},
		"init container, as the webhook says": {
			container: c{PodAnnotations: map[string]string{v1alpha1.StatusAnnotation: `{"containers":{"app":{"action":"skipped","reason":"init-container"}}}`}},
			namespace: "enabled", reason: v1alpha1.ReasonInitContainer,
		},
		"init container that the profile wants now": {
			container: c{PodAnnotations: map[string]string{v1alpha1.StatusAnnotation: `{"containers":{"app":{"action":"skipped","reason":"init-container"}}}`}},
			namespace: "enabled", profile: v1alpha1.InitProfileSpec{Containers: v1alpha1.ContainersSpec{InitContainers: true}}, want: usual,
		},
		"sidecar that the pod chooses": {
			container: c{PodAnnotations: map[string]string{
				v1alpha1.StatusAnnotation: `{"containers":{"app":{"action":"skipped","reason":"sidecar"}}}`, v1alpha1.ContainersAnnotation: "app",
			}}, namespace: "enabled", want: usual,
		},
		"sidecar, left to the node": { // the status is of another time
			container: c{PodAnnotations: map[string]string{v1alpha1.StatusAnnotation: `{"containers":{"app":{"action":"skipped","reason":"sidecar"}}}`}},
			namespace: "enabled", profile: v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByNode}, want: usual,
		},
		"no lookup": {
			container: c{PodAnnotations: map[string]string{v1alpha1.StatusAnnotation: `{"containers":{"app":{"action":"skipped","reason":"lookup-timeout"}}}`}},
			namespace: "enabled", want: usual,
		},
		"forged status": {
			container: c{PodAnnotations: map[string]string{v1alpha1.StatusAnnotation: `{"containers":{"app":{"reason":"requires-pid-1"}},"reason":"host-pid"`}},
			namespace: "enabled", want: usual,
		},
		"pod's own": { // nothing that a kubelet would expand is expanded here
			container: c{TerminationGracePeriodSeconds: grace(60), PreStopHandler: `{"sleep":{"seconds":20}}`, TerminationMessagePath: "/tmp/$(A)$$"}, namespace: "enabled",
			want: []string{InitPath, "--grace=40s", "--termination-message=/tmp/$(A)$$", "--", "/bin/app", "$HOME", "$$"},
		},
		"log as message": {
			container: c{TerminationMessagePolicy: "FallbackToLogsOnError", PreStopHandler: "{broken"}, namespace: "enabled",
			want: []string{InitPath, "--grace=30s", "--", "/bin/app", "$HOME", "$$"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := profile.New("p", tt.profile)
			if err != nil {
				t.Fatal(err)
			}
			if tt.container.Name == "" {
				tt.container.Name = "app"
			}
			if tt.container.Args == nil {
				tt.container.Args = []string{"/bin/app", "$HOME", "$$"}
			}
			d, ignored := DecideRuntime(Config{ExcludedNamespaces: SystemNamespaces},
				Setting{Namespace: "n", NamespaceInject: tt.namespace, Profile: p, Suspended: tt.suspended}, NewRuntimePod(tt.container))
			if d.Name != tt.container.Name || d.Reason != tt.reason {
				t.Errorf("%s: reason %q (%s), want %q", d.Name, d.Reason, d.Detail, tt.reason)
			}
			if diff := cmp.Diff(tt.want, d.Command); diff != "" {
				t.Errorf("argv (-want +got):\n%s", diff)
			}
			var reasons []v1alpha1.Reason
			for _, i := range ignored {
				reasons = append(reasons, i.Reason)
			}
			if diff := cmp.Diff(tt.ignored, reasons); diff != "" {
				t.Errorf("ignored (-want +got):\n%s", diff)
			}
		})
	}
	excluded := NewRuntimePod(c{Name: "app", Args: []string{"app"}, PodLabels: enabled})
	if d, _ := DecideRuntime(Config{ExcludedNamespaces: SystemNamespaces}, Setting{Namespace: "kube-system"}, excluded); d.Reason != v1alpha1.ReasonExcludedNamespace {
		t.Errorf("in kube-system: reason %q", d.Reason)
	}
}
