package explain

import (
	"strings"
	"testing"
)

func TestSituation(t *testing.T) {
	term := facts{signal: "SIGTERM"}
	for _, test := range []struct {
		name    string
		words   []string
		facts   facts
		pid1    string // its beginning
		reaches Answer
		reaped  Answer
		says    string // in why the signal reaches it, or does not
	}{
		{"a program that is known", []string{"/usr/sbin/nginx", "-g", "daemon off;"}, term, "nginx", Yes, No, "handles"},
		{"one that does not handle it", []string{"sleep", "60"}, term, "sleep", No, No, "does not end PID 1"},
		{"one that is not known", []string{"/app"}, term, "app", Unknown, No, "only a run shows"},
		{"a signal of its own", []string{"/app"}, facts{signal: "SIGQUIT"}, "app", Unknown, No, "SIGQUIT"},
		{"a signal that it ignores too", []string{"sleep", "60"}, facts{signal: "SIGINT"}, "sleep", No, No, "SIGINT"},
		{"SIGKILL", []string{"nginx"}, facts{signal: "SIGKILL"}, "nginx", No, No, "killed at once"},
		{"SIGKILL and pause", []string{"nginx"}, facts{"SIGKILL", "pause"}, "pause", No, Yes, "killed at once"},
		{"behind env", []string{"env", "-i", "A=b", "node", "x.js"}, term, "node", Unknown, No, "what it runs"},
		{"behind env with values", []string{"env", "-u", "HOME", "-C", "/srv", "A=b", "nginx"}, term, "nginx", Yes, No, "handles"},
		{"behind env -S", []string{"env", "-S", "-u A B=c tini -g -- sh -c 'app | tee'"}, term, "tini", Yes, Yes, "group"},
		{"behind env and gosu, tini", []string{"env", "-u", "FOO", "gosu", "app", "tini", "--", "/app"}, term, "tini", Yes, Yes, "not PID 1"},
		{"behind env -u, systemd", []string{"env", "-u", "A", "-u", "B", "/lib/systemd/systemd"}, term, "systemd", Unknown, Yes, "SIGRTMIN+3"},
		{"behind setpriv", []string{"setpriv", "--reuid", "app", "--clear-groups", "nginx"}, term, "nginx", Yes, No, "handles"},
		{"pid1", []string{"pid1", "/app"}, term, "pid1, an init", Yes, Yes, "not PID 1"},
		{"podinit, by name", []string{"podinit", "--", "sh", "-c", "app | tee log"}, term, "podinit", Yes, Yes, "waits for both"},
		{"tini -e and a shell", []string{"tini", "-e", "143", "-g", "--", "sh", "-c", "app | tee log"}, term, "tini", Yes, Yes, "group"},
		{"timeout", []string{"timeout", "-k", "5", "60", "nginx"}, term, "timeout", Yes, No, "passes SIGTERM"},
		{"timeout and a program that does not handle it", []string{"timeout", "60", "sleep", "5"}, term, "timeout", Unknown, No, "as busybox has it"},
		{"timeout and tini", []string{"timeout", "60", "tini", "app"}, term, "timeout", Yes, Unknown, "passes SIGTERM"},
		{"timeout alone", []string{"timeout", "60"}, term, "timeout", Unknown, No, "only a run"},
		{"exec of tini", []string{"sh", "-c", "exec tini -- app"}, term, "tini, by exec from sh", Yes, Yes, "not PID 1"},
		{"exec of systemd", []string{"sh", "-c", "mount -a; exec /sbin/init"}, term, "init, by exec from sh", Unknown, Yes, "its own rules"},
		{"exec of a shell", []string{"sh", "-c", `exec bash -c "app | tee log"`}, term, "bash, by exec from sh", No, Yes, "nothing forwards it"},
		{"tini at the end of a script", []string{"sh", "-c", "prepare; tini -- app"}, term, "sh or tini", Unknown, Yes, "dash (Debian, Ubuntu) stays"},
		{"behind gosu", []string{"gosu", "www", "nginx"}, term, "nginx", Yes, No, "handles"},
		{"a list", []string{"sh", "-c", "prepare && app; cleanup"}, term, "sh or cleanup", Unknown, Unknown, "dash (Debian, Ubuntu) stays"},
		{"a loop", []string{"sh", "-c", "while true; do app; done"}, term, "sh, a shell", No, Yes, "nothing forwards it"},
		{"a pipe", []string{"/bin/bash", "-ec", "app | tee log"}, term, "bash, a shell", No, Yes, "nothing forwards it"},
		{"in the background", []string{"bash", "-c", "app & wait"}, term, "bash, a shell", No, Yes, "nothing forwards it"},
		{"bash and a redirection", []string{"bash", "-c", "nginx 2>&1"}, term, "bash, a shell", No, Yes, "nothing forwards it"},
		{"sh and a redirection", []string{"sh", "-c", "nginx 2>&1"}, term, "sh or nginx", Unknown, Unknown, "handles"},
		{"bash and a list", []string{"bash", "-c", "prepare || nginx"}, term, "bash or nginx", Unknown, Unknown, "newer versions"},
		{"a substitution", []string{"bash", "-c", "nginx -c $(find / | head -1) ${X:-(a;b)}"}, term, "nginx: bash", Yes, No, "handles"},
		{"exec of a variable", []string{"sh", "-c", "exec \"$@\"", "--", "nginx"}, term, "the program, by exec", Unknown, No, "only a run"},
		{"exec behind env", []string{"sh", "-c", "exec env A=b nginx"}, term, "nginx, by exec", Yes, No, "handles"},
		{"exec", []string{"sh", "-c", "cd /srv && exec nginx"}, term, "nginx, by exec", Yes, No, "exec replaces"},
		{"exec of what is quoted", []string{"sh", "-c", "exec nginx -g 'daemon off;' # here\n"}, term, "nginx, by exec", Yes, No, "handles"},
		{"exec on its own line", []string{"sh", "-c", "set -e\nA=1 \\\n  B=2\nexec \"/bin/sleep\" 5\n"}, term, "sleep, by exec", No, No, "exec replaces"},
		{"exec, but not at last", []string{"sh", "-c", "exec 2>/dev/null; while :; do app; done"}, term, "sh, a shell", No, Yes, ""},
		{"a comment is no command", []string{"sh", "-c", "sleep 1 # | exec nginx"}, term, "sh or sleep", No, Unknown, "neither handles it"},
		{"exec in a branch", []string{"sh", "-c", "if [ -e x ]; then exec nginx; fi; sleep 1 | cat"}, term, "sh, a shell", Unknown, Unknown, "a part of the script"},
		{"bash and one command", []string{"bash", "-c", "redis-server"}, term, "redis-server: bash", Yes, No, "handles"},
		{"a trap", []string{"sh", "-c", "trap 'kill $!' TERM; app & wait"}, term, "sh, a shell", Unknown, Yes, "trap"},
		{"the shell's flags", []string{"bash", "-o", "pipefail", "-c", "exec nginx"}, term, "nginx, by exec", Yes, No, ""},
		{"a script", []string{"/docker-entrypoint.sh", "postgres"}, term, "docker-entrypoint.sh, a script", Unknown, Unknown, "ends with exec"},
		{"tini", []string{"/usr/bin/tini", "--", "sleep", "60"}, term, "tini", Yes, Yes, "not PID 1"},
		{"tini and a shell", []string{"tini", "-v", "sh", "-c", "app | tee log"}, term, "tini", No, Yes, "to the shell alone"},
		{"tini -g and a shell", []string{"tini", "-g", "--", "sh", "-c", "app | tee log"}, term, "tini", Yes, Yes, "group"},
		{"dumb-init and a shell", []string{"dumb-init", "-r", "15:3", "sh", "-c", "app | tee log"}, term, "dumb-init", Yes, Yes, "group"},
		{"dumb-init -c and a shell", []string{"dumb-init", "-c", "sh", "-c", "app | tee log"}, term, "dumb-init", No, Yes, "alone"},
		{"tini and a trap", []string{"tini", "--", "sh", "-c", "trap 'kill $!' TERM; app & wait"}, term, "tini", Unknown, Yes, "trap"},
		{"tini and a script", []string{"tini", "--", "/docker-entrypoint.sh"}, term, "tini", Unknown, Yes, "ends with exec"},
		{"tini and bash", []string{"tini", "--", "bash", "-c", "app"}, term, "tini", Yes, Yes, "not PID 1"},
		{"tini and sh", []string{"tini", "--", "sh", "-c", "app"}, term, "tini", Unknown, Yes, "if it stays"},
		{"pause, tini and a shell", []string{"tini", "--", "sh", "-c", "app | tee log"}, facts{"SIGTERM", "pause"}, "pause", No, Yes, "to the shell alone"},
		{"supervisord", []string{"/usr/bin/supervisord", "-n"}, term, "supervisord", Yes, Yes, ""},
		{"systemd", []string{"/lib/systemd/systemd"}, term, "systemd", Unknown, Yes, "SIGRTMIN+3"},
		{"s6", []string{"/init"}, term, "init", Unknown, Yes, ""},
		{"pause, and a program", []string{"sleep", "60"}, facts{"SIGTERM", "pause"}, "pause", Yes, Yes, "not PID 1"},
		{"pause, and a shell that stays", []string{"sh", "-c", "app | tee log"}, facts{"SIGTERM", "pause"}, "pause", No, Yes, "ends the shell"},
		{"pause, and a script", []string{"/run.sh"}, facts{"SIGTERM", "pause"}, "pause", Unknown, Yes, ""},
		{"nothing", nil, term, "unknown", Unknown, Unknown, ""},
		{"env alone", []string{"env"}, term, "unknown", Unknown, Unknown, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := situationOf(test.words, test.facts)
			if !strings.HasPrefix(s.pid1, test.pid1) || s.reaches != test.reaches || s.reaped != test.reaped || !strings.Contains(s.reachesWhy, test.says) {
				t.Errorf("got  %q, reaches %s, reaped %s\nwant %q, reaches %s, reaped %s, and %q in\n%s", s.pid1, s.reaches, s.reaped, test.pid1, test.reaches, test.reaped, test.says, s.reachesWhy)
			}
			if s.reachesWhy == "" || s.reapedWhy == "" {
				t.Error("it does not say why")
			}
		})
	}
}

