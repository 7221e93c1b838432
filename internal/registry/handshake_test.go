package registry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// tokenWorld is a registry that wants a token, and counts challenges and tokens.
func tokenWorld(t *testing.T) (w *world, counts func() (challenges, tokens int)) {
	w = newWorld(t, httptest.NewServer)
	for i := range 10 {
		w.push(fmt.Sprintf("team/app-%d:1", i), image("linux", "amd64", "a"))
	}
	var mu sync.Mutex
	challenges, given := 0, 0
	w.set(func(out http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/token":
			given++
			_, _ = fmt.Fprintf(out, `{"token":%[1]q,"access_token":%[1]q}`, "for "+r.FormValue("scope"))
			return true
		case r.Header.Get("Authorization") == "Bearer for repository:"+strings.Split(r.URL.Path, "/")[2]+"/"+strings.Split(r.URL.Path, "/")[3]+":pull":
			return false
		}
		challenges++
		return respond(401, "WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x",scope="repository:%s/%s:pull"`,
			r.Host, strings.Split(r.URL.Path, "/")[2], strings.Split(r.URL.Path, "/")[3]))(out, r)
	})
	w.secrets = map[string]*corev1.Secret{"team/s": secret(false, map[string]string{w.host: "alice:right"})}
	return w, func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		c, g := challenges, given
		challenges, given = 0, 0
		return c, g
	}
}

// A handshake is made once for a host, a credential and a namespace, and a token is fetched once for a repository.
func TestHandshakesAreShared(t *testing.T) {
	w, counts := tokenWorld(t)
	expect := func(what string, challenges, tokens int) {
		t.Helper()
		if c, g := counts(); c != challenges || g != tokens {
			t.Errorf("%s: %d challenges and %d tokens, want %d and %d", what, c, g, challenges, tokens)
		}
	}
	for i := range 10 {
		w.expect(w.query(fmt.Sprintf("team/app-%d:1", i)), "a")
	}
	expect("ten images", 1, 10)
	for range 3 {
		fresh := w.query("team/app-0:1")
		fresh.Fresh = true
		w.expect(fresh, "a")
	}
	expect("one of them again", 0, 0)
	w.now = w.now.Add(tokenTime)
	fresh := w.query("team/app-0:1")
	fresh.Fresh = true
	w.expect(fresh, "a")
	expect("when the token is old", 0, 1)

	// Another namespace, and another credential, make their own.
	other := w.query("team/app-1:1")
	other.Namespace, other.Fresh = "other", true
	w.expect(other, "a")
	expect("another namespace", 1, 1)
	alice := w.query("team/app-2:1", "s")
	alice.Fresh = true
	w.expect(alice, "a")
	expect("another credential", 1, 1)
}

// What a host wants may change, and so may a token server fail: what was shared is no reason to fail.
func TestHandshakesThatAreOld(t *testing.T) {
	for name, change := range map[string]func(inner func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool{
		"the token is revoked": func(inner func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
			return func(out http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/token" {
					_, _ = fmt.Fprint(out, `{"token":"new"}`)
					return true
				}
				return r.Header.Get("Authorization") != "Bearer new" &&
					respond(401, "WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))(out, r)
			}
		},
		"the token server has moved": func(func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
			return func(out http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.URL.Path == "/token":
					return respond(404)(out, r)
				case r.URL.Path == "/moved":
					_, _ = fmt.Fprint(out, `{"token":"new"}`)
					return true
				}
				return r.Header.Get("Authorization") != "Bearer new" &&
					respond(401, "WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/moved",service="x"`, r.Host))(out, r)
			}
		},
		"it is open now": func(func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
			return func(out http.ResponseWriter, r *http.Request) bool {
				return r.URL.Path == "/token" && respond(404)(out, r)
			}
		},
		"each repository has a scope of its own": func(func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
			return tokens(scoped("repository:hub/x:pull"), `Bearer realm="http://HOST/token",service="x",scope="repository:hub/x:pull"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := tokenWorld(t)
			w.expect(w.query("team/app-0:1"), "a")
			w.set(change(w.fault))
			for range 2 {
				w.now = w.now.Add(time.Second)
				for _, app := range []string{"team/app-0:1", "team/app-1:1", "team/app-2:1"} {
					q := w.query(app)
					q.Fresh = true
					w.expect(q, "a")
				}
			}
		})
	}
}

// No token server fills the memory, and inventing repositories does not either.
func TestHandshakesAreBounded(t *testing.T) {
	w := newWorld(t, httptest.NewServer)
	w.push("team/app:1", image("linux", "amd64", "a"))
	long := strings.Repeat("x", maxHandshake)
	w.set(func(out http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_, _ = fmt.Fprintf(out, `{"token":%q}`, long)
			return true
		}
		return r.Header.Get("Authorization") != "Bearer "+long &&
			respond(401, "WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))(out, r)
	})
	w.expect(w.query("team/app:1"), "a")
	for key, known := range w.registries.handshakes.known {
		if known.tokens != nil {
			t.Errorf("a token of %d bytes is kept: %s", len(long), key)
		}
	}
	h := &handshakes{now: time.Now}
	for i := range 3 * maxHandshakes {
		h.put(fmt.Sprint(i), handshake{until: time.Now().Add(time.Hour)})
	}
	if len(h.known) > maxHandshakes {
		t.Errorf("%d are kept", len(h.known))
	}
}

// A token as long as any registry's is used, and none fills the memory while the registry is silent: its server chooses
// the path that it is fetched at, too.
func TestTokensAreBounded(t *testing.T) {
	for _, path := range []string{"/token", "/v2/x/manifests/token", "/v2/x/blobs/token"} {
		for size, want := range map[int]string{32 << 10: "a", maxToken: "lookup-too-large"} {
			w := newWorld(t, httptest.NewServer)
			w.push("team/app:1", image("linux", "amd64", "a"))
			token := strings.Repeat("x", size)
			w.set(func(out http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == path {
					_, _ = fmt.Fprintf(out, `{"token":%q}`, token)
					return true
				}
				return r.Header.Get("Authorization") != "Bearer "+token &&
					respond(401, "WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s%s",service="x"`, r.Host, path))(out, r)
			})
			w.expect(w.query("team/app:1"), want)
		}
	}
}

