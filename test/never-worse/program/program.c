/* What the trees are made of: a program that is cheap to start and writes down what happens to it.

     program stage COMMAND...     finish a new PID namespace as a container runtime does, and become COMMAND
     program NAME OPTION...       be a program

   Every event is one line "NAME PID EVENT" in the file $J, written at once: up, got SIGNAL, done (the work of a shutdown
   is finished), finished (the work at hand is finished), left (a second notification made it leave its work). The same
   stands on standard output as "NAME says EVENT", since output that gets lost is lost work, too.

   OPTION:
     catch=TERM,INT   signals that ask to end
     reload=HUP,USR1  signals that are handled and change nothing
     ignore=TERM      signals that are ignored
     how=handler|sigwait|signalfd
     shut=MS          how long ending takes after the first notification
     once             a second notification means leaving at once
     natural          the work at hand is finished when the file $D/finish exists
     code=N           the exit code
     workers=tell|leave  two workers, NAME.1 and NAME.2; the parent notifies them itself and waits, or leaves them alone
     worker=MS        how long the workers' ending takes
     daemon           goes into the background first */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct { const char *name; int number; } names[] = {
	{"HUP", SIGHUP}, {"INT", SIGINT}, {"QUIT", SIGQUIT}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2},
	{"TERM", SIGTERM}, {"WINCH", SIGWINCH},
};
enum { count = sizeof names / sizeof *names };

static const char *self;
static int journal, wake[2], once, ends[65];
static volatile sig_atomic_t notified;

static void line(int fd, const char *middle, const char *event, const char *more) {
	char text[200];
	int n = snprintf(text, sizeof text, "%s %s %s%s\n", self, middle, event, more);
	if (write(fd, text, n) != n && fd == journal)
		_exit(98);
}

static void say(const char *event, const char *more) {
	char pid[16];
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	line(1, "says", event, more);
	line(journal, pid, event, more);
}

/* Not by way of standard output, which may block or be closed. */
static void note(const char *event, const char *more) {
	char pid[16];
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	line(journal, pid, event, more);
}

static const char *name(int number) {
	for (int i = 0; i < count; i++)
		if (names[i].number == number)
			return names[i].name;
	return "?";
}

static void take(int number) {
	note("got ", name(number));
	if (!ends[number])
		return;
	notified++;
	if (once && notified > 1) {
		note("left", "");
		_exit(3);
	}
}

static void handle(int number) {
	int saved = errno;
	take(number);
	if (write(wake[1], "", 1) != 1)
		_exit(97);
	errno = saved;
}

static long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void each(const char *list, void (*do_it)(int)) {
	for (int i = 0; i < count; i++)
		for (const char *at = list; (at = strstr(at, names[i].name)); at++)
			do_it(names[i].number);
}

static sigset_t waited;
static void catches(int n) { struct sigaction a = {.sa_handler = handle, .sa_flags = SA_RESTART}; sigaction(n, &a, NULL); }
static void waits(int n) { sigaddset(&waited, n); signal(n, SIG_DFL); }
static void ignores(int n) { signal(n, SIG_IGN); }
static void ending(int n) { ends[n] = 1; }

static int stage(char **command) {
	/* EINVAL: a kernel without propagation, as gVisor's was. */
	if ((mount("", "/", "", MS_REC | MS_PRIVATE, "") && errno != EINVAL) || mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "")) {
		perror("stage: mount");
		return 99;
	}
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	for (int n = 1; n < 65; n++)
		signal(n, SIG_DFL);
	sigset_t empty;
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	execvp(command[0], command);
	perror(command[0]);
	return 99;
}

