package inject

import (
	"bytes"
	"encoding/json"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podinit/podinit/internal/quantity"
)

// copied are the resources that the copier may have. It needs no extended resources and no huge pages, and no device
// plugin is asked for it.
var copied = []string{"cpu", "memory", "ephemeral-storage"}

// enough is what the copier does its work with in a moment: about 5 ms of CPU time, to write 1.2 MiB. Requests of
// ephemeral-storage are not resized, nor bound to a NUMA node.
var enough = map[string]resource.Quantity{"cpu": resource.MustParse("50m"), "memory": resource.MustParse("32Mi")}

// copierResources are the least that the copier can do with next to these containers, where a namespace's LimitRanges demand
// so much; nil if that is not known. As an initContainer it counts for the Pod's QoS class, and its
// requests keep the Pod's effective ones from falling below them when the Pod's containers are resized later.
//
// It has requests and limits only where every other container has them: where one does without, no quota and no LimitRange
// demands them. So a Guaranteed Pod stays that, a Pod with best effort too, and others do not need them for their class
// (pkg/apis/core/v1/helper/qos). How much they are is enough, or what the namespace's LimitRanges demand if that is
// more; never more than one of the Pod's containers has, so that the Pod's sum, its quota charge and its place on
// a node stay as they were (component-helpers/resource). Where LimitRanges are not known, it is what that
// container has, which a LimitRange must have allowed.
func copierResources(containers []Decision, demanded map[string]resource.Quantity) *resources {
	r := &resources{}
	for _, name := range copied {
		if of, limited := smallest(containers, name); limited {
			r.add(name, of.request(name), of.Limits[name])
		} else if of != nil {
			r.add(name, of.request(name), nil)
		}
	}
	if r.Requests == nil {
		return nil
	}
	r.reduce(containers, demanded)
	return r
}

// request is what the container requests, which is its limit where it says no more; empty for nothing.
func (r *resources) request(name string) json.RawMessage {
	for _, raw := range []json.RawMessage{r.Requests[name], r.Limits[name]} {
		if !isEmpty(raw) {
			return raw
		}
	}
	return nil
}

func (r *resources) add(name string, request, limit json.RawMessage) {
	if r.Requests == nil {
		r.Requests = make(map[string]json.RawMessage, len(copied))
	}
	r.Requests[name] = request
	if limit == nil {
		return
	}
	if r.Limits == nil {
		r.Limits = make(map[string]json.RawMessage, len(copied))
	}
	r.Limits[name] = limit
}

// smallest are the resources of the container that requests the least of one, nil if a container requests none of it; and
// whether all limit it. A container whose memory limit leaves no room for the copier comes after one whose does, and of such
// the one with most room is taken.
func smallest(containers []Decision, name string) (best *resources, limited bool) {
	var least resource.Quantity
	room := false // for the copier, in what best allows
	limited = true
	for i := range containers {
		r := &containers[i].container.Resources
		raw, limit := r.request(name), r.Limits[name]
		if raw == nil {
			return nil, false
		}
		limited = limited && !isEmpty(limit)
		if len(containers) == 1 {
			return r, limited
		}
		q, ok := quantity.Decode(raw)
		if !ok {
			return nil, false // no valid Pod
		}
		hasRoom := name != "memory" || !tooSmall(raw, limit, q)
		better := q.Cmp(least) < 0
		if !hasRoom {
			better = q.Cmp(least) > 0
		}
		if best == nil || hasRoom && !room || hasRoom == room && better {
			best, least, room = r, q, hasRoom
		}
	}
	return best, limited
}

// tooSmall says whether a memory limit leaves no room for the copier. The request, which is often the same, is read already.
func tooSmall(request, limit json.RawMessage, q resource.Quantity) bool {
	if !bytes.Equal(request, limit) {
		var ok bool
		if q, ok = quantity.Decode(limit); !ok {
			return false
		}
	}
	return q.Cmp(memoryFloor) < 0
}

// reduce takes the copier's requests down to the least, where it is known what LimitRanges demand; and sees to it that it
// gets nothing for itself that the Pod's containers then lack.
func (r *resources) reduce(containers []Decision, demanded map[string]resource.Quantity) {
	guaranteed := r.equal("cpu") && r.equal("memory")
	for name, least := range enough {
		own, ok := quantity.Decode(r.Requests[name])
		if !ok || demanded == nil {
			continue
		}
		if more := demanded[name]; more.Cmp(least) > 0 {
			least = more
		}
		if least.Cmp(own) >= 0 || name == "memory" && guaranteed && own.Cmp(numaMemory) > 0 {
			continue
		}
		r.Requests[name] = quoted(least)
		if r.Limits[name] != nil {
			r.Limits[name] = r.Requests[name]
		}
	}
	if guaranteed {
		r.shareCPUs(containers, demanded)
	}
}

// equal says whether a resource is requested and limited to the same.
func (r *resources) equal(name string) bool {
	request, isRequest := quantity.Decode(r.Requests[name])
	limit, isLimit := quantity.Decode(r.Limits[name])
	return isRequest && isLimit && request.Cmp(limit) == 0
}

// numaMemory is what a NUMA node has at least. Of a Guaranteed Pod, the kubelet's static memory manager binds each
// container's memory to NUMA nodes. A container that has more than one node's cannot have two when a small copier has been
// given one of them for itself; a copier with as much memory has them first, and the container has the same
// (pkg/kubelet/cm/memorymanager, isAffinityViolatingNUMAAllocations and updatePodReusableMemory).
var numaMemory = resource.MustParse("8Gi")

var milli = resource.MustParse("1m")

// shareCPUs takes care that the copier gets no CPUs of its own. The kubelet's static CPU manager gives them to a container of
// a Guaranteed Pod that requests whole CPUs (pkg/kubelet/cm/cpumanager, guaranteedCPUs). They would be on one NUMA node, which may
// be another than the one with the Pod's devices, and the Pod's containers cannot have others (TopologyAffinityError).
// So one thousandth is taken off, or added where a LimitRange demands the whole and the Pod has more.
func (r *resources) shareCPUs(containers []Decision, demanded map[string]resource.Quantity) {
	cpu, _ := quantity.Decode(r.Requests["cpu"])
	if cpu.IsZero() || cpu.MilliValue()%1000 != 0 {
		return
	}
	shared := cpu.DeepCopy()
	shared.Sub(milli)
	if least, ok := demanded["cpu"]; ok && shared.Cmp(least) < 0 {
		of, _ := smallest(containers, "cpu")
		if own, ok := quantity.Decode(of.request("cpu")); !ok || own.Cmp(cpu) <= 0 {
			return
		}
		shared = cpu
		shared.Add(milli)
	}
	r.Requests["cpu"], r.Limits["cpu"] = quoted(shared), quoted(shared)
}

func quoted(q resource.Quantity) json.RawMessage { return json.RawMessage(strconv.Quote(q.String())) }
