package profile

import "github.com/podinit/podinit/api/v1alpha1"

// defaultExcludeOwners are the owners that are known to compare live Pods with what they made, unless a profile says
// otherwise. The default in the CustomResourceDefinition is the same.
func defaultExcludeOwners() []v1alpha1.ExcludedOwner {
	const pod, image = v1alpha1.ComparesPod, v1alpha1.ComparesImage
	return []v1alpha1.ExcludedOwner{
		// jenkinsci/kubernetes-operator, pkg/configuration/base/pod.go: volumes, number of containers, command, args.
		{Group: "jenkins.io", Kind: "Jenkins", Compares: pod},
		// Koperator: a three-way merge with the live Pod (adobe/koperator#269).
		{Group: "kafka.banzaicloud.io", Kind: "KafkaCluster", Compares: pod},
		// NiFiKop: the same (konpyutaika/nifikop#541, #715).
		{Group: "nifi.konpyutaika.com", Kind: "NifiCluster", Compares: pod},
		// The Pod that forms a cluster (opensearch-project/opensearch-k8s-operator#1364).
		{Group: "opensearch.opster.io", Kind: "OpenSearchCluster", Compares: pod},
		{Group: "opensearch.org", Kind: "OpenSearchCluster", Compares: pod},
		// Operator Lifecycle Manager: images and number of init containers (operator-framework/operator-lifecycle-manager#2986).
		{Group: "operators.coreos.com", Kind: "CatalogSource", Compares: pod},
		// Vitess and its etcd (planetscale/vitess-operator#111).
		{Group: "planetscale.com", Compares: pod},
		// KubeBlocks: number of init containers, and images (apecloud/kubeblocks#9267).
		{Group: "workloads.kubeblocks.io", Compares: pod},
		// Zalando's postgres-operator, whose StatefulSets own the Pods; the mark is its cluster_labels' default.
		{Group: "acid.zalan.do", Kind: "postgresql", Marks: []string{"application=spilo"}, Compares: image},
		// aerospike/aerospike-kubernetes-operator#402, by way of StatefulSets.
		{Group: "asdb.aerospike.com", Kind: "AerospikeCluster", Marks: []string{"aerospike.com/cr"}, Compares: image},
		// cloudnative-pg/cloudnative-pg#10872.
		{Group: "postgresql.cnpg.io", Kind: "Cluster", Compares: image},
	}
}
