package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/podinit/podinit/internal/jsonpatch"
)

// What is compared does the same: podinit and the usual way make the same Pod, in which every container is wrapped, and
// the two others allow without a patch.
func TestVariantsAgree(t *testing.T) {
	all, err := variants()
	if err != nil {
		t.Fatal(err)
	}
	for _, containers := range []int{1, 3, 20} {
		body := review(containers)
		var asked admissionv1.AdmissionReview
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Fatal(err)
		}
		made := map[string]map[string]any{}
		for _, v := range all {
			request := httptest.NewRequest(http.MethodPost, "/?timeout=10s", bytes.NewReader(body))
			request.Header.Set("Content-Type", "application/json")
			recorder := httptest.NewRecorder()
			v.handler.ServeHTTP(recorder, request)
			var got admissionv1.AdmissionReview
			if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil || got.Response == nil || !got.Response.Allowed || got.Response.UID != asked.Request.UID {
				t.Fatalf("%s: %v: %s", v.name, err, recorder.Body)
			}
			made[v.name] = patched(t, asked.Request.Object, got.Response.Patch)
		}
		for _, name := range []string{"floor", "allow"} {
			if diff := cmp.Diff(patched(t, asked.Request.Object, nil), made[name]); diff != "" {
				t.Errorf("%d containers: %s changed the pod:\n%s", containers, name, diff)
			}
		}
		if diff := cmp.Diff(made["usual"], made["podinit"]); diff != "" {
			t.Errorf("%d containers: (-usual +podinit):\n%s", containers, diff)
		}
		for _, c := range made["podinit"]["spec"].(map[string]any)["containers"].([]any) {
			if command := c.(map[string]any)["command"].([]any); command[0] != "/podinit/init" {
				t.Errorf("%d containers: one is not wrapped: %v", containers, command)
			}
		}
	}
}

func patched(t *testing.T, object runtime.RawExtension, patch []byte) map[string]any {
	t.Helper()
	raw, err := jsonpatch.Apply(object.Raw, patch)
	if err != nil {
		t.Fatal(err)
	}
	var pod map[string]any
	if err := json.Unmarshal(raw, &pod); err != nil {
		t.Fatal(err)
	}
	return pod
}
