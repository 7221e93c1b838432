package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// nobody is a user that every Debian has, for programs that refuse to run as root.
const nobody = 65534

// asNobody runs a command on the machine as the container's user.
func (t *Trial) asNobody(argv ...string) string {
	out, err := exec.Command("/usr/bin/setpriv", append([]string{"--reuid", fmt.Sprint(nobody), "--regid", fmt.Sprint(nobody), "--clear-groups"}, argv...)...).CombinedOutput()
	if err != nil {
		t.Brokenf("%s: %v: %s", argv[0], err, out)
	}
	return string(out)
}

// own makes a directory that belongs to nobody.
func (t *Trial) own(name string) string {
	dir := t.Path(name)
	t.Must(os.Mkdir(dir, 0o700))
	t.Must(os.Chown(dir, nobody, nobody))
	return dir
}

// A database is PostgreSQL as a container's main process, with one client session.
type database struct {
	*Container
	trial *Trial
	dir   string
	psql  *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
}

func postgres(program string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	return strings.Join(found[max(0, len(found)-1):], "")
}

// startDatabase starts PostgreSQL and waits until a session is open.
func startDatabase(t *Trial, options Options) *database {
	dir := filepath.Join(t.own("postgres"), "data")
	t.asNobody(postgres("initdb"), "--no-sync", "-A", "trust", "-U", "postgres", "-D", dir)
	d := &database{trial: t, dir: dir}
	d.Container = t.Start(Spec{
		Options: options,
		Stage:   Stage{UID: nobody, Env: []string{"LC_ALL=C"}},
		Main:    []string{postgres("postgres"), "-D", dir, "-k", filepath.Dir(dir), "-c", "listen_addresses=", "-c", "fsync=off"},
	})
	t.Until("PostgreSQL is ready", func() bool {
		return strings.Contains(d.stderr.String(), "ready to accept connections") || !d.Running()
	})
	d.psql = exec.Command("/usr/bin/setpriv", "--reuid", fmt.Sprint(nobody), "--clear-groups", "/usr/bin/psql", "-XAtq", "-h", filepath.Dir(dir), "-U", "postgres", "postgres")
	in, err := d.psql.StdinPipe()
	t.Must(err)
	out, err := d.psql.StdoutPipe()
	t.Must(err)
	t.Must(d.psql.Start())
	t.Cleanup(func() { in.Close(); d.psql.Process.Kill(); d.psql.Wait() })
	d.in, d.out = in, bufio.NewScanner(out)
	if answer := d.query("select 'hello'"); answer != "hello" {
		d.Failf("the session answers %q", answer)
	}
	return d
}

// fastShutdown is a check that a signal is PostgreSQL's fast shutdown, under an init with these options.
func fastShutdown(signal string, options Options) func(*Trial) {
	return func(t *Trial) {
		d := startDatabase(t, options)
		d.Signal(signal)
		d.Ends(0)
		if !strings.Contains(d.stderr.String(), "received fast shutdown request") {
			d.Failf("no fast shutdown")
		}
		d.clean()
	}
}

func (d *database) query(q string) string {
	fmt.Fprintln(d.in, q+";")
	d.out.Scan()
	return d.out.Text()
}

// clean fails when a server process was ended by anybody but the postmaster.
func (d *database) clean() {
	for _, bad := range []string{"was terminated by signal", "server process", "crash", "abnormally"} {
		if strings.Contains(d.stderr.String(), bad) {
			d.Failf("PostgreSQL logs %q", bad)
		}
	}
	if state := d.trial.asNobody(postgres("pg_controldata"), "-D", d.dir); !strings.Contains(state, "shut down\n") {
		d.Failf("the database was not shut down:\n%s", clip(state, 600))
	}
}

