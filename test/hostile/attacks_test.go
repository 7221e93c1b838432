package hostile

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// target is what an attacker knows.
type target struct {
	// Webhook is its address; API is the attacker's apiserver, where it may create Pods and Secrets in its namespace.
	Webhook, API string
	// Good is the registry that the other tenant uses, too; Hostile are the attacker's, by kind.
	Good    string
	Hostile map[string][]string
	// Scale of the attack; 1 is full.
	Scale float64
}

func (w *world) target() target {
	return target{Webhook: w.WebhookAddress(), API: "https://" + w.APIServers[1], Good: w.registries.good, Hostile: w.registries.hostile, Scale: *scaleFlag}
}

// assault is one way to hurt others. run does it until ctx is done.
type assault struct {
	name string
	run  func(ctx context.Context, a *attacker)
	// arguments more than those of config/ that the webhook gets; DIRECTORY is where the certificates are.
	arguments []string
}

// attacks are by a tenant through its apiserver, by the registries that its pods name, and on the port.
var attacks = []assault{
	{name: "none", run: func(ctx context.Context, a *attacker) {
		a.tally.add("attacks")
		<-ctx.Done()
	}},
	{name: "many containers on a tarpit", run: func(ctx context.Context, a *attacker) {
		a.flood(ctx, 4, func(n int) {
			a.create(ctx, pod(containers(200, func(i int) string { return a.image("tarpit", n, i) })))
		})
	}},
	{name: "many dry runs", run: func(ctx context.Context, a *attacker) {
		a.flood(ctx, a.size(256), func(n int) { a.create(ctx, pod(containers(1, func(i int) string { return a.image("tarpit", n, i) }))) })
	}},
	{name: "all lookup slots", run: func(ctx context.Context, a *attacker) {
		a.flood(ctx, a.size(128), func(n int) { a.create(ctx, pod(containers(8, func(i int) string { return a.image("slow", n, i) }))) })
	}},
	{name: "key times host", run: func(ctx context.Context, a *attacker) {
		var secrets []string
		for i := range 8 {
			secrets = append(secrets, a.secret(ctx, i, map[string]any{"*" + strings.Repeat("a", 200_000) + "b.x": login}))
		}
		body := pod(containers(1, func(int) string { return strings.Repeat("a", 400_000) + ".x/y:1" }), secrets...)
		a.flood(ctx, a.size(96), func(int) { a.create(ctx, body) })
	}},
	{name: "keys times containers", run: func(ctx context.Context, a *attacker) {
		var secrets []string
		for i := range 16 {
			keys := map[string]any{}
			for n := range 8000 {
				keys[fmt.Sprintf("*.%d.*:%d/a", i, n)] = login
			}
			secrets = append(secrets, a.secret(ctx, i, keys))
		}
		a.flood(ctx, a.size(64), func(n int) {
			a.create(ctx, pod(containers(100, func(i int) string { return a.image("tarpit", n, i) }), secrets...))
		})
	}},
	{name: "long images", run: func(ctx context.Context, a *attacker) {
		body := pod(containers(1, func(int) string { return strings.Repeat("a.", 1_450_000) + "x/x:1" }))
		a.flood(ctx, 2, func(int) { a.create(ctx, body) })
	}},
	{name: "long images, straight", run: func(ctx context.Context, a *attacker) {
		body := review(pod(containers(2, func(int) string { return strings.Repeat("a.", 1_450_000) + "x/x:1" })))
		a.flood(ctx, a.size(64), func(int) { a.post(ctx, body) })
	}},
	{name: "long labels", run: func(ctx context.Context, a *attacker) {
		body := review(pod(containers(50, func(int) string { return strings.Repeat("a", 100<<10) + ".x/y:1" })))
		a.flood(ctx, a.size(64), func(int) { a.post(ctx, body) })
	}},
	{name: "pods of 1000 containers", run: func(ctx context.Context, a *attacker) {
		body := pod(containers(1000, func(i int) string { return fmt.Sprint("x/y:", i) }, "true"))
		a.flood(ctx, max(2, a.size(8)), func(int) { a.create(ctx, body) })
	}},
	{name: "240 pods of 1000 containers at once", run: func(ctx context.Context, a *attacker) {
		body := review(pod(containers(1000, func(i int) string { return fmt.Sprint("x/y:", i) }, "true")))
		a.flood(ctx, a.size(240), func(int) { a.post(ctx, body) })
	}},
	{name: "huge pods", run: func(ctx context.Context, a *attacker) {
		body := pod([]map[string]any{{"name": "c", "image": "x", "command": []string{"x"}, "env": []map[string]string{{"name": "A", "value": strings.Repeat("x", 2_900_000)}}}})
		a.flood(ctx, 2, func(int) { a.create(ctx, body) })
	}},
	{name: "huge annotations", run: func(ctx context.Context, a *attacker) {
		annotations := map[string]string{}
		for i := range 100 {
			annotations[fmt.Sprintf("podinit.dev/entrypoint.c%d", i)] = "[" + strings.Repeat(`"$(A)",`, 300) + `"x"]`
			annotations[fmt.Sprintf("podinit.dev/flags.c%d", i)] = strings.Repeat("--remap-exit-code=143 ", 10)
		}
		annotated := podOf(containers(100, func(i int) string { return a.image("tarpit", 0, i) }))
		annotated["metadata"].(map[string]any)["annotations"] = annotations
		body := encode(annotated)
		a.flood(ctx, a.size(16), func(int) { a.create(ctx, body) })
	}},
	{name: "a repository with errors", run: func(ctx context.Context, a *attacker) {
		a.flood(ctx, a.size(32), func(n int) {
			a.create(ctx, pod(containers(4, func(i int) string { return fmt.Sprintf("%s/broken/x%d:%d", a.Target.Good, n, i) })))
		})
	}},
	{name: "a repository with a rate limit", run: func(ctx context.Context, a *attacker) {
		a.flood(ctx, a.size(32), func(n int) {
			a.create(ctx, pod(containers(4, func(i int) string { return fmt.Sprintf("%s/limited/x%d:%d", a.Target.Good, n, i) })))
		})
	}},
	{name: "another's image without the right", run: func(ctx context.Context, a *attacker) {
		a.flood(ctx, a.size(32), func(int) {
			a.create(ctx, pod(containers(2, func(int) string { return a.Target.Good + "/private/web:1" })))
		})
	}},
	{name: "endless bodies", run: hostileRegistry("endless")},
	{name: "redirects in circles", run: hostileRegistry("redirect")},
	{name: "a byte at a time", run: hostileRegistry("drip")},
	{name: "a token server that is a tarpit", run: hostileRegistry("token")},
	{name: "nested JSON", run: hostileRegistry("nested")},
	{name: "large image configs", run: hostileRegistry("large")},

	{name: "nine slow bodies", run: func(ctx context.Context, a *attacker) { a.slowBodies(ctx, 9) }},
	{name: "many slow bodies", run: func(ctx context.Context, a *attacker) { a.slowBodies(ctx, a.size(512)) }},
	{name: "chunked bodies", run: func(ctx context.Context, a *attacker) {
		a.hold(ctx, a.size(256), func(c net.Conn) {
			head(c, "Transfer-Encoding: chunked")
			for ctx.Err() == nil {
				if _, err := fmt.Fprintf(c, "1000\r\n%s\r\n", strings.Repeat(" ", 0x1000)); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}},
	{name: "slow headers", run: func(ctx context.Context, a *attacker) {
		a.hold(ctx, a.size(2048), func(c net.Conn) {
			_, err := io.WriteString(c, "POST /mutate HTTP/1.1\r\nHost: x\r\n")
			for i := 0; ctx.Err() == nil && err == nil; i++ {
				_, err = fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("x", 1000))
				time.Sleep(200 * time.Millisecond)
			}
		})
	}},
	{name: "idle connections", run: func(ctx context.Context, a *attacker) { a.idle(ctx, "127.0.0.66", a.size(8000)) }},
	{name: "idle connections from the apiserver's address", run: func(ctx context.Context, a *attacker) { a.idle(ctx, "127.0.0.1", a.size(8000)) }},
	{name: "idle connections with TLS", run: func(ctx context.Context, a *attacker) {
		a.hold(ctx, a.size(4000), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	}},
	{name: "handshakes", run: func(ctx context.Context, a *attacker) {
		a.flood(ctx, a.size(64), func(int) {
			if c, err := a.dial(ctx); err == nil {
				a.tally.add("handshakes")
				c.Close()
			}
		})
	}},
	{name: "garbage for TLS", run: func(ctx context.Context, a *attacker) {
		garbage := make([]byte, 16<<10)
		_, _ = rand.Read(garbage)
		garbage[0], garbage[1], garbage[2] = 22, 3, 1 // a handshake, they say
		a.flood(ctx, a.size(64), func(int) {
			if c, err := a.connect(ctx, "127.0.0.66"); err == nil {
				a.tally.add("connections")
				_, _ = c.Write(garbage)
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}
		})
	}},
	{name: "bad JSON", run: func(ctx context.Context, a *attacker) {
		a.flood(ctx, a.size(128), func(int) {
			a.post(ctx, []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"`+strings.Repeat("x", 4000)))
		})
	}},
	{name: "deep JSON", run: func(ctx context.Context, a *attacker) {
		body := bytes.Repeat([]byte("["), 7<<20)
		a.flood(ctx, a.size(64), func(int) { a.post(ctx, body) })
	}},
	{name: "large reviews", run: func(ctx context.Context, a *attacker) {
		body := review(pod([]map[string]any{{"name": "c", "image": "x", "command": []string{"x"}, "env": []map[string]string{{"name": "A", "value": strings.Repeat("x", 7<<20)}}}}))
		a.flood(ctx, a.size(64), func(int) { a.post(ctx, body) })
	}},
	{name: "answers that nobody takes", run: func(ctx context.Context, a *attacker) {
		body := review(pod(containers(1000, func(i int) string { return fmt.Sprint("x/y:", i) }, "true")))
		a.hold(ctx, a.size(256), func(c net.Conn) {
			head(c, fmt.Sprintf("Content-Length: %d", len(body)))
			_, _ = c.Write(body)
			<-ctx.Done()
		})
	}},
	{name: "forged namespaces", run: func(ctx context.Context, a *attacker) {
		a.flood(ctx, a.size(256), func(n int) {
			a.post(ctx, reviewIn(fmt.Sprint("forged-", n), pod(containers(8, func(i int) string { return a.image("tarpit", n, i) }))))
		})
	}},
	{name: "strangers, with client certificates", arguments: []string{"-client-ca-file=DIRECTORY/ca.crt", "-client-names=kube-apiserver"}, run: func(ctx context.Context, a *attacker) {
		body := review(pod(containers(8, func(i int) string { return a.image("slow", 0, i) })))
		a.flood(ctx, a.size(256), func(int) {
			if status := a.post(ctx, body); status != 0 {
				a.tally.add(answered)
			}
		})
	}},
}

var login = map[string]string{"username": "u", "password": "p"}

// hostileRegistry creates pods whose images are on registries of a kind, and on many of them.
func hostileRegistry(kind string) func(context.Context, *attacker) {
	return func(ctx context.Context, a *attacker) {
		a.flood(ctx, a.size(64), func(n int) { a.create(ctx, pod(containers(8, func(i int) string { return a.image(kind, n, i) }))) })
	}
}

// tally counts what came of an attacker's requests.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
	// first is called with the first.
	first func()
}

func (t *tally) add(what string) {
	t.first()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what]++
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var told []string
	for what, n := range t.counts {
		told = append(told, fmt.Sprintf("%d %s", n, what))
	}
	slices.Sort(told)
	return strings.Join(told, ", ")
}

// attacker is one process that attacks.
type attacker struct {
	Target target
	tally  *tally
	// prepared says that the flood begins.
	prepared func()

	once   sync.Once
	direct *http.Client
	api    *http.Client
}

// size is n, scaled.
func (a *attacker) size(n int) int { return max(1, int(float64(n)*a.Target.Scale)) }

// image is one of a hostile kind of registry, another for each n and i.
func (a *attacker) image(kind string, n, i int) string {
	hosts := a.Target.Hostile[kind]
	return fmt.Sprintf("%s/x%d-%d/y:1", hosts[(n+i)%len(hosts)], n, i)
}

// flood does something over and over, many times at once.
func (a *attacker) flood(ctx context.Context, at int, do func(n int)) {
	a.prepared()
	var all sync.WaitGroup
	for worker := range at {
		all.Go(func() {
			for n := worker; ctx.Err() == nil; n += at {
				do(n)
			}
		})
	}
	all.Wait()
}

func (a *attacker) clients() {
	a.once.Do(func() {
		insecure := &tls.Config{InsecureSkipVerify: true}
		a.api = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: insecure, MaxIdleConnsPerHost: 500}}
		a.direct = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			TLSClientConfig: insecure, MaxIdleConnsPerHost: 500,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return a.connect(ctx, "127.0.0.66") },
		}}
	})
}

