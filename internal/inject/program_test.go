package inject

import (
	"strings"
	"testing"

	"github.com/podinit/podinit/api/v1alpha1"
)

func TestLeaveProgramAlone(t *testing.T) {
	for command, want := range map[string]v1alpha1.Reason{
		"":                                     "",
		"app":                                  "",
		"/usr/bin/tini -- app":                 v1alpha1.ReasonAlreadyInit,
		"/init":                                v1alpha1.ReasonRequiresPID1,
		"env A=b tini -- app":                  v1alpha1.ReasonAlreadyInit,
		"/usr/bin/env -i A=b B= /sbin/init":    v1alpha1.ReasonRequiresPID1,
		"env":                                  "",
		"env A=b":                              "",
		"env A=/sbin/init app":                 "",
		"busybox init":                         v1alpha1.ReasonRequiresPID1,
		"/bin/busybox env A=b tini":            v1alpha1.ReasonAlreadyInit,
		"busybox sh -c init":                   "",
		"busybox":                              "",
		"/usr/local/bin/entrypoint /sbin/init": v1alpha1.ReasonRequiresPID1,
		"/usr/local/bin/entrypoint /sbin/init --log=debug": v1alpha1.ReasonRequiresPID1,
		"entrypoint /lib/systemd/systemd":                  v1alpha1.ReasonRequiresPID1,
		"entrypoint systemd":                               v1alpha1.ReasonRequiresPID1,
		"entrypoint -v -- /usr/lib/systemd/systemd":        v1alpha1.ReasonRequiresPID1,
		"entrypoint /init":                                 v1alpha1.ReasonRequiresPID1,
		"app init":                                         "",
		"app --run /sbin/init":                             "",
		"app -- --init=/sbin/init":                         "",
		"app serve systemd":                                "",
	} {
		if got := leaveProgramAlone(strings.Fields(command)); got != want {
			t.Errorf("%q: reason %q, want %q", command, got, want)
		}
	}
}
