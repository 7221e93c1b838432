package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/kubectl/pkg/util/podutils"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/node/report"
)

// kind of pod whose time is taken.
type kind struct {
	name     string
	delivery v1alpha1.DeliveryPolicy
	// asItMustBe says whether a pod of this kind has the init as its kind has it.
	asItMustBe func(*corev1.Pod) bool
	namespace  string
}

func kinds() []*kind {
	unchanged := func(p *corev1.Pod) bool {
		return len(p.Annotations) == 0 && len(p.Labels) == 0 && len(p.Spec.InitContainers) == 0 && len(p.Spec.Volumes) == 0
	}
	return []*kind{
		{name: "no init", asItMustBe: unchanged},
		{name: "webhook, init container", delivery: v1alpha1.DeliverByInitContainer, asItMustBe: func(p *corev1.Pod) bool { return len(p.Spec.InitContainers) == 1 }},
		{name: "webhook, image volume", delivery: v1alpha1.DeliverByImageVolume, asItMustBe: func(p *corev1.Pod) bool {
			return len(p.Spec.InitContainers) == 0 && len(p.Spec.Volumes) == 1 && p.Spec.Volumes[0].Image != nil
		}},
		{name: "node mode", delivery: v1alpha1.DeliverByNode, asItMustBe: unchanged},
	}
}

// measureReady creates pods of each kind in turn, in another order in each round: what the last pod has left to do may slow the next.
func (b *bench) measureReady(ctx context.Context, rounds int) ([]series, error) {
	all := kinds()
	var measured []series
	for _, k := range all {
		var err error
		if k.namespace, err = b.namespace(ctx, k.delivery); err != nil {
			return nil, err
		}
		measured = append(measured, series{name: k.name})
		// Images are pulled, and all that a kind needs is known, before time counts.
		err = b.await(ctx, "a pod of kind "+k.name, func(ctx context.Context) (bool, error) {
			p, err := b.client.CoreV1().Pods(k.namespace).Create(ctx, pod("first", 1), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err == nil && k.asItMustBe(p), err
		})
		if err != nil {
			return nil, err
		}
		if _, err := b.readyAfter(ctx, k, "first"); err != nil {
			return nil, err
		}
	}
	for round := range rounds {
		for _, i := range rand.Perm(len(all)) {
			// Another moment of the second in which the kubelet looks.
			if !sleep(ctx, time.Second+rand.N(time.Second)) {
				return nil, ctx.Err()
			}
			took, err := b.readyAfter(ctx, all[i], fmt.Sprintf("round-%d", round))
			if err != nil {
				return nil, err
			}
			measured[i].times = append(measured[i].times, took)
		}
	}
	return measured, nil
}

// readyAfter creates a pod, says how long it takes until it is Ready, and returns when it is gone.
func (b *bench) readyAfter(ctx context.Context, k *kind, name string) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pods := b.client.CoreV1().Pods(k.namespace)
	events, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return 0, err
	}
	defer events.Stop()
	began := time.Now()
	p, err := pods.Create(ctx, pod(name, 1), metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	if !k.asItMustBe(p) {
		return 0, fmt.Errorf("pod %s/%s is not as one of kind %q must be", k.namespace, name, k.name)
	}
	for event := range events.ResultChan() {
		switch p, ok := event.Object.(*corev1.Pod); {
		case !ok:
			return 0, apierrors.FromObject(event.Object)
		case event.Type == watch.Deleted:
			return took, nil
		case took == 0 && podutils.IsPodReady(p):
			took = time.Since(began)
			if err := b.check(ctx, k, p); err != nil {
				return 0, err
			}
			if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				return 0, err
			}
		}
	}
	return 0, fmt.Errorf("waiting for pod %s/%s: the watch has ended: %w", k.namespace, name, context.Cause(ctx))
}

// check fails unless a pod of node mode is wrapped by the node, and no other is.
func (b *bench) check(ctx context.Context, k *kind, p *corev1.Pod) error {
	r, err := b.report(ctx, k.namespace)
	if err != nil {
		return err
	}
	wrapped := 0
	for _, c := range r.Containers {
		if c.Pod == p.Name && c.State == report.Wrapped {
			wrapped++
		}
	}
	if want := k.delivery == v1alpha1.DeliverByNode; want != (wrapped == 1) {
		return fmt.Errorf("the node has wrapped %d containers of pod %s/%s, of kind %q", wrapped, k.namespace, p.Name, k.name)
	}
	return nil
}

// sleep waits, and says whether ctx is not done.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
