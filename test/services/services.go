package main

import "golang.org/x/sys/unix"

// Service is a program that others wrote, as an image may start it.
type Service struct {
	// Name is the row on the page.
	Name string
	// Packages are Debian's.
	Packages string
	// Command is a shell's.
	Command string
	// Signal is the stop signal: SIGTERM, which a kubelet sends, or the one that the service's image sets.
	Signal unix.Signal
	// Port that the service listens on when it is ready, 0 for none.
	Port int
}

func (s Service) String() string { return s.Name }

// services are started as their images start them, where there are official ones, and as packages of Debian's have it elsewhere. Those
// that stay below a shell or a script, and those that leave processes behind, are where inits differ.
var services = []Service{
	{"Apache httpd", "apache2", ". /etc/apache2/envvars && mkdir -p $APACHE_RUN_DIR && exec apache2 -DFOREGROUND", unix.SIGWINCH, 80},
	{"Apache httpd by `apache2ctl`", "apache2", "exec apache2ctl -DFOREGROUND", unix.SIGWINCH, 80},
	{"Apache httpd by `apache2ctl`, SIGTERM", "apache2", "exec apache2ctl -DFOREGROUND", unix.SIGTERM, 80},
	{"BIND", "bind9", "mkdir -p /run/named && chown bind /run/named && exec named -g -u bind", unix.SIGTERM, 53},
	{"cron", "cron", "exec cron -f", unix.SIGTERM, 0},
	{"dnsmasq", "dnsmasq-base", "exec dnsmasq --keep-in-foreground --user=root", unix.SIGTERM, 53},
	{"Dovecot", "dovecot-core", "exec dovecot -F", unix.SIGTERM, 0},
	{"Gunicorn", "gunicorn", `cd /tmp && echo 'app = lambda environ, start: start("200 OK", []) or []' >app.py && exec gunicorn -w 2 app:app`, unix.SIGTERM, 8000},
	{"HAProxy, master and worker", "haproxy", `printf 'defaults\n mode tcp\n timeout client 1s\n timeout server 1s\n timeout connect 1s\nlisten a\n bind :8080\n' >/tmp/haproxy.cfg
exec haproxy -W -db -f /tmp/haproxy.cfg`, unix.SIGUSR1, 8080},
	{"lighttpd", "lighttpd", "exec lighttpd -D -f /etc/lighttpd/lighttpd.conf", unix.SIGTERM, 80},
	{"MariaDB", "mariadb-server", "mkdir -p /run/mysqld && chown mysql /run/mysqld && exec mariadbd --user=mysql", unix.SIGTERM, 3306},
	{"MariaDB by `mariadbd-safe`", "mariadb-server", "mkdir -p /run/mysqld && chown mysql /run/mysqld && exec mariadbd-safe", unix.SIGTERM, 3306},
	{"memcached", "memcached", "exec memcached -u nobody", unix.SIGTERM, 11211},
	{"Mosquitto", "mosquitto", "exec mosquitto", unix.SIGTERM, 1883},
	{"nginx", "nginx-light", "exec nginx -g 'daemon off;'", unix.SIGQUIT, 80},
	{"Node.js without a handler", "nodejs", `exec node -e 'require("http").createServer().listen(8080)'`, unix.SIGTERM, 8080},
	{"Node.js with a handler, below a shell", "nodejs", `node -e 'const s = require("http").createServer().listen(8080)
process.on("SIGTERM", () => setTimeout(() => process.exit(0), 500))'
exit $?`, unix.SIGTERM, 8080},
	{"OpenLDAP", "slapd", "mkdir -p /run/slapd && exec slapd -d 0 -h ldap://127.0.0.1/", unix.SIGTERM, 389},
	{"OpenSSH", "openssh-server", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D", unix.SIGTERM, 22},
	{"PHP-FPM", "php-fpm", "mkdir -p /run/php && exec php-fpm8.2 -F", unix.SIGQUIT, 0},
	{"Postfix", "postfix", "exec postfix start-fg", unix.SIGTERM, 25},
	{"PostgreSQL", "postgresql", "mkdir -p /run/postgresql && chown postgres /run/postgresql && exec setpriv --reuid=postgres --regid=postgres --init-groups " +
		"/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main -c config_file=/etc/postgresql/15/main/postgresql.conf", unix.SIGINT, 5432},
	{"PostgreSQL by `su`", "postgresql", "mkdir -p /run/postgresql && chown postgres /run/postgresql && exec su postgres -c " +
		"'/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main -c config_file=/etc/postgresql/15/main/postgresql.conf'", unix.SIGTERM, 5432},
	{"Prometheus", "prometheus", "exec prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/tmp/data", unix.SIGTERM, 9090},
	{"Puma", "puma", `echo 'run proc { [200, {}, []] }' >/tmp/config.ru && exec puma -w 2 -b tcp://127.0.0.1:9292 /tmp/config.ru`, unix.SIGTERM, 9292},
	{"RabbitMQ", "rabbitmq-server", "exec rabbitmq-server", unix.SIGTERM, 5672},
	{"Redis", "redis-server", "exec redis-server", unix.SIGTERM, 6379},
	{"rsyslog", "rsyslog", "exec rsyslogd -n", unix.SIGTERM, 0},
	{"runit", "runit", "mkdir -p /tmp/services/a && printf '#!/bin/sh\\nexec sleep 1000\\n' >/tmp/services/a/run && chmod +x /tmp/services/a/run && exec runsvdir /tmp/services", unix.SIGTERM, 0},
	{"s6", "s6", "mkdir -p /tmp/services/a && printf '#!/bin/sh\\nexec sleep 1000\\n' >/tmp/services/a/run && chmod +x /tmp/services/a/run && exec s6-svscan /tmp/services", unix.SIGTERM, 0},
	{"supervisord", "supervisor", `printf '[supervisord]\nnodaemon=true\nuser=root\n[program:a]\ncommand=sh -c "sleep 1000; exit"\n' >/tmp/supervisord.conf
exec supervisord -c /tmp/supervisord.conf`, unix.SIGTERM, 0},
	{"tmux", "tmux", "tmux new-session -d 'sleep 1000' && exec sleep 1000", unix.SIGTERM, 0},
	{"Tomcat", "tomcat10", "export CATALINA_HOME=/usr/share/tomcat10 CATALINA_BASE=/var/lib/tomcat10 JAVA_HOME=/usr/lib/jvm/default-java && exec $CATALINA_HOME/bin/catalina.sh run",
		unix.SIGTERM, 8080},
	{"uWSGI", "uwsgi-core uwsgi-plugin-python3", "exec uwsgi --plugins python3 --http-socket 127.0.0.1:8080 --master --processes 2 --die-on-term", unix.SIGTERM, 8080},
	{"Varnish", "varnish", `printf 'vcl 4.1; backend default none;' >/tmp/default.vcl && exec varnishd -F -a 127.0.0.1:8080 -f /tmp/default.vcl`, unix.SIGTERM, 8080},
	{"Xvfb and a program", "xvfb", "Xvfb :9 & exec sleep 1000", unix.SIGTERM, 0},
}