int main(int argc, char **argv) {
	if (argc > 2 && !strcmp(argv[1], "stage"))
		return stage(argv + 2);
	if (argc < 2 || !getenv("J") || !getenv("D")) {
		fprintf(stderr, "usage: J=FILE D=DIRECTORY program NAME OPTION...\n");
		return 2;
	}
	self = argv[1];
	const char *catch = "", *reload = "", *ignore = "", *how = "handler", *workers = "", *worker = "0";
	int natural = 0, code = 0, goes = 0;
	long shut = 0;
	for (int i = 2; i < argc; i++) {
		char *v = strchr(argv[i], '=');
		if (v) v++;
		if (!strncmp(argv[i], "catch=", 6)) catch = v;
		else if (!strncmp(argv[i], "reload=", 7)) reload = v;
		else if (!strncmp(argv[i], "ignore=", 7)) ignore = v;
		else if (!strncmp(argv[i], "how=", 4)) how = v;
		else if (!strncmp(argv[i], "shut=", 5)) shut = atol(v);
		else if (!strncmp(argv[i], "code=", 5)) code = atoi(v);
		else if (!strncmp(argv[i], "workers=", 8)) workers = v;
		else if (!strncmp(argv[i], "worker=", 7)) worker = v;
		else if (!strcmp(argv[i], "once")) once = 1;
		else if (!strcmp(argv[i], "natural")) natural = 1;
		else if (!strcmp(argv[i], "daemon")) goes = 1;
		else { fprintf(stderr, "unknown option %s\n", argv[i]); return 2; }
	}
	if (goes) {
		if (fork()) return 0;
		setsid();
		if (fork()) return 0;
	}
	journal = open(getenv("J"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (journal < 0 || pipe2(wake, O_CLOEXEC | O_NONBLOCK)) { perror("program"); return 2; }
	char finish[4096];
	snprintf(finish, sizeof finish, "%s/finish", getenv("D"));

	pid_t children[2] = {0, 0};
	if (*workers)
		for (int i = 0; i < 2; i++) {
			char their[100], time[50];
			snprintf(their, sizeof their, "%s.%d", self, i + 1);
			snprintf(time, sizeof time, "shut=%s", worker);
			if (!(children[i] = fork())) {
				execl(argv[0], argv[0], their, "catch=TERM,INT,QUIT", "once", time, NULL);
				_exit(127);
			}
		}
	sigemptyset(&waited);
	each(catch, ending);
	each(ignore, ignores);
	if (!strcmp(how, "handler")) { each(catch, catches); each(reload, catches); }
	else { each(catch, waits); each(reload, waits); }
	sigprocmask(SIG_BLOCK, &waited, NULL);
	int fd = strcmp(how, "signalfd") ? wake[0] : signalfd(-1, &waited, SFD_CLOEXEC | SFD_NONBLOCK);
	say("up", "");

	for (long end = 0;;) {
		long left = natural ? 50 : 10000;
		if (notified && !end) {
			end = now() + shut;
			say("closing", "");
			if (!strcmp(workers, "tell"))
				for (int i = 0; i < 2; i++)
					kill(children[i], SIGTERM);
		}
		if (end) {
			int busy = 0;
			for (int i = 0; i < 2; i++)
				if (children[i]) {
					if (waitpid(children[i], NULL, WNOHANG) == children[i]) children[i] = 0;
					else busy = !strcmp(workers, "tell");
				}
			if (now() >= end && !busy) {
				say("done", "");
				return code;
			}
			left = end - now();
			if (busy && (left > 20 || left < 0)) left = 20;
		}
		if (natural && access(finish, F_OK) == 0) {
			say("finished", "");
			return code;
		}
		if (left < 0) left = 0;
		if (!strcmp(how, "sigwait")) {
			struct timespec t = {left / 1000, left % 1000 * 1000000};
			int n = sigtimedwait(&waited, NULL, &t);
			if (n > 0) take(n);
			continue;
		}
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, left) != 1)
			continue;
		if (!strcmp(how, "signalfd")) {
			struct signalfd_siginfo s;
			if (read(fd, &s, sizeof s) == sizeof s) take(s.ssi_signo);
		} else {
			char drop[16];
			if (read(fd, drop, sizeof drop) < 0 && errno != EAGAIN) return 96;
		}
	}
}
