package canary

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/internal/events"
)

// Events writes Events about the webhook's Deployment. Where it may not, the log has what they would have said.
type Events struct {
	Reader client.Reader
	Writer client.Writer
	// Namespace and Pod are the webhook's own.
	Namespace, Pod string
	// Image is the reference of the init image.
	Image string
	Log   logr.Logger
}

// eventTime bounds writing an Event.
const eventTime = 5 * time.Second

// NeedLeaderElection is false: every replica says what it does.
func (e *Events) NeedLeaderElection() bool { return false }

// Start finds out whether Events can be written, so that a right that is missing is not noticed only when one would be
// needed.
func (e *Events) Start(ctx context.Context) error {
	err := e.write(ctx, corev1.EventTypeNormal, "InitImageAvailable", "nodes can pull the init image", client.DryRunAll)
	if err != nil && ctx.Err() == nil {
		e.Log.Error(err, "cannot write Events about the webhook's Deployment")
	}
	return nil
}

// Changed is a Watcher's Changed.
func (e *Events) Changed(ctx context.Context, o Opening, open bool) {
	kind, reason := corev1.EventTypeNormal, "InitImageAvailable"
	message := fmt.Sprintf("linux/%s nodes can pull init image %s again: new pods are wrapped.", o.Architecture, e.Image)
	if open {
		kind, reason = corev1.EventTypeWarning, "InitImageUnavailable"
		message = fmt.Sprintf("linux/%s nodes cannot pull init image %s: new pods are left alone until they can. Pod %s on node %s: %s: %s",
			o.Architecture, e.Image, o.Pod, o.Node, o.Reason, o.Message)
	}
	if err := e.write(ctx, kind, reason, message); err != nil {
		e.Log.Error(err, "writing an Event", "reason", reason)
	}
}

func (e *Events) write(ctx context.Context, kind, reason, message string, options ...client.CreateOption) error {
	ctx, cancel := context.WithTimeout(ctx, eventTime)
	defer cancel()
	deployment := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}}
	if err := e.Reader.Get(ctx, types.NamespacedName{Namespace: e.Namespace, Name: Deployment}, deployment); err != nil {
		return fmt.Errorf("reading Deployment %s, which the Event is about: %w", Deployment, err)
	}
	event := events.New(corev1.ObjectReference{
		APIVersion: "apps/v1", Kind: "Deployment", Namespace: e.Namespace, Name: deployment.Name, UID: deployment.UID, ResourceVersion: deployment.ResourceVersion,
	}, kind, reason, message, e.Pod)
	event.GenerateName = Deployment + "."
	if err := e.Writer.Create(ctx, event, options...); err != nil {
		return fmt.Errorf("creating an Event in namespace %s: %w", e.Namespace, err)
	}
	return nil
}
