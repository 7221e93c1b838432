package hostile

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/podinit/podinit/test/controlplane"
)

// TestOneCall: the apiserver calls the webhook once for a pod. It would call it again if one of its plugins, which run once more
// after a webhook has changed a pod, had something to add to the copier.
func TestOneCall(t *testing.T) {
	if *binFlag == "" || *webhookFlag == "" {
		t.Fatal("no -bin or -webhook given: run 'make test-hostile'")
	}
	w := newWorld(t)
	hook := w.startWebhook(t)
	before := calls(t, hook)
	c := &created{problems: map[string]int{}}
	const pods = 5
	for range pods {
		w.create(t.Context(), 0, c)
	}
	if got := calls(t, hook) - before; len(c.problems) > 0 || got != pods {
		t.Errorf("%d calls for %d pods; %v", got, pods, c.problems)
	}
}

// calls are how many reviews the webhook has answered.
func calls(t *testing.T, hook *controlplane.Webhook) int {
	t.Helper()
	response, err := http.Get(hook.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^podinit_admission_duration_seconds_count (\d+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("the webhook does not count its answers:\n%.1000s", text)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
