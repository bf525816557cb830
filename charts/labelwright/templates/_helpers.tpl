{{/* What the chart is called, unless told otherwise. */}}
{{- define "labelwright.name" -}}
{{- default .Chart.Name .Values.nameOverride }}
{{- end }}

{{/* The beginning of the names of objects; the release's name alone where it holds the chart's. */}}
{{- define "labelwright.fullname" -}}
{{- $name := include "labelwright.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "labelwright.labels" -}}
{{ include "labelwright.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "labelwright.selectorLabels" -}}
app.kubernetes.io/name: {{ include "labelwright.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of an object of a component. Given: the root, and the component. */}}
{{- define "labelwright.component.labels" -}}
{{ include "labelwright.labels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels by which a component's Pods are selected. Given: the root, and the component. */}}
{{- define "labelwright.component.selectorLabels" -}}
{{ include "labelwright.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/*
A reference to an image, repository:tag@digest. Given: the value of the image, and the root. images.registry replaces the image's own
registry.
*/}}
{{- define "labelwright.image" -}}
{{- $registry := default .image.registry .root.Values.images.registry }}
{{- $name := .image.repository }}
{{- if $registry }}
{{- $name = printf "%s/%s" (trimSuffix "/" $registry) $name }}
{{- end }}
{{- $tag := default .root.Chart.AppVersion .image.tag }}
{{- $reference := printf "%s%s%s" $name (hasPrefix "sha256:" $tag | ternary "@" ":") $tag }}
{{- if .image.digest }}
{{- $reference = printf "%s@%s" $reference .image.digest }}
{{- end }}
{{- $reference }}
{{- end }}

{{/* Security of a Pod, as the Pod Security Standard "restricted" demands it. */}}
{{- define "labelwright.pod.security" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "labelwright.container.security" -}}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where Pods of a component run. Given: its value. */}}
{{- define "labelwright.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
A volume with the token of the Pod's ServiceAccount, for the one container that mounts it. The other containers of the Pod get none.
*/}}
{{- define "labelwright.token.volume" -}}
name: token
projected:
  defaultMode: 0440
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}

{{- define "labelwright.token.mount" -}}
{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{/*
The name of a Job: with a hash of its spec, because the spec of a Job cannot be changed. An upgrade that changes it makes another Job
and deletes the previous one. Given: the root, the component, and the spec.
*/}}
{{- define "labelwright.job.name" -}}
{{ include "labelwright.fullname" .root }}-{{ .component }}-{{ .spec | sha256sum | trunc 8 }}
{{- end }}

{{/* The names of the PersistentVolumeClaims that the release creates, and that stay when it is uninstalled, as JSON. */}}
{{- define "labelwright.claims" -}}
{{- $claims := list }}
{{- if and (include "labelwright.storage.managed" .) (not .Values.storage.persistence.existingClaim) }}
{{- $claims = append $claims (include "labelwright.storage.name" .) }}
{{- end }}
{{- if and (include "labelwright.mlflow.managed" .) (not .Values.mlflow.persistence.existingClaim) }}
{{- $claims = append $claims (include "labelwright.mlflow.name" .) }}
{{- end }}
{{- if and (include "labelwright.valkey.managed" .) (not .Values.valkey.persistence.existingClaim) }}
{{- $claims = append $claims (include "labelwright.valkey.name" .) }}
{{- end }}
{{- with .Values.prometheus }}
{{- if and (eq .kind "managed") .persistence.enabled (not .persistence.existingClaim) }}
{{- $claims = append $claims (include "labelwright.prometheus.name" $) }}
{{- end }}
{{- end }}
{{- $claims | toJson }}
{{- end }}
