package inject

import (
	"encoding/json"
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
		"env -u FOO tini -- app":                           v1alpha1.ReasonAlreadyInit,
		"env -u A -u B /sbin/init":                         v1alpha1.ReasonRequiresPID1,
		"env --unset=FOO -C /srv tini -- app":              v1alpha1.ReasonAlreadyInit,
		"env -u init app":                                  "",
		"gosu root /sbin/init":                             v1alpha1.ReasonRequiresPID1,
		"su-exec app tini -- app":                          v1alpha1.ReasonAlreadyInit,
		"gosu tini app":                                    "",
		"setpriv --reuid app --clear-groups dumb-init app": v1alpha1.ReasonAlreadyInit,
		"env A=b gosu root nice -n 5 init":                 v1alpha1.ReasonRequiresPID1,
		"timeout 60 tini -- app":                           "",
		"timeout 60 /sbin/init":                            v1alpha1.ReasonRequiresPID1,
		"pid1 app":                                         v1alpha1.ReasonAlreadyInit,
		`["env","-S","-u FOO tini -- app"]`:                v1alpha1.ReasonAlreadyInit,
		`["env","-S","A=b gosu root","/sbin/init"]`:        v1alpha1.ReasonRequiresPID1,
		`["sh","-c","mount -a && exec /sbin/init"]`:        v1alpha1.ReasonRequiresPID1,
		`["sh","-c","/sbin/init"]`:                         v1alpha1.ReasonRequiresPID1,
		`["sh","-c","exec env -u FOO tini -- app"]`:        "",
		`["sh","-c","tini -- app"]`:                        "",
		`["sh","-c","exec /entrypoint.sh /init"]`:          v1alpha1.ReasonRequiresPID1,
		`["sh","-c","app --run /sbin/init"]`:               "",
		`["sh","-c","echo exec /sbin/init; exec app"]`:     "",
	} {
		words := strings.Fields(command)
		if strings.HasPrefix(command, "[") {
			if err := json.Unmarshal([]byte(command), &words); err != nil {
				t.Fatal(err)
			}
		}
		if got := leaveProgramAlone(words); got != want {
			t.Errorf("%q: reason %q, want %q", command, got, want)
		}
	}
}
