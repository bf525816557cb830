{{- define "labelwright.prometheus.name" -}}
{{ include "labelwright.fullname" . }}-prometheus
{{- end }}

{{/* Address of the chart's own Prometheus within the cluster. */}}
{{- define "labelwright.prometheus.managedUrl" -}}
{{ printf "http://%s.%s:9090" (include "labelwright.prometheus.name" .) .Release.Namespace }}
{{- end }}

{{/* Values that contradict each other fail with their names; to be included by a template that is always rendered. */}}
{{- define "labelwright.prometheus.check" -}}
{{- $prometheus := .Values.prometheus }}
{{- $named := or $prometheus.url $prometheus.secretName }}
{{- if and $named (has $prometheus.kind (list "managed" "none")) }}
{{- fail (printf "prometheus.kind is %s, which ignores prometheus.url and prometheus.secretName: set prometheus.kind=external, or operator" $prometheus.kind) }}
{{- end }}
{{- if and (eq $prometheus.kind "external") (not $named) }}
{{- fail "prometheus.kind is external: set prometheus.url, or prometheus.secretName" }}
{{- end }}
{{- end }}

{{/*
The variable of a container with the address of Prometheus, as JSON: {} where there is none. An address that the user gives may
contain a password, so it comes from a Secret.
*/}}
{{- define "labelwright.prometheus.env" -}}
{{- if .Values.prometheus.secretName }}
{{- dict "valueFrom" (dict "secretKeyRef" (dict "name" .Values.prometheus.secretName "key" .Values.prometheus.secretKey)) | toJson }}
{{- else if .Values.prometheus.url }}
{{- dict "valueFrom" (dict "secretKeyRef" (dict "name" (include "labelwright.prometheus.name" .) "key" "url")) | toJson }}
{{- else if eq .Values.prometheus.kind "managed" }}
{{- dict "value" (include "labelwright.prometheus.managedUrl" .) | toJson }}
{{- else }}
{{- dict | toJson }}
{{- end }}
{{- end }}

{{/*
The components that are scraped, as JSON: {list: [{component, port, path, watched, host, servicePort, replicas}]}. port: name of a
container's port. watched: the Pods are in the watched namespaces, and were made by the controller; otherwise they are the release's
own, behind the Service `host`. replicas: there may be several, and the Service is headless. The label `job` of a component's series
is labelwright-<component>.
*/}}
{{- define "labelwright.prometheus.targets" -}}
{{- $controller := dict "component" "controller" "port" "metrics" "path" "/metrics" "watched" false "replicas" true
  "host" (include "labelwright.controller.name" .) "servicePort" .Values.controller.metricsPort }}
{{- $predictor := dict "component" "predictor" "port" "http1" "path" "/metrics" "watched" true }}
{{- $trainer := dict "component" "trainer" "port" "metrics" "path" "/metrics" "watched" true }}
{{- $targets := list $controller $predictor $trainer }}
{{- if .Values.gateway.enabled }}
{{- $targets = append $targets (dict "component" "gateway" "port" "http" "path" "/metrics" "watched" false "replicas" true
  "host" (printf "%s-pods" (include "labelwright.gateway.name" .)) "servicePort" 8000) }}
{{- $targets = append $targets (dict "component" "gateway-worker" "port" "metrics" "path" "/metrics" "watched" false "replicas" true
  "host" (include "labelwright.gateway.workerName" .) "servicePort" 9090) }}
{{- end }}
{{- if eq .Values.storage.kind "minio" }}
{{- $targets = append $targets (dict "component" "storage" "port" "s3" "path" "/minio/v2/metrics/cluster" "watched" false
  "host" (include "labelwright.storage.name" .) "servicePort" (include "labelwright.storage.port" .)) }}
{{- end }}
{{- if eq .Values.grafana.kind "managed" }}
{{- $targets = append $targets (dict "component" "grafana" "port" "http" "path" "/metrics" "watched" false
  "host" (include "labelwright.grafana.name" .) "servicePort" 80) }}
{{- end }}
{{- if eq .Values.prometheus.kind "managed" }}
{{- $targets = append $targets (dict "component" "prometheus" "port" "http" "path" "/metrics" "watched" false
  "host" "localhost" "servicePort" 9090) }}
{{- end }}
{{- dict "list" $targets | toJson }}
{{- end }}

{{/* The labels by which the Pods of a target are found, as JSON. Given: the target, and the root. */}}
{{- define "labelwright.prometheus.targetLabels" -}}
{{- $component := dict "app.kubernetes.io/component" .target.component }}
{{- if .target.watched }}
{{- merge $component (dict "app.kubernetes.io/managed-by" "labelwright") | toJson }}
{{- else }}
{{- merge $component (include "labelwright.selectorLabels" .root | fromYaml) | toJson }}
{{- end }}
{{- end }}

{{/* The namespaces of the classifiers as a regular expression of the label `namespace`. */}}
{{- define "labelwright.prometheus.watched" -}}
{{- if .Values.controller.watch.allNamespaces }}.+{{ else }}{{ include "labelwright.controller.namespaces" . | fromJsonArray | join "|" }}{{ end }}
{{- end }}

{{/*
The alerts of this release: the files of alerts/, without those of monitoring.excludeRules, and with their runbooks. In the
files, WATCHED stands for the namespaces of the classifiers, and HOME for that of the release.
*/}}
{{- define "labelwright.prometheus.groups" -}}
{{- $rules := list }}
{{- $known := list }}
{{- range $path, $_ := .Files.Glob "alerts/*.yaml" }}
{{- $rule := $.Files.Get $path | replace "WATCHED" (include "labelwright.prometheus.watched" $) | replace "HOME" $.Release.Namespace | fromYaml }}
{{- $known = append $known $rule.alert }}
{{- if not (has $rule.alert $.Values.monitoring.excludeRules) }}
{{- $runbook := printf "%s/%s.md" (trimSuffix "/" $.Values.monitoring.runbookUrl) $rule.alert }}
{{- $rules = append $rules (merge (dict "annotations" (merge (dict "runbook_url" $runbook) $rule.annotations)) $rule) }}
{{- end }}
{{- end }}
{{- range .Values.monitoring.excludeRules }}
{{- if not (has . $known) }}
{{- fail (printf "monitoring.excludeRules: there is no alert %s: expected some of %s" . (join ", " $known)) }}
{{- end }}
{{- end }}
{{- $groups := list }}
{{- if $rules }}
{{- $groups = append $groups (dict "name" (printf "%s.%s" .Release.Namespace (include "labelwright.fullname" .)) "rules" $rules) }}
{{- end }}
{{- dict "groups" $groups | toYaml }}
{{- end }}
