package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
)

// perPod is how many containers each pod has: a node takes no more than 110 pods.
const perPod = 5

// memory of podinit-node, and of how many wrapped containers it knows.
type memory struct {
	containers int
	mebibytes  float64
}

// measureMemory restarts podinit-node, creates wrapped containers, and says what memory it takes before and after.
func (b *bench) measureMemory(ctx context.Context, containers int) (before, after memory, err error) {
	for _, there := range []bool{false, true} {
		if err := b.setPlugin(ctx, there); err != nil {
			return before, after, err
		}
	}
	if before, err = b.memory(ctx); err != nil {
		return before, after, err
	}
	namespace, err := b.namespace(ctx, v1alpha1.DeliverByNode)
	if err != nil {
		return before, after, err
	}
	var names []string
	for made := 0; made < containers; made += perPod {
		p := pod(fmt.Sprintf("pod-%d", len(names)), min(perPod, containers-made))
		if _, err := b.client.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
			return before, after, err
		}
		names = append(names, p.Name)
	}
	for _, name := range names {
		if _, err := b.awaitReady(ctx, namespace, name); err != nil {
			return before, after, err
		}
	}
	if after, err = b.memory(ctx); err != nil {
		return before, after, err
	}
	if got := after.containers - before.containers; got != containers {
		err = fmt.Errorf("podinit-node knows %d more wrapped containers, want %d", got, containers)
	}
	return before, after, err
}

func (b *bench) memory(ctx context.Context) (memory, error) {
	r, err := b.report(ctx, metav1.NamespaceAll)
	if err != nil {
		return memory{}, err
	}
	bytes, err := b.metric(ctx, "process_resident_memory_bytes")
	return memory{r.Counts.Wrapped, bytes.GetGauge().GetValue() / (1 << 20)}, err
}
