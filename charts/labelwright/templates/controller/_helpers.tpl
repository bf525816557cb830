{{- define "labelwright.controller.name" -}}
{{ include "labelwright.fullname" . }}-controller
{{- end }}

{{- define "labelwright.controller.serviceAccount" -}}
{{- default (include "labelwright.controller.name" .) .Values.controller.serviceAccount.name }}
{{- end }}

{{- define "labelwright.controller.labels" -}}
{{ include "labelwright.labels" . }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "labelwright.controller.selectorLabels" -}}
{{ include "labelwright.selectorLabels" . }}
app.kubernetes.io/component: controller
{{- end }}

{{/* Of its Pods; a value of the same name wins. */}}
{{- define "labelwright.controller.annotations" -}}
kubectl.kubernetes.io/default-container: controller
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Values.controller.metricsPort | quote }}
prometheus.io/path: /metrics
{{- with .Values.prometheus.url }}
checksum/prometheus: {{ sha256sum . | trunc 16 | quote }}
{{- end }}
{{- end }}

{{/* The namespaces whose TextClassifiers are to be looked after, as JSON; not read where it is all of them. */}}
{{- define "labelwright.controller.wanted" -}}
{{- default (list .Release.Namespace) .Values.controller.watch.namespaces | toJson }}
{{- end }}

{{/*
Those of them that can hold a Role, as JSON: one that is gone or terminating would make every upgrade fail. Where no cluster can be
asked (`helm template`, the first install with --create-namespace), the release's own namespace is not found: then all of them.
*/}}
{{- define "labelwright.controller.namespaces" -}}
{{- $found := list }}
{{- $asked := lookup "v1" "Namespace" "" .Release.Namespace }}
{{- range $name := include "labelwright.controller.wanted" . | fromJsonArray }}
{{- $namespace := lookup "v1" "Namespace" "" $name }}
{{- if or (not $asked) (and $namespace (not $namespace.metadata.deletionTimestamp)) }}
{{- $found = append $found $name }}
{{- end }}
{{- end }}
{{- if not $found }}
{{- fail "controller.watch.namespaces: none of these namespaces is there: make them first, or name others" }}
{{- end }}
{{- $found | toJson }}
{{- end }}

{{/* Who has the roles. */}}
{{- define "labelwright.controller.subjects" -}}
- kind: ServiceAccount
  name: {{ include "labelwright.controller.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/*
What it may do where it looks after TextClassifiers: what it does, and nothing with Secrets, which it names and never reads.
kopf lists and watches; an apply creates and patches; a status is updated.
*/}}
{{- define "labelwright.controller.rules" -}}
- apiGroups: [labelwright.dev]
  resources: [textclassifiers]
  verbs: [get, list, watch, patch]
- apiGroups: [labelwright.dev]
  resources: [trainingruns]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [labelwright.dev]
  resources: [textclassifiers/status, trainingruns/status]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [serving.kserve.io]
  resources: [inferenceservices]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [serving.kserve.io]
  resources: [servingruntimes]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [services, events]
  verbs: [create]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create]
{{- end }}
