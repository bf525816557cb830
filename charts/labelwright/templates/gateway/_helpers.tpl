{{- define "labelwright.gateway.name" -}}
{{ include "labelwright.fullname" . }}-gateway
{{- end }}

{{- define "labelwright.gateway.workerName" -}}
{{ include "labelwright.fullname" . }}-gateway-worker
{{- end }}

{{/* The Secret with what signs ids, and with the generated token. `<fullname>-gateway` is the Secret of the storage's role. */}}
{{- define "labelwright.gateway.keysName" -}}
{{ include "labelwright.fullname" . }}-gateway-keys
{{- end }}

{{/* That Secret, for `python -m k8s.platform credentials`. */}}
{{- define "labelwright.gateway.secretPlan" -}}
{{- $plan := dict "name" (include "labelwright.gateway.keysName" .) "settings" dict "passwords" (list "id_secret") }}
{{- if not .Values.gateway.tokens.secretName }}
{{- $token := dict "name" "default" "sha256" "${token_sha256}" "scopes" (list "predict" "feedback") }}
{{- $plan = merge (dict "passwords" (list "id_secret" "token") "derived" (dict "tokens.json" (list $token | toJson))) $plan }}
{{- end }}
{{- toJson $plan }}
{{- end }}

{{/* The classifiers that are named, as JSON: [{name, namespace}]. If there are none, they are found in the release's namespace. */}}
{{- define "labelwright.gateway.classifiers" -}}
{{- $found := list }}
{{- range .Values.gateway.classifiers }}
{{- $found = append $found (dict "name" .name "namespace" (default $.Release.Namespace .namespace)) }}
{{- end }}
{{- $found | toJson }}
{{- end }}

{{/* The Secret with which workers store corrections; empty if the gateway accepts none. */}}
{{- define "labelwright.gateway.correctionsSecret" -}}
{{- if include "labelwright.storage.managed" . -}}
{{ include "labelwright.storage.secretName" (dict "root" . "role" "gateway") }}
{{- else -}}
{{ .Values.storage.external.secretNames.gateway }}
{{- end }}
{{- end }}

{{/* The settings of API and workers, as variables. */}}
{{- define "labelwright.gateway.env" -}}
{{- $predictors := list }}
{{- range include "labelwright.gateway.classifiers" . | fromJsonArray }}
{{- $predictors = append $predictors (printf "%s=http://%s-predictor.%s.svc" .name .name .namespace) }}
{{- end }}
- name: LABELWRIGHT_GATEWAY__REDIS
  valueFrom:
    {{- include "labelwright.valkey.address" . | nindent 4 }}
{{- if $predictors }}
- {name: LABELWRIGHT_GATEWAY__PREDICTORS, value: {{ join " " $predictors | quote }}}
{{- else }}
- {name: LABELWRIGHT_GATEWAY__DISCOVER_NAMESPACE, value: {{ .Release.Namespace }}}
{{- end }}
{{- if include "labelwright.gateway.correctionsSecret" . }}
- {name: LABELWRIGHT_GATEWAY__FEEDBACK_URI, value: s3://{{ .Values.storage.buckets.feedback }}/}
{{- end }}
{{- with .Values.gateway.webhooks.hosts }}
- {name: LABELWRIGHT_GATEWAY__WEBHOOK_HOSTS, value: {{ join " " . | quote }}}
{{- end }}
{{- range $name, $value := merge (dict) .Values.gateway.settings (dict "host" "::") }}
- {name: LABELWRIGHT_GATEWAY__{{ upper $name }}, value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}}
{{- end }}
{{- end }}

{{/* What the Pods of API and workers have in common. Given: the root, the component, and its value. */}}
{{- define "labelwright.gateway.pod" -}}
serviceAccountName: {{ include "labelwright.gateway.name" .root }}
automountServiceAccountToken: false
# The Service of a release called labelwright would otherwise set variables that begin like those of the settings.
enableServiceLinks: false
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "labelwright.pod.security" .root | nindent 2 }}
{{- if include "labelwright.gateway.several" .value }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "labelwright.component.selectorLabels" (dict "root" .root "component" .component) | nindent 8 }}
{{- end }}
{{- include "labelwright.placement" .value }}
{{- end }}

{{/* Whether a node may be drained without the last replica: "true", or nothing. Given: the value of the component. */}}
{{- define "labelwright.gateway.several" -}}
{{- $least := .replicas }}
{{- if dig "autoscaling" "enabled" false . }}
{{- $least = .autoscaling.minReplicas }}
{{- end }}
{{- if gt (int $least) 1 }}true{{ end }}
{{- end }}

{{/* A budget that keeps all replicas but one while nodes are drained. Given: the root, the component, and its name. */}}
{{- define "labelwright.gateway.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "labelwright.component.labels" (dict "root" .root "component" .component) | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "labelwright.component.selectorLabels" (dict "root" .root "component" .component) | nindent 6 }}
{{- end }}
