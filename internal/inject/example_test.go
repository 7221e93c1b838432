package inject_test

import (
	"fmt"

	"github.com/podinit/podinit/internal/inject"
)

func ExampleNewPlan() {
	pod, err := inject.Decode([]byte(`{
		"metadata": {"name": "web"},
		"spec": {"containers": [
			{"name": "app", "image": "app:1", "command": ["app", "--serve"]},
			{"name": "proxy", "image": "proxy:1"}
		]}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	plan := inject.NewPlan(inject.Config{Image: "init:1", Version: "v1"}, inject.Setting{Namespace: "default", NamespaceInject: "enabled"}, pod)
	for _, c := range plan.Containers {
		fmt.Println(c.Name, c.Reason, c.Command)
	}
	// Output:
	// app  [/podinit/init --grace=30s --termination-message=/dev/termination-log -- app --serve]
	// proxy no-command []
}