func TestBehindInit(t *testing.T) {
	for command, want := range map[string]string{
		"/podinit/init --grace=30s -- sh -c x":                                                     "sh -c x",
		"/podinit/init --platform=linux/amd64:2 a -- --platform=linux/arm64:1:SIGQUIT b -- --port": "a -- --port",
		"/podinit/init --platform=linux/amd64:9 a":                                                 "",
		"/podinit/init --platform=linux/amd64:x a -- b":                                            "",
		"/podinit/init --grace=30s":                                                                "",
	} {
		if got := strings.Join(behindInit(strings.Fields(command)), " "); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}

func FuzzSituation(f *testing.F) {
	for _, seed := range []string{"sh\x00-c\x00trap x TERM; a && exec b 2>&1 &", "tini\x00-e\x00--\x00x", "env\x00A=b\x00busybox\x00ash\x00-ec\x00'\"\\", "/podinit/init\x00--platform=linux/amd64:1\x00a\x00--"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words := strings.Split(text, "\x00")
		behindInit(words)
		for _, shared := range []string{"", "pause"} {
			if s := situationOf(words, facts{"SIGTERM", shared}); s.pid1 == "" || s.reaches == "" || s.reachesWhy == "" || s.reaped == "" || s.reapedWhy == "" {
				t.Errorf("%q: %+v", words, s)
			}
		}
	})
}
