package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/delivery"
)

// addCanaries has the manager find out whether nodes can pull the init image.
func addCanaries(manager ctrl.Manager, o options, nodes *delivery.Watcher, log logr.Logger) (*canary.Watcher, error) {
	events := &deploymentEvents{reader: manager.GetAPIReader(), writer: manager.GetClient(), namespace: o.Namespace, pod: o.Pod, image: o.InitImage, log: log}
	canaries := &canary.Watcher{
		Cache: manager.GetCache(), Image: o.InitImage, Architecture: nodes.Architecture, Changed: events.changed, Log: log,
	}
	for _, runnable := range []interface {
		Start(context.Context) error
		NeedLeaderElection() bool
	}{canaries, events} {
		if err := manager.Add(runnable); err != nil {
			return nil, fmt.Errorf("setting up the manager: %w", err)
		}
	}
	return canaries, nil
}

// deploymentEvents writes Events about the webhook's Deployment. Where it may not, the log has what they would have said.
type deploymentEvents struct {
	reader    client.Reader
	writer    client.Writer
	namespace string
	// pod writes them.
	pod   string
	image string
	log   logr.Logger
}

// eventTime bounds writing an Event.
const eventTime = 5 * time.Second

// NeedLeaderElection is false: every replica says what it does.
func (e *deploymentEvents) NeedLeaderElection() bool { return false }

// Start finds out whether Events can be written, so that a right that is missing is not noticed only when one would be
// needed.
func (e *deploymentEvents) Start(ctx context.Context) error {
	err := e.write(ctx, corev1.EventTypeNormal, "InitImageAvailable", "nodes can pull the init image", client.DryRunAll)
	if err != nil && ctx.Err() == nil {
		e.log.Error(err, "no Event about the webhook's Deployment can be written")
	}
	return nil
}

// changed is a canary.Watcher's Changed.
func (e *deploymentEvents) changed(ctx context.Context, o canary.Opening, open bool) {
	kind, reason := corev1.EventTypeNormal, "InitImageAvailable"
	message := fmt.Sprintf("linux/%s nodes can pull init image %s again: new pods are wrapped.", o.Architecture, e.image)
	if open {
		kind, reason = corev1.EventTypeWarning, "InitImageUnavailable"
		message = fmt.Sprintf("linux/%s nodes cannot pull init image %s: new pods are left alone until they can. Pod %s on node %s: %s: %s",
			o.Architecture, e.image, o.Pod, o.Node, o.Reason, o.Message)
	}
	if err := e.write(ctx, kind, reason, message); err != nil {
		e.log.Error(err, "writing an Event", "reason", reason)
	}
}

func (e *deploymentEvents) write(ctx context.Context, kind, reason, message string, options ...client.CreateOption) error {
	ctx, cancel := context.WithTimeout(ctx, eventTime)
	defer cancel()
	deployment := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}}
	if err := e.reader.Get(ctx, types.NamespacedName{Namespace: e.namespace, Name: canary.Deployment}, deployment); err != nil {
		return fmt.Errorf("reading Deployment %s, which the Event is about: %w", canary.Deployment, err)
	}
	const most = 1 << 10 // the apiserver takes no longer message
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, GenerateName: canary.Deployment + "."},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "apps/v1", Kind: "Deployment", Namespace: e.namespace, Name: deployment.Name, UID: deployment.UID, ResourceVersion: deployment.ResourceVersion,
		},
		Type: kind, Reason: reason, Message: shortened(message, most),
		Source: corev1.EventSource{Component: canary.Deployment, Host: e.pod}, ReportingController: "podinit.dev/webhook", ReportingInstance: e.pod,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	if err := e.writer.Create(ctx, event, options...); err != nil {
		return fmt.Errorf("creating an Event in namespace %s: %w", e.namespace, err)
	}
	return nil
}

// shortened cuts a text to so many bytes, between characters.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len("...")], "") + "..."
}
