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

{{/* A reference to an image. Given: the value of the image, and the root. */}}
{{- define "labelwright.image" -}}
{{- $tag := default .root.Chart.AppVersion .image.tag }}
{{- printf "%s%s%s" .image.repository (hasPrefix "sha256:" $tag | ternary "@" ":") $tag }}
{{- with .image.digest }}@{{ . }}{{ end }}
{{- end }}