// podinit's own credentials go to no host that the registry sends us to; a Pod's own go where its node would send them.
func TestOwnCredentialsStay(t *testing.T) {
	real := newWorld(t, httptest.NewServer)
	real.push("team/app:1", image("linux", "amd64", "a"))
	real.users = map[string]string{"alice": "right"}
	w := newWorld(t, httptest.NewServer)
	w.set(func(out http.ResponseWriter, r *http.Request) bool {
		http.Redirect(out, r, real.server.URL+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	})
	w.secrets = map[string]*corev1.Secret{"team/s": secret(false, map[string]string{w.host: "alice:right"})}
	w.config.Registries = append(w.config.Registries, Host{Host: real.host, PlainHTTP: true})
	w.restart()
	w.expect(w.query("team/app:1", "s"), "a")

	w.secrets = nil
	w.config.Credentials = Credentials{Namespaces: []string{"team"}, DockerConfigFile: dockerConfigFile(t, w.host, "alice", "right")}
	w.restart()
	w.expect(w.query("team/app:1"), "lookup-unauthorized")
}

// Nor do they go to another port of the registry's host, or of its token server's, which net/http takes for the same.
func TestOwnCredentialsStayAtThePort(t *testing.T) {
	challenge := func(out http.ResponseWriter, r *http.Request) bool {
		return r.Header.Get("Authorization") == "" &&
			respond(401, "WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))(out, r)
	}
	noPost := func(out http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodPost && respond(404)(out, r) || challenge(out, r)
	}
	const password, registryToken = `"username":"alice","password":"hunter2"`, `"registrytoken":"hunter2"`
	for name, c := range map[string]struct {
		login string
		// fault answers instead of the registry, but what begins with path is redirected.
		fault func(http.ResponseWriter, *http.Request) bool
		path  string
	}{
		"blobs, Basic":                 {password, nil, "GET /v2/team/app/blobs"},
		"manifests, Basic":             {password, nil, "GET /v2/team/app/manifests"},
		"blobs, a token":               {registryToken, nil, "GET /v2/team/app/blobs"},
		"a token by POST":              {password, challenge, "POST /token"},
		"a token by GET":               {password, noPost, "GET /token"},
		"a token by an identity token": {`"identitytoken":"hunter2"`, challenge, "POST /token"},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			asked, seen := 0, ""
			other := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				text, _ := io.ReadAll(r.Body)
				asked, seen = asked+1, seen+r.Header.Get("Authorization")+string(text)
				if r.URL.Path == "/1" { // a second redirect, on the same host, does not bring them back
					http.Redirect(out, r, "/2", http.StatusTemporaryRedirect)
					return
				}
				out.WriteHeader(http.StatusNotFound)
			}))
			defer other.Close()
			w := newWorld(t, httptest.NewServer)
			w.push("team/app:1", image("linux", "amd64", "a"))
			w.set(func(out http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.Method+" "+r.URL.Path, c.path) {
					http.Redirect(out, r, other.URL+"/1", http.StatusTemporaryRedirect)
					return true
				}
				return c.fault != nil && c.fault(out, r)
			})
			file := filepath.Join(t.TempDir(), "config.json")
			if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths":{%q:{%s}}}`, w.host, c.login), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.login == password && c.fault == nil {
				w.users = map[string]string{"alice": "hunter2"}
			}
			w.config.Registries = append(w.config.Registries, Host{Host: strings.TrimPrefix(other.URL, "http://"), PlainHTTP: true})
			w.config.Credentials = Credentials{Namespaces: []string{"team"}, DockerConfigFile: file}
			w.restart()
			_, err := w.look(w.query("team/app:1"))
			mu.Lock()
			defer mu.Unlock()
			if asked < 2 || strings.Contains(seen, "hunter2") || strings.Contains(seen, "Basic") {
				t.Errorf("%d requests to the other port, with %q (%v)", asked, seen, err)
			}
		})
	}
}

// What counts as another host is what has another scheme, name or port, also on the way.
func TestElsewhere(t *testing.T) {
	for hops, want := range map[string]bool{
		"https://a.example/":                                          false,
		"https://a.example/ https://a.example/b":                      false,
		"https://a.example/ https://a.example:443/b":                  false,
		"https://a.example:443/ https://A.example/b":                  false,
		"http://a.example/ http://a.example:80/":                      false,
		"https://[::1]/ https://[::1]:443/":                           false,
		"https://a.example/ https://a.example:8443/":                  true,
		"https://a.example/ https://b.a.example/":                     true,
		"https://a.example/ http://a.example:443/":                    true,
		"https://a.example/ https://b.a.example/ https://a.example/":  true,
		"https://a.example/ https://b.a.example/ https://b.a.example": true,
	} {
		var request *http.Request
		for hop := range strings.FieldsSeq(hops) {
			next := httptest.NewRequest(http.MethodGet, hop, nil)
			if request != nil {
				next.Response = &http.Response{Request: request}
			}
			request = next
		}
		if got := elsewhere(request); got != want {
			t.Errorf("%s: %v", hops, got)
		}
	}
}

func dockerConfigFile(t *testing.T, host, user, password string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	text := fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, host, user, password)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
