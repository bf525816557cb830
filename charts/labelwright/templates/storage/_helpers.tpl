{{- define "labelwright.storage.name" -}}
{{ include "labelwright.fullname" . }}-storage
{{- end }}

{{/* Whether the release has a storage of its own: "true", or nothing. */}}
{{- define "labelwright.storage.managed" -}}
{{- if ne .Values.storage.kind "external" }}true{{ end }}
{{- end }}

{{- define "labelwright.storage.port" -}}
{{ eq .Values.storage.kind "seaweedfs" | ternary 8333 9000 }}
{{- end }}

{{- define "labelwright.storage.endpoint" -}}
{{- if include "labelwright.storage.managed" . -}}
http://{{ include "labelwright.storage.name" . }}.{{ .Release.Namespace }}.svc:{{ include "labelwright.storage.port" . }}
{{- else -}}
{{ .Values.storage.external.endpoint }}
{{- end }}
{{- end }}

{{/* The address at which only the Job that prepares the storage asks: its Service has Pods that are not ready, too. */}}
{{- define "labelwright.storage.setupEndpoint" -}}
http://{{ include "labelwright.storage.name" . }}-setup.{{ .Release.Namespace }}.svc:{{ include "labelwright.storage.port" . }}
{{- end }}

{{/* The bucket with the object that the readiness probe reads without credentials, and nothing else. */}}
{{- define "labelwright.storage.probeBucket" -}}
labelwright-probe
{{- end }}

{{/* The Secret of a role, empty if there is none. Given: the root, and the role. */}}
{{- define "labelwright.storage.secretName" -}}
{{- if include "labelwright.storage.managed" .root -}}
{{ include "labelwright.fullname" .root }}-{{ .role }}
{{- else -}}
{{ index .root.Values.storage.external.secretNames .role | default .root.Values.storage.external.secretNames.trainer }}
{{- end }}
{{- end }}

{{- define "labelwright.storage.rootSecretName" -}}
{{ include "labelwright.storage.name" . }}-root
{{- end }}

{{- define "labelwright.storage.usersSecretName" -}}
{{ include "labelwright.storage.name" . }}-users
{{- end }}

{{/* What each role may do in which bucket, as YAML. The controller has no user: it never reads the storage. */}}
{{- define "labelwright.storage.roles" -}}
{{- with .Values.storage.buckets -}}
trainer:
  - {bucket: {{ .datasets }}, verbs: [read]}
  - {bucket: {{ .feedback }}, verbs: [read]}
  - {bucket: {{ .models }}, verbs: [read, write]}
predictor:
  - {bucket: {{ .models }}, verbs: [read]}
gateway:
  - {bucket: {{ .feedback }}, verbs: [read, write]}
  - {bucket: {{ .models }}, verbs: [read]}
uploader:
  - {bucket: {{ .datasets }}, verbs: [read, write]}
{{- end }}
{{- if include "labelwright.mlflow.managed" . }}
mlflow:
  - {bucket: {{ .Values.storage.buckets.mlflow }}, verbs: [read, write]}
{{- end }}
{{- end }}

{{/* The storage's part of the Secrets to make (labelwright.credentials.plan). */}}
{{- define "labelwright.storage.credentialsPlan" -}}
{{- $roles := include "labelwright.storage.roles" . | fromYaml }}
{{- $settings := dict "AWS_ENDPOINT_URL" (include "labelwright.storage.endpoint" .) "AWS_DEFAULT_REGION" .Values.storage.region }}
{{- $passwords := list "AWS_SECRET_ACCESS_KEY" }}
{{- $root := dict "AWS_ACCESS_KEY_ID" "labelwright-root" "AWS_DEFAULT_REGION" .Values.storage.region }}
{{- $_ := set $root "AWS_ENDPOINT_URL" (include "labelwright.storage.setupEndpoint" .) }}
{{- $secrets := list (dict "name" (include "labelwright.storage.rootSecretName" .) "settings" $root "passwords" $passwords) }}
{{- $identities := list }}
{{- range $role, $access := $roles }}
{{- $name := include "labelwright.storage.secretName" (dict "root" $ "role" $role) }}
{{- $own := merge (dict "AWS_ACCESS_KEY_ID" $role) $settings }}
{{- if and (eq $role "trainer") (include "labelwright.mlflow.url" $) }}
{{- $_ := set $own "MLFLOW_TRACKING_URI" (include "labelwright.mlflow.url" $) }}
{{- end }}
{{- $secrets = append $secrets (dict "name" $name "settings" $own "passwords" $passwords) }}
{{- $identities = append $identities (dict "name" $role "secretName" $name "access" $access) }}
{{- end }}
{{- $plan := dict "secrets" $secrets }}
{{- if eq .Values.storage.kind "seaweedfs" }}
{{- $everything := list (dict "bucket" "*" "verbs" (list "admin")) }}
{{- $probe := list (dict "bucket" (include "labelwright.storage.probeBucket" .) "verbs" (list "read")) }}
{{- $identities = append $identities (dict "name" "root" "secretName" (include "labelwright.storage.rootSecretName" .) "access" $everything) }}
{{- $identities = append $identities (dict "name" "anonymous" "access" $probe) }}
{{- $_ := set $plan "identities" (dict "name" (include "labelwright.storage.usersSecretName" .) "key" "s3.json" "identities" $identities) }}
{{- end }}
{{- toJson $plan }}
{{- end }}

{{/* The buckets that are used, as JSON. */}}
{{- define "labelwright.storage.buckets" -}}
{{- $unused := list }}
{{- if not (include "labelwright.mlflow.managed" .) }}
{{- $unused = list "mlflow" }}
{{- end }}
{{- values (omit .Values.storage.buckets (join "" $unused)) | sortAlpha | toJson }}
{{- end }}

{{/* Buckets and users, for `python -m model.provisioning`. SeaweedFS has its users from a file. */}}
{{- define "labelwright.storage.provisioningPlan" -}}
{{- $probe := include "labelwright.storage.probeBucket" . }}
{{- $buckets := append (include "labelwright.storage.buckets" . | fromJsonArray) $probe }}
{{- $users := list }}
{{- if eq .Values.storage.kind "minio" }}
{{- range $role, $access := include "labelwright.storage.roles" . | fromYaml }}
{{- $users = append $users (dict "name" $role "folder" (printf "/etc/labelwright/users/%s" $role) "access" $access) }}
{{- end }}
{{- end }}
{{- $public := eq .Values.storage.kind "minio" }}
{{- dict "buckets" $buckets "users" $users "probe" (dict "bucket" $probe "key" "ready" "public" $public) | toJson }}
{{- end }}