// apiCreate creates an object, in JSON, in the attacker's namespace.
func (a *attacker) apiCreate(ctx context.Context, path string, text []byte) int {
	a.clients()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Target.API+"/api/v1/namespaces/"+attacked+"/"+path, bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer mallorytoken")
	response, err := a.api.Do(request)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			a.tally.add("failed")
		}
		time.Sleep(10 * time.Millisecond)
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	a.tally.add(response.Status)
	return response.StatusCode
}

// create creates a pod, as a dry run.
func (a *attacker) create(ctx context.Context, pod []byte) {
	a.apiCreate(ctx, "pods?dryRun=All", pod)
}

func encode(object any) []byte {
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return text
}

// secret makes a pull secret with credentials, and returns its name.
func (a *attacker) secret(ctx context.Context, n int, auths map[string]any) string {
	text := encode(map[string]any{"auths": auths})
	name := fmt.Sprintf("s%d-%d", time.Now().UnixNano(), n)
	status := a.apiCreate(ctx, "secrets", encode(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
		"metadata": map[string]any{"name": name}, "data": map[string][]byte{".dockerconfigjson": text},
	}))
	if status != http.StatusCreated {
		fmt.Fprintf(os.Stderr, "creating a secret of %d bytes: status %d\n", len(text), status)
	}
	return name
}