// A web is a client of a server that listens on a socket in the trial's directory.
func web(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

// get fetches a path as often as it takes until the server is there.
func (t *Trial) get(client *http.Client, path, want string) {
	t.Until("the server answers "+path, func() bool {
		r, err := client.Get("http://server" + path)
		if err != nil {
			return false
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return err == nil && strings.Contains(string(b), want)
	})
}

// slowly starts a request that takes about two seconds, returns when its answer has begun, and tells later how much came.
func (t *Trial) slowly(client *http.Client, path string) (length func() int) {
	r, err := client.Get("http://server" + path)
	t.Must(err)
	n := make(chan int, 1)
	go func() {
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		n <- len(b)
	}()
	return func() int {
		select {
		case got := <-n:
			return got
		case <-time.After(t.Size.Patience):
			return -1
		}
	}
}

const download = 80_000

// nginx writes a configuration, and returns the command line and a client.
func nginx(t *Trial, daemon string) ([]string, *http.Client) {
	dir := t.own("nginx")
	t.Must(os.WriteFile(filepath.Join(dir, "file"), make([]byte, download), 0o644))
	conf := t.Write("nginx.conf", fmt.Sprintf(`
daemon %[2]s; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http {
	access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	server {
		listen unix:%[1]s/socket; root %[1]s; sendfile off; output_buffers 1 4k;
		location = /file { limit_rate 40000; }
		location = /hello { return 200 hello; }
	}
}
`, dir, daemon), 0o644)
	return []string{"/usr/sbin/nginx", "-c", conf, "-e", dir + "/error.log"}, web(dir + "/socket")
}

// gunicorn writes an application and returns the command line and a client.
func gunicorn(t *Trial) ([]string, *http.Client) {
	dir := t.own("gunicorn")
	t.Write("app.py", `
import time
def app(environ, start):
	start("200 OK", [("Content-Type", "text/plain")])
	if environ["PATH_INFO"] == "/slow":
		for _ in range(8):
			yield b"x" * 10000
			time.sleep(0.25)
	else:
		yield b"hello"
`, 0o644)
	conf := t.Write("gunicorn.conf.py", `
import sys
def post_worker_init(worker):
	print("worker initialised", file=sys.stderr, flush=True)
`, 0o644)
	return []string{"/usr/bin/gunicorn", "-c", conf, "--chdir", t.Dir, "--bind", "unix:" + dir + "/socket", "--workers", "2", "--worker-tmp-dir", dir, "--graceful-timeout", "20", "app:app"}, web(dir + "/socket")
}

var programChecks = []Check{
	{"programs/postgres-smart", "TERM is PostgreSQL's smart shutdown: a client session goes on until it ends by itself, and no backend is told behind the postmaster's back.", func(t *Trial) {
		d := startDatabase(t, Options{})
		d.Signal("TERM")
		t.Until("PostgreSQL is shutting down", func() bool { return strings.Contains(d.stderr.String(), "received smart shutdown request") })
		d.quiet(2 * time.Second)
		if answer := d.query("select 'still here'"); answer != "still here" {
			d.Failf("the session was cut")
		}
		d.in.Close()
		d.Ends(0)
		d.clean()
	}},
	{"programs/postgres-fast", "INT is PostgreSQL's fast shutdown: sessions end, and the database is shut down cleanly.", fastShutdown("INT", Options{})},
	{"programs/postgres-rewrite", "TERM rewritten to INT is a fast shutdown.", fastShutdown("TERM", Options{Rewrite: []string{"TERM:INT"}})},
	{"programs/nginx", "QUIT lets nginx finish its requests; it ends with 0.", func(t *Trial) {
		main, client := nginx(t, "off")
		c := t.Start(Spec{Stage: Stage{UID: nobody}, Main: main})
		t.get(client, "/hello", "hello")
		length := t.slowly(client, "/file")
		c.Signal("QUIT")
		if got := length(); got != download {
			c.Failf("%d of %d bytes came", got, download)
		}
		c.Ends(0)
	}},
	{"programs/nginx-in-shell", `So does nginx behind a shell, with TERM rewritten: sh -c "nginx; true".`, func(t *Trial) {
		main, client := nginx(t, "off")
		c := t.Start(Spec{Options: Options{Rewrite: []string{"TERM:QUIT"}}, Stage: Stage{UID: nobody}, Main: []string{dash, "-c", strings.Join(main, " ") + "; true"}})
		t.get(client, "/hello", "hello")
		length := t.slowly(client, "/file")
		c.Signal("TERM")
		if got := length(); got != download {
			c.Failf("%d of %d bytes came", got, download)
		}
		c.Ends(131)
	}},
	{"programs/nginx-daemon", "With wait=all nginx that daemonizes keeps its container, and TERM ends it.", func(t *Trial) {
		main, client := nginx(t, "on")
		c := t.Start(Spec{Options: Options{WaitAll: true, Linger: second}, Stage: Stage{UID: nobody}, Main: main})
		t.get(client, "/hello", "hello")
		c.quiet(3 * second)
		t.get(client, "/hello", "hello")
		c.Signal("TERM")
		c.Ends(0)
		if log := t.Read("nginx/error.log"); strings.Contains(log, "exited on signal") {
			c.Failf("a worker was ended behind the master's back: %s", log)
		}
	}},
	{"programs/gunicorn-workers", "TTIN and TTOU add and remove one of gunicorn's workers.", func(t *Trial) {
		main, client := gunicorn(t)
		c := t.Start(Spec{Stage: Stage{UID: nobody}, Main: main})
		t.Until("both workers are ready", func() bool { return strings.Count(c.stderr.String(), "worker initialised") == 2 })
		t.get(client, "/", "hello")
		workers := func() int { return len(c.processes()) - 2 }
		if t.Init.Name == "none" {
			workers = func() int { return len(c.processes()) - 1 }
		}
		t.Until("two workers", func() bool { return workers() == 2 })
		c.Signal("TTIN")
		t.Until("three workers", func() bool { return workers() == 3 })
		c.Signal("TTOU")
		t.Until("two workers again", func() bool { return workers() == 2 })
	}},
	{"programs/gunicorn-term", "TERM lets gunicorn's workers finish their requests; it ends with 0.", func(t *Trial) {
		main, client := gunicorn(t)
		c := t.Start(Spec{Stage: Stage{UID: nobody}, Main: main})
		// A worker that is told before it has its handlers is one of gunicorn's own races.
		t.Until("both workers are ready", func() bool { return strings.Count(c.stderr.String(), "worker initialised") == 2 })
		length := t.slowly(client, "/slow")
		c.Signal("TERM")
		if got := length(); got != download {
			c.Failf("%d of %d bytes came", got, download)
		}
		c.Ends(0)
	}},
}
