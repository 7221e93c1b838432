package clusterstate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// An apiserver that does not stream lists answers an informer's from its watch cache as a whole, whatever limit it is given,
// unless no resource version is asked for. All nodes are then never held at once as the apiserver has them.
func TestListsArePaged(t *testing.T) {
	const nodes = 1234
	var asked []metav1.ListOptions
	held := 0 // nodes of one answer, at most
	lists := &toolscache.ListWatch{
		ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
			asked = append(asked, o)
			first, last := 0, nodes
			if o.ResourceVersion == "" && o.Limit > 0 {
				first, _ = strconv.Atoi(o.Continue)
				last = min(nodes, first+int(o.Limit))
			}
			list := &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
			for i := first; i < last; i++ {
				n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), Labels: map[string]string{"a": "b"}}}
				n.Status.Images = []corev1.ContainerImage{{Names: []string{"r.example/app@sha256:2", "r.example/app:1"}}}
				list.Items = append(list.Items, n)
			}
			if held = max(held, len(list.Items)); last < nodes {
				list.Continue = strconv.Itoa(last)
			}
			return list, nil
		},
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			if o.SendInitialEvents != nil {
				return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", nil)
			}
			return apiwatch.NewFake(), nil
		},
	}
	informer := NewInformer(lists, &corev1.Node{}, time.Hour, toolscache.Indexers{})
	if err := informer.SetTransform(trimNode); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		informer.RunWithContext(ctx)
		close(stopped)
	}()
	eventually(t, "the nodes are listed", informer.HasSynced)
	cancel()
	<-stopped
	if held > pageSize || len(asked) != 3 {
		t.Errorf("%d nodes at once, in %d requests: %+v", held, len(asked), asked)
	}
	names := informer.GetStore().ListKeys()
	slices.Sort(names)
	if len(names) != nodes || len(slices.Compact(names)) != nodes {
		t.Errorf("%d nodes are known, want %d", len(names), nodes)
	}
	for _, object := range informer.GetStore().List() {
		if n := object.(*corev1.Node); len(n.Labels) > 0 || len(n.Status.Images) != 1 {
			t.Fatalf("this is kept of a node: %+v", n)
		}
	}
	if got := informer.LastSyncResourceVersion(); got != "7" {
		t.Errorf("it watches from resource version %q on", got)
	}
}
