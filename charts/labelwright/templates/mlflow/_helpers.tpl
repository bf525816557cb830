{{- define "labelwright.mlflow.name" -}}
{{ include "labelwright.fullname" . }}-mlflow
{{- end }}

{{/* Whether the release has an MLflow server of its own: "true", or nothing. */}}
{{- define "labelwright.mlflow.managed" -}}
{{- if eq .Values.mlflow.kind "managed" }}true{{ end }}
{{- end }}

{{/* The address that trainings get, nothing if none is configured. */}}
{{- define "labelwright.mlflow.url" -}}
{{- if include "labelwright.mlflow.managed" . -}}
http://{{ include "labelwright.mlflow.name" . }}.{{ .Release.Namespace }}.svc:5000
{{- else if eq .Values.mlflow.kind "external" -}}
{{ .Values.mlflow.external.url }}
{{- end }}
{{- end }}

{{/* Host headers that the server takes: the names of its Service, and what a port-forward and the probes send. */}}
{{- define "labelwright.mlflow.hosts" -}}
{{- $name := include "labelwright.mlflow.name" . }}
{{- $hosts := list "localhost" "localhost:*" "127.0.0.1:*" }}
{{- range list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s.svc.*" $name .Release.Namespace) }}
{{- $hosts = concat $hosts (list . (printf "%s:5000" .)) }}
{{- end }}
{{- join "," $hosts }}
{{- end }}