// pod is a pod in JSON.
func pod(containers []map[string]any, secrets ...string) []byte {
	return encode(podOf(containers, secrets...))
}

func podOf(containers []map[string]any, secrets ...string) map[string]any {
	spec := map[string]any{"containers": containers}
	var names []map[string]string
	for _, name := range secrets {
		names = append(names, map[string]string{"name": name})
	}
	if names != nil {
		spec["imagePullSecrets"] = names
	}
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"generateName": "evil-"}, "spec": spec}
}

// containers are n containers with images, and a command if one is given.
func containers(n int, image func(i int) string, command ...string) (all []map[string]any) {
	for i := range n {
		c := map[string]any{"name": fmt.Sprintf("c%d", i), "image": image(i)}
		if command != nil {
			c["command"] = command
		}
		all = append(all, c)
	}
	return all
}

// review is what an apiserver would send about a pod of the attacker's.
func review(pod []byte) []byte { return reviewIn(attacked, pod) }

func reviewIn(namespace string, pod []byte) []byte {
	return encode(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": map[string]any{
		"uid": "1", "resource": map[string]any{"version": "v1", "resource": "pods"}, "namespace": namespace, "operation": "CREATE", "object": json.RawMessage(pod),
	}})
}

// connect opens a connection to the webhook, from an address of this machine.
func (a *attacker) connect(ctx context.Context, from string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := dialer.DialContext(ctx, "tcp", a.Target.Webhook)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return nil, err
	}
	context.AfterFunc(ctx, func() { c.Close() })
	return c, nil
}

