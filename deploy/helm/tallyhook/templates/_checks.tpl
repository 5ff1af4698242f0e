{{/* What the schema of the values cannot tell in words; each message says where the value belongs. */}}
{{- define "tallyhook.checks" -}}
{{- $own := include "tallyhook.ownEnv" . | fromYaml }}
{{- $secret := "^(.+_(SECRET|TOKEN|API_KEY|PASSWORD)|PGPASSWORD|SECRET_KEYS|OTEL_EXPORTER_OTLP_(.+_)?HEADERS)$" }}
{{- $known := .Files.Get "files/settings.txt" | trim | splitList "\n" }}
{{- range $name, $text := .Values.settings }}
  {{- $setting := trimSuffix "_FILE" $name }}
  {{- if hasKey $own $name }}
    {{- fail (printf "settings.%s is set by the chart: see listenOn, gateway, relay and workers" $name) }}
  {{- else if regexMatch $secret $name }}
    {{- fail (printf "settings.%s is a secret: put it into the Secret %s" $name (include "tallyhook.secret" $)) }}
  {{- else if regexMatch "^(NOTIFY_.+|ALERT_WEBHOOK)_URL$" $name }}
    {{- fail (printf "settings.%s is an address that lets whoever knows it send: put it into the Secret %s" $name (include "tallyhook.secret" $)) }}
  {{- else if regexMatch "://[^/?#]*@" ($text | default "") }}
    {{- fail (printf "settings.%s has a user or a password in it: put the address into the Secret %s" $name (include "tallyhook.secret" $)) }}
  {{- else if not (or (has $setting $known) (has $name $known) (regexMatch "^(PARTNER_[A-Z0-9_]+_(CRM_URL|CRM_SECRET|SECRET|TOKEN)|OTEL_[A-Z_]+|PG[A-Z]+)$" $setting)) }}
    {{- fail (printf "settings.%s is no setting: env.example lists them, and what others than Tallyhook read goes into extraEnv" $name) }}
  {{- end }}
{{- end }}
{{- if and .Values.secrets.existingSecret .Values.secrets.values }}
  {{- fail "secrets.existingSecret and secrets.values are both set: one of them has to go" }}
{{- end }}
{{- if not (include "tallyhook.roles" .) }}
  {{- fail "workers.roles: none is enabled" }}
{{- end }}
{{- with .Values.gateway.autoscaling }}
  {{- if gt (int .minReplicas) (int .maxReplicas) }}
    {{- fail (printf "gateway.autoscaling: minReplicas %d is above maxReplicas %d" (int .minReplicas) (int .maxReplicas)) }}
  {{- end }}
{{- end }}
{{- if eq (int .Values.gateway.ports.public) (int .Values.gateway.ports.internal) }}
  {{- fail (printf "gateway.ports: both listeners are on %d" (int .Values.gateway.ports.public)) }}
{{- end }}
{{- end }}
