// Package pods makes pods by chance, for tests that a rule holds for all of them.
package pods

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// Object is a JSON object.
type Object = map[string]any

// Generate makes a pod that is valid, but for fields of the future, with something unusual in most places sometimes.
func Generate(r *rand.Rand) Object {
	maybe := func(percent int) bool { return r.IntN(100) < percent }
	metadata := Object{"generateName": "pod-"}
	if maybe(30) {
		metadata["labels"] = Object{"app.kubernetes.io/name": "x", "app": "y"}
	}
	if maybe(5) {
		metadata["labels"] = One(r, Object{"tekton.dev/taskRun": "build"}, Object{"kubevirt.io": "virt-launcher"})
	}
	if maybe(10) {
		metadata["ownerReferences"] = []any{One(r,
			Object{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "x"}, Object{"apiVersion": "v1", "kind": "ReplicationController", "name": "x", "uid": "x"},
			Object{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "x", "uid": "x"}, Object{"apiVersion": "jenkins.io/v1alpha2", "kind": "Jenkins", "name": "x", "uid": "x"},
			Object{"apiVersion": "example.com/v1", "kind": "Example", "name": "x", "uid": "x", "controller": true})}
	}
	annotations := Object{}
	annotate := func(percent int, key string, value string) {
		if maybe(percent) {
			annotations[key] = value
		}
	}
	annotate(30, "note", "<&>\u2028\"\\")
	annotate(30, "example.com/empty", "")
	annotate(5, "podinit.dev/skip-container", "app0")
	annotate(5, "kubectl.kubernetes.io/default-container", "app0")
	annotate(5, "backup.velero.io/backup-volumes-excludes", One(r, "data", "data,x"))
	annotate(5, "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes", "data")
	annotate(10, "podinit.dev/inject", One(r, "enabled", "yes"))
	annotate(10, "podinit.dev/containers", One(r, "app0,setup0", "app1, nobody", ","))
	annotate(10, "podinit.dev/skip-containers", One(r, "app0", "setup0,app2"))
	annotate(10, "podinit.dev/flags.app0", One(r, "-v --rewrite=TERM:INT", "--grace 7s", "--nonsense", "--termination-message=/$(X)"))
	annotate(10, "podinit.dev/entrypoint.app1", One(r, `["/bin/sh","-c","$(X) $$"]`, `nonsense`, `["/sbin/init"]`))
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	spec := Object{}
	future := func(o Object) {
		if maybe(20) {
			o["future"] = Object{"deep": []any{json.Number("1.50"), json.Number("12345678901234567890"), nil, "ü$"}}
		}
	}
	future(metadata)
	future(spec)
	if maybe(20) {
		spec["terminationGracePeriodSeconds"] = One(r, 0, 1, 45, 86400)
	}
	if maybe(30) {
		sc := Object{}
		if maybe(50) {
			sc["runAsUser"] = One(r, 0, 1000)
		}
		if maybe(50) {
			sc["seccompProfile"] = One(r, Object{"type": "RuntimeDefault"}, Object{"type": "Unconfined"}, Object{"type": "Localhost", "localhostProfile": "x"})
		}
		if maybe(20) {
			sc["seLinuxOptions"] = Object{"level": "s0:c1,c2"}
		}
		if maybe(50) {
			sc["runAsNonRoot"] = sc["runAsUser"] != 0
		}
		spec["securityContext"] = sc
	}
	switch {
	case maybe(3):
		spec["hostPID"] = true
	case maybe(10):
		spec["shareProcessNamespace"] = true
	case maybe(10):
		spec["hostUsers"] = maybe(50)
	}
	if maybe(3) {
		spec["runtimeClassName"] = One(r, "wasmtime", "gvisor")
	}
	if maybe(10) {
		spec["os"] = Object{"name": "linux"}
	}
	kind := r.IntN(4) // guaranteed, burstable, best effort, pod-level
	if kind == 3 {
		spec["resources"] = Object{"requests": Object{"cpu": "2", "memory": "2Gi"}, "limits": Object{"cpu": "2", "memory": "2Gi"}}
	}
	mounted := false
	container := func(prefix string, i int) Object {
		c := Object{"name": fmt.Sprintf("%s%d", prefix, i), "image": "r/app:1"}
		if maybe(85) {
			c["command"] = One(r, []any{"app"}, []any{"/bin/sh", "-c", "exec $(APP) $$HOME -- <&>"}, []any{"/sbin/tini", "--", "app"}, []any{"--", "app"}, []any{""})
		}
		if maybe(30) {
			c["args"] = One(r, []any{"$(ARG)", "--"}, []any{"/sbin/init"})
		}
		requests, limits := Object{}, Object{}
		for _, name := range []string{"cpu", "memory", "ephemeral-storage", "example.com/device"} {
			q := map[string][]any{
				"cpu": {"500m", 1, json.Number("0.25"), "4"}, "memory": {"64Mi", "1Gi", 134217728, "8Mi"},
				"ephemeral-storage": {"1Gi"}, "example.com/device": {1},
			}[name]
			value := q[r.IntN(len(q))]
			switch {
			case kind == 0 && (name == "cpu" || name == "memory"), name == "example.com/device" && maybe(10):
				requests[name], limits[name] = value, value
			case kind == 1 && name != "example.com/device" && maybe(40):
				requests[name] = value
				if maybe(40) {
					limits[name] = value
				}
			}
		}
		res := Object{}
		if len(requests) > 0 {
			res["requests"] = requests
		}
		if len(limits) > 0 {
			res["limits"] = limits
		}
		if len(res) > 0 || maybe(30) {
			future(res)
			c["resources"] = res
		}
		if maybe(40) {
			mounted = true
			c["volumeMounts"] = []any{Object{"name": "data", "mountPath": One(r, "/data", "/", "/podinit", "/podinit/x", "/podinitx")}}
		}
		if spec["os"] != nil && prefix == "app" && maybe(60) {
			c["lifecycle"] = Object{"stopSignal": One(r, "SIGQUIT", "SIGRTMIN+3", "SIGTERM")}
		}
		if prefix == "app" && maybe(20) {
			c["livenessProbe"] = Object{"exec": Object{"command": []any{"true"}}, "terminationGracePeriodSeconds": One(r, 1, 600)}
		}
		if maybe(20) {
			c["terminationMessagePolicy"] = One(r, "File", "FallbackToLogsOnError")
			c["terminationMessagePath"] = One(r, "/dev/termination-log", "/tmp/$(X)")
		}
		if maybe(20) {
			c["securityContext"] = Object{
				"allowPrivilegeEscalation": false, "capabilities": Object{"drop": []any{"ALL"}}, "runAsNonRoot": true,
				"seccompProfile": One(r, Object{"type": "RuntimeDefault"}, Object{"type": "Localhost", "localhostProfile": "x"}),
			}
			if maybe(20) {
				c["securityContext"].(Object)["seLinuxOptions"] = Object{"level": One(r, "s0:c1,c2", "s0:c3,c4")}
			}
		} else if maybe(30) {
			own := Object{}
			if maybe(60) {
				own["runAsUser"] = One(r, 0, 1000, 1001)
			}
			if maybe(40) {
				own["runAsGroup"] = One(r, 0, 2000)
			}
			if maybe(40) {
				own["capabilities"] = One(r, Object{"drop": []any{"MKNOD", "NET_RAW"}}, Object{"drop": []any{"ALL"}, "add": []any{"SETUID", "SETGID"}},
					Object{"drop": []any{"KILL"}}, Object{"add": []any{"CHOWN"}}, Object{"drop": []any{"ALL"}, "add": []any{"SETUID", "KILL"}})
			}
			c["securityContext"] = own
		}
		future(c)
		return c
	}
	list := func(prefix string, n int) []any {
		var containers []any
		for i := range n {
			containers = append(containers, container(prefix, i))
		}
		return containers
	}
	spec["containers"] = list("app", 1+r.IntN(4))
	if maybe(40) {
		spec["initContainers"] = list("setup", 1+r.IntN(2))
		if maybe(50) {
			spec["initContainers"].([]any)[0].(Object)["restartPolicy"] = "Always"
		}
	}
	if mounted || maybe(30) {
		spec["volumes"] = []any{Object{"name": "data", "emptyDir": Object{}}}
	}
	return Object{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
}

// One is one of several, by chance.
func One[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