// dial opens a connection with TLS.
func (a *attacker) dial(ctx context.Context) (net.Conn, error) {
	c, err := a.connect(ctx, "127.0.0.66")
	if err != nil {
		return nil, err
	}
	over := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if err := over.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return over, nil
}

// hold keeps so many connections open, each used in a way, and opens a new one for each that is closed.
func (a *attacker) hold(ctx context.Context, n int, use func(net.Conn)) {
	a.flood(ctx, n, func(int) {
		c, err := a.dial(ctx)
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			return
		}
		a.tally.add("connections")
		use(c)
		c.Close()
	})
}

// idle keeps so many connections open that say nothing.
func (a *attacker) idle(ctx context.Context, from string, n int) {
	a.flood(ctx, n, func(int) {
		if c, err := a.connect(ctx, from); err == nil {
			a.tally.add("connections")
			_, _ = io.Copy(io.Discard, c)
			c.Close()
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// slowBodies announces the largest reviews, and sends them a byte at a time.
func (a *attacker) slowBodies(ctx context.Context, n int) {
	a.hold(ctx, n, func(c net.Conn) {
		head(c, fmt.Sprintf("Content-Length: %d", 8<<20))
		answers := make(chan error, 1)
		go func() {
			response, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err == nil {
				a.tally.add(response.Status)
			}
			answers <- err
		}()
		for ctx.Err() == nil {
			if _, err := c.Write([]byte(" ")); err != nil {
				return
			}
			select {
			case <-answers:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
}

func head(c net.Conn, length string) {
	fmt.Fprintf(c, "POST /mutate?timeout=5s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n", length)
}

// post sends a body to the webhook, without an apiserver in between, and returns the status; 0 if there is none.
func (a *attacker) post(ctx context.Context, body []byte) int {
	a.clients()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+a.Target.Webhook+"/mutate?timeout=5s", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.direct.Do(request)
	if err != nil {
		a.tally.add("failed")
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	a.tally.add(response.Status)
	return response.StatusCode
}
