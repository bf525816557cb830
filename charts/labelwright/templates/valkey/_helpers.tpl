{{- define "labelwright.valkey.name" -}}
{{ include "labelwright.fullname" . }}-valkey
{{- end }}

{{/* Whether the release has a Valkey of its own: "true", or nothing. */}}
{{- define "labelwright.valkey.managed" -}}
{{- if and .Values.gateway.enabled (eq .Values.valkey.kind "managed") }}true{{ end }}
{{- end }}

{{/* Its Secret, for `python -m k8s.platform credentials`: the password, and two texts that contain it. */}}
{{- define "labelwright.valkey.secretPlan" -}}
{{- $name := include "labelwright.valkey.name" . }}
{{- $url := printf "redis://:${password}@%s.%s.svc:6379/0" $name .Release.Namespace }}
{{- $derived := dict "password.conf" "requirepass ${password}" "url" $url }}
{{- dict "name" $name "settings" dict "passwords" (list "password") "derived" $derived | toJson }}
{{- end }}

{{/* The source of a variable with the address. */}}
{{- define "labelwright.valkey.address" -}}
{{- if include "labelwright.valkey.managed" . -}}
secretKeyRef: {name: {{ include "labelwright.valkey.name" . }}, key: url}
{{- else -}}
secretKeyRef: {name: {{ .Values.valkey.external.secretName }}, key: {{ .Values.valkey.external.secretKey }}}
{{- end }}
{{- end }}

{{/* valkey.conf. The gateway refuses to work with a Valkey that has other values of the first three. */}}
{{- define "labelwright.valkey.configuration" -}}
appendonly yes
appendfsync always
maxmemory-policy noeviction
maxmemory {{ .Values.valkey.maxMemory }}
# The append-only file is enough.
save ""
dir /data
include /etc/labelwright/valkey-password/password.conf
{{- end }}
