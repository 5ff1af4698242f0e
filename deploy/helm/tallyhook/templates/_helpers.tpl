{{- define "tallyhook.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "tallyhook.fullname" -}}
{{- $name := include "tallyhook.name" . }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "tallyhook.selector" -}}
app.kubernetes.io/name: {{ include "tallyhook.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tallyhook.labels" -}}
{{ include "tallyhook.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "tallyhook.image" -}}
{{- $at := ternary (printf "@%s" .Values.image.digest) (printf ":%s" (.Values.image.tag | default .Chart.AppVersion)) (ne .Values.image.digest "") }}
{{- .Values.image.repository }}{{ $at }}
{{- end }}

{{- define "tallyhook.secret" -}}
{{- .Values.secrets.existingSecret | default (include "tallyhook.fullname" .) }}
{{- end }}

{{/* The seconds that the slowest end of a gateway takes: unready, then a grace for each listener, then the last commits. */}}
{{- define "tallyhook.gatewayEnd" -}}
{{- add .Values.gateway.shutdownDelaySeconds (mul 2 .Values.gateway.shutdownGraceSeconds) 15 }}
{{- end }}

{{/* The roles that are enabled, in a string of words; `all` where none is missing. */}}
{{- define "tallyhook.roles" -}}
{{- $on := list }}
{{- range $role, $its := .Values.workers.roles }}{{ if $its.enabled }}{{ $on = append $on $role }}{{ end }}{{ end }}
{{- ternary "all" (join " " $on) (eq (len $on) (len .Values.workers.roles)) }}
{{- end }}

{{/* What the chart itself sets in every container. */}}
{{- define "tallyhook.ownEnv" -}}
SECRETS_DIR: /run/secrets/tallyhook
PUBLIC_HOST: {{ .Values.listenOn | quote }}
PUBLIC_PORT: {{ .Values.gateway.ports.public | quote }}
INTERNAL_HOST: {{ .Values.listenOn | quote }}
INTERNAL_PORT: {{ .Values.gateway.ports.internal | quote }}
SHUTDOWN_DELAY: {{ printf "%ds" (int .Values.gateway.shutdownDelaySeconds) }}
SHUTDOWN_GRACE: {{ printf "%ds" (int .Values.gateway.shutdownGraceSeconds) }}
RELAY_WEB_HOST: {{ .Values.listenOn | quote }}
RELAY_WEB_PORT: {{ .Values.relay.port | quote }}
STREAMS_WEB_HOST: {{ .Values.listenOn | quote }}
STREAMS_WEB_PORT: {{ .Values.workers.port | quote }}
{{- end }}

{{/*
A pod of one container. Takes a dictionary: root, component, args, resources, and where it serves `ports` by name, the `probed` one
among them, and `grace`; `secret` where it is another one than that of the processes.
*/}}
{{- define "tallyhook.pod" -}}
{{- $root := .root }}
{{- $values := $root.Values }}
metadata:
  labels:
    {{- include "tallyhook.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  {{- with .restart }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .grace }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .ports }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "tallyhook.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ .component }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "tallyhook.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{ toJson .args }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      env:
        {{- range $name, $text := merge (include "tallyhook.ownEnv" $root | fromYaml) $values.settings }}
        {{- if kindIs "string" $text }}
        - {name: {{ $name }}, value: {{ $text | quote }}}
        {{- end }}
        {{- end }}
        {{- with $values.extraEnv }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with .ports }}
      ports:
        {{- range $name, $port := . }}
        - {name: {{ $name }}, containerPort: {{ $port }}}
        {{- end }}
      {{- end }}
      {{- with .probed }}
      # A process that waits for a server is alive and not ready. It is live while its loops run; it reports a loop that has stopped for a minute.
      startupProbe:
        httpGet: {path: /health/live, port: {{ . }}}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /health/live, port: {{ . }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /health/ready, port: {{ . }}}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      {{- end }}
      resources: {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: secrets, mountPath: /run/secrets/tallyhook, readOnly: true}
        - {name: temporary, mountPath: /tmp}
        {{- if $values.certificates.existingSecret }}
        - {name: certificates, mountPath: /run/certificates, readOnly: true}
        {{- end }}
  volumes:
    - name: secrets
      secret: {secretName: {{ .secret | default (include "tallyhook.secret" $root) }}, defaultMode: 0440}
    - name: temporary
      emptyDir: {sizeLimit: 64Mi}
    {{- with $values.certificates.existingSecret }}
    - name: certificates
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
{{- end }}

{{/* A Deployment of such pods; also takes `name`, and `replicas` unless an autoscaler has them. */}}
{{- define "tallyhook.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "tallyhook.fullname" .root }}-{{ .component }}
  labels:
    {{- include "tallyhook.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if hasKey . "replicas" }}
  replicas: {{ .replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels:
      {{- include "tallyhook.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    {{- include "tallyhook.pod" . | nindent 4 }}
{{- end }}

{{/* A Job that has ended before Helm starts anything else. */}}
{{- define "tallyhook.hook" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "tallyhook.fullname" .root }}-{{ .component }}
  labels:
    {{- include "tallyhook.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: 4
  activeDeadlineSeconds: {{ .root.Values.hooks.activeDeadlineSeconds }}
  template:
    {{- include "tallyhook.pod" (merge (dict "restart" "Never" "resources" .root.Values.hooks.resources) .) | nindent 4 }}
{{- end }}

{{/*
What a drain of nodes may take at once of a Deployment, which has to have more than one replica: the budget of a single one would
hold the drain up for ever, or be none. Takes root, component, replicas and the `budget`.
*/}}
{{- define "tallyhook.budget" -}}
{{- if and .budget.enabled (gt (int .replicas) 1) -}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "tallyhook.fullname" .root }}-{{ .component }}
  labels:
    {{- include "tallyhook.labels" .root | nindent 4 }}
spec:
  maxUnavailable: {{ .budget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "tallyhook.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- end }}
