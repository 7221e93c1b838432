{{/* podinit.labels are on every object. */}}
{{- define "podinit.labels" -}}
app.kubernetes.io/name: podinit
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* podinit.selector selects the webhook's pods. */}}
{{- define "podinit.selector" -}}
app.kubernetes.io/component: webhook
app.kubernetes.io/name: podinit
{{- end }}

{{/* podinit.certificatesSelector selects the pod that keeps the certificate. */}}
{{- define "podinit.certificatesSelector" -}}
app.kubernetes.io/component: certificates
app.kubernetes.io/name: podinit
{{- end }}

{{/* podinit.nodeSelector selects the pods of node mode. */}}
{{- define "podinit.nodeSelector" -}}
app.kubernetes.io/component: node
app.kubernetes.io/name: podinit
{{- end }}

{{/* podinit.image is the reference of an image: (list $ .Values.images.init). A released chart has the digest of each image in an
annotation, which counts where the values name neither tag nor digest. */}}
{{- define "podinit.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 }}
{{- $digest := $image.digest }}{{ $tag := $image.tag | default $root.Values.images.tag }}
{{- printf "%s/%s" $root.Values.images.registry $image.repository }}
{{- if or $tag (not $digest) }}:{{ $tag | default $root.Chart.AppVersion }}{{ end }}
{{- if not (or $tag $digest) }}
{{- with $root.Chart.Annotations }}{{ $digest = index . (printf "podinit.dev/digest.%s" $image.repository) }}{{ end }}
{{- end }}
{{- if $digest }}@{{ $digest }}{{ end }}
{{- end }}

{{/* podinit.port is the port of the admission server. */}}
{{- define "podinit.port" -}}
{{- if and .Values.hostNetwork (eq (toString .Values.port) "10250") }}
{{- fail "port: 10250 is the kubelet's on the network of the nodes: remove port for 10260, or set another" }}
{{- end }}
{{- .Values.port | default (ternary 10260 10250 .Values.hostNetwork) }}
{{- end }}

{{/* podinit.excludedNamespaces are never touched, besides the release's own; commas in between. */}}
{{- define "podinit.excludedNamespaces" -}}
{{- concat (list "kube-system" "kube-public" "kube-node-lease") .Values.webhook.excludedNamespaces | uniq | join "," }}
{{- end }}

{{/* podinit.tlsSecret is the Secret that cert-manager or the user writes the certificate to; empty with self-managed. */}}
{{- define "podinit.tlsSecret" -}}
{{- if eq .Values.certificate.mode "cert-manager" -}}
podinit-webhook-tls
{{- else if eq .Values.certificate.mode "existing" -}}
{{ required "certificate.existing.secretName: with certificate.mode existing, name the Secret that holds tls.crt and tls.key" .Values.certificate.existing.secretName }}
{{- end }}
{{- end }}

{{/* podinit.registries is the registry configuration with the files that this chart mounts. */}}
{{- define "podinit.registries" -}}
{{- $registries := .Values.registries }}
{{- $config := deepCopy $registries.config }}
{{- if $registries.hostsVolume }}
{{- $config = merge $config (dict "hostsDirectory" "/etc/podinit/certs.d") }}
{{- end }}
{{- $credentials := $config.credentials | default dict }}
{{- if $registries.dockerConfigSecret }}
{{- $credentials = merge $credentials (dict "dockerConfigFile" "/etc/podinit/docker/config.json") }}
{{- end }}
{{- if $registries.credentialProviders.config }}
{{- $credentials = merge $credentials (dict "providerConfigFile" "credential-providers.yaml") }}
{{- end }}
{{- if $registries.credentialProviders.volume }}
{{- $credentials = merge $credentials (dict "programDirectory" "/etc/podinit/bin") }}
{{- end }}
{{- if $credentials }}
{{- if not $credentials.namespaces }}
{{- fail "registries.config.credentials.namespaces: set the namespaces that the credentials serve; [\"*\"] means all" }}
{{- end }}
{{- $_ := set $config "credentials" $credentials }}
{{- end }}
{{- toYaml $config }}
{{- end }}
