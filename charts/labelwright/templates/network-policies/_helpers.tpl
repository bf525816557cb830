{{/* Metadata of a policy. Given: the root, the component, and the namespace unless it is the release's. */}}
{{- define "labelwright.networkPolicy.metadata" -}}
name: {{ include "labelwright.fullname" .root }}-{{ .component }}
namespace: {{ default .root.Release.Namespace .namespace }}
labels:
  {{- include "labelwright.component.labels" . | nindent 2 }}
{{- end }}

{{/* Pods of a component of the release. Given: the root, and the component. */}}
{{- define "labelwright.networkPolicy.pods" -}}
podSelector:
  matchLabels:
    {{- include "labelwright.component.selectorLabels" . | nindent 4 }}
{{- end }}

{{/* A component of the release as a peer, from any namespace. Given: the root, and the component. */}}
{{- define "labelwright.networkPolicy.component" -}}
namespaceSelector:
  matchLabels: {kubernetes.io/metadata.name: {{ .root.Release.Namespace }}}
{{ include "labelwright.networkPolicy.pods" . }}
{{- end }}

{{/* Pods that the controller makes, in the watched namespaces, as a peer. Given: the root, and the components. */}}
{{- define "labelwright.networkPolicy.made" -}}
namespaceSelector:
  {{- if .root.Values.controller.watch.allNamespaces }} {}
  {{- else }}
  matchExpressions:
    - {key: kubernetes.io/metadata.name, operator: In, values: {{ include "labelwright.controller.wanted" .root }}}
  {{- end }}
{{ include "labelwright.networkPolicy.madePods" . }}
{{- end }}

{{/* Pods that the controller makes, in the namespace of the policy. Given: the components. */}}
{{- define "labelwright.networkPolicy.madePods" -}}
podSelector:
  matchLabels: {app.kubernetes.io/name: labelwright, app.kubernetes.io/managed-by: labelwright}
  matchExpressions:
    - {key: app.kubernetes.io/component, operator: In, values: {{ toJson .components }}}
{{- end }}

{{- define "labelwright.networkPolicy.dns" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{/* The API server has no Pod by which it could be selected. */}}
{{- define "labelwright.networkPolicy.apiServer" -}}
- ports:
    {{- range .Values.networkPolicy.apiServer.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.apiServer.cidrs }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  {{- end }}
{{- end }}

{{/* Egress to the storage: the release's own, or any address on the port of the external one. */}}
{{- define "labelwright.networkPolicy.toStorage" -}}
{{- if include "labelwright.storage.managed" . }}
- to:
    - {{- include "labelwright.networkPolicy.component" (dict "root" . "component" "storage") | nindent 6 }}
  ports: [{port: {{ include "labelwright.storage.port" . }}, protocol: TCP}]
{{- else }}
- ports: [{port: {{ include "labelwright.networkPolicy.externalPort" .Values.storage.external.endpoint }}, protocol: TCP}]
{{- end }}
{{- end }}

{{/* Egress to Valkey: the release's own, or any address on the port of the external one. */}}
{{- define "labelwright.networkPolicy.toValkey" -}}
{{- if include "labelwright.valkey.managed" . }}
- to:
    - {{- include "labelwright.networkPolicy.pods" (dict "root" . "component" "valkey") | nindent 6 }}
  ports: [{port: 6379, protocol: TCP}]
{{- else }}
- ports: [{port: {{ .Values.valkey.external.port }}, protocol: TCP}]
{{- end }}
{{- end }}

{{/* Egress of the gateway's API and workers: Valkey, the classifiers and, to find them, the API server. */}}
{{- define "labelwright.networkPolicy.ofGateway" -}}
{{ include "labelwright.networkPolicy.toValkey" . | trim }}
- to:
    - {{- include "labelwright.networkPolicy.made" (dict "root" . "components" (list "predictor")) | nindent 6 }}
  ports: [{port: 8080, protocol: TCP}]
{{- if not .Values.gateway.classifiers }}
{{ include "labelwright.networkPolicy.apiServer" . }}
{{- end }}
{{- end }}

{{/* The port of an address; of Amazon S3, if it is empty. */}}
{{- define "labelwright.networkPolicy.externalPort" -}}
{{- $host := (urlParse (default "https://s3" .)).host }}
{{- if contains ":" $host }}{{ last (splitList ":" $host) }}{{ else }}{{ hasPrefix "http://" . | ternary 80 443 }}{{ end }}
{{- end }}

{{/* Who scrapes metrics: the release's Prometheus, and the one of networkPolicy.scrapers. */}}
{{- define "labelwright.networkPolicy.scrapers" -}}
- {{- include "labelwright.networkPolicy.component" (dict "root" . "component" "prometheus") | nindent 2 }}
{{- with .Values.networkPolicy.scrapers }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Egress to Prometheus: the release's own, or any address on the port of the one that exists. */}}
{{- define "labelwright.networkPolicy.toPrometheus" -}}
{{- if eq .Values.prometheus.kind "managed" }}
- to:
    - {{- include "labelwright.networkPolicy.component" (dict "root" . "component" "prometheus") | nindent 6 }}
  ports: [{port: {{ include "labelwright.networkPolicy.prometheusPort" . }}, protocol: TCP}]
{{- else if .Values.prometheus.secretName }}
# The address is in the Secret.
- ports: [{port: 80, protocol: TCP}, {port: 443, protocol: TCP}, {port: 9090, protocol: TCP}]
{{- else if .Values.prometheus.url }}
- ports: [{port: {{ include "labelwright.networkPolicy.externalPort" .Values.prometheus.url }}, protocol: TCP}]
{{- end }}
{{- end }}

{{/* The port of Prometheus, as its Pods have it. */}}
{{- define "labelwright.networkPolicy.prometheusPort" -}}
9090
{{- end }}
