{{/*
The Secrets to make, for `python -m k8s.platform credentials`; none of its values is secret. {secrets: []} if the release needs none.
*/}}
{{- define "labelwright.credentials.plan" -}}
{{- $plan := dict "secrets" list }}
{{- if include "labelwright.storage.managed" . }}
{{- $plan = include "labelwright.storage.credentialsPlan" . | fromJson }}
{{- end }}
{{- $secrets := $plan.secrets }}
{{- if .Values.gateway.enabled }}
{{- $secrets = append $secrets (include "labelwright.gateway.secretPlan" . | fromJson) }}
{{- end }}
{{- if include "labelwright.valkey.managed" . }}
{{- $secrets = append $secrets (include "labelwright.valkey.secretPlan" . | fromJson) }}
{{- end }}
{{- $labels := include "labelwright.component.selectorLabels" (dict "root" . "component" "credentials") | fromYaml }}
{{- merge (dict "labels" $labels "secrets" $secrets) $plan | toJson }}
{{- end }}

{{/* The names of the Secrets that are made, as JSON: the Role of the Job that makes them names each. */}}
{{- define "labelwright.credentials.names" -}}
{{- $plan := include "labelwright.credentials.plan" . | fromJson }}
{{- $names := list }}
{{- range $plan.secrets }}
{{- $names = append $names .name }}
{{- end }}
{{- with $plan.identities }}
{{- $names = append $names .name }}
{{- end }}
{{- $names | toJson }}
{{- end }}
