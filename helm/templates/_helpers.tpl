{{- define "mintage.fullname" -}}
{{- if contains "mintage" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-mintage" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "mintage.selector" -}}
app.kubernetes.io/name: mintage
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mintage.labels" -}}
{{ include "mintage.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* (list . "service" | "worker"): the image with its registry and tag. */}}
{{- define "mintage.image" -}}
{{- $root := index . 0 -}}{{- $image := $root.Values.image -}}
{{- with $image.registry }}{{ . | trimSuffix "/" }}/{{ end }}{{ index $image (index . 1) }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{- define "mintage.pod" -}}
serviceAccountName: {{ include "mintage.fullname" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mintage.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "mintage.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* (list . values): where the pods of one part may run. */}}
{{- define "mintage.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A number as people write it: Helm would print 53687091200 as 5.36870912e+10. */}}
{{- define "mintage.plain" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ toString . }}{{ end -}}
{{- end }}

{{/* (list name secret key): an environment variable out of a secret. */}}
{{- define "mintage.fromSecret" -}}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ index . 1 | quote }}, key: {{ index . 2 | quote }}}}
{{- end }}

{{- define "mintage.variables" -}}
{{- $own := include "mintage.fullname" . -}}
{{- if .Values.postgresql.enabled }}
{{ include "mintage.fromSecret" (list "MINTAGE_DATABASE_URL" $own "database-url") }}
{{- else }}
{{ include "mintage.fromSecret" (list "MINTAGE_DATABASE_URL" (required "externalDatabase.existingSecret is needed where postgresql.enabled is false" .Values.externalDatabase.existingSecret) .Values.externalDatabase.key) }}
{{- end }}
{{- if .Values.valkey.enabled }}
{{ include "mintage.fromSecret" (list "MINTAGE_REDIS_URL" $own "redis-url") }}
{{- else }}
{{ include "mintage.fromSecret" (list "MINTAGE_REDIS_URL" (required "externalRedis.existingSecret is needed where valkey.enabled is false" .Values.externalRedis.existingSecret) .Values.externalRedis.key) }}
{{- end }}
{{- if .Values.seaweedfs.enabled }}
{{ include "mintage.fromSecret" (list "MINTAGE_S3_ACCESS_KEY" $own "s3-access-key") }}
{{ include "mintage.fromSecret" (list "MINTAGE_S3_SECRET_KEY" $own "s3-secret-key") }}
{{- else if .Values.externalObjectStorage.existingSecret }}
{{- with .Values.externalObjectStorage }}
{{ include "mintage.fromSecret" (list "MINTAGE_S3_ACCESS_KEY" .existingSecret .accessKeyKey) }}
{{ include "mintage.fromSecret" (list "MINTAGE_S3_SECRET_KEY" .existingSecret .secretKeyKey) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mintage.bucketUrl" -}}
{{- if and .Values.ingress.enabled .Values.ingress.bucketHost -}}
{{ ternary "https" "http" (ne .Values.ingress.tlsSecretName "") }}://{{ .Values.ingress.bucketHost }}
{{- else -}}{{ .Values.seaweedfs.publicUrl }}{{- end -}}
{{- end }}

{{/* Nothing starts before the database has the tables of this version; the Job makes them. */}}
{{- define "mintage.wait" -}}
- name: wait-for-migrations
  image: {{ include "mintage.image" (list . "service") }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [python, -m, service.prepare, --wait]
  envFrom: [{configMapRef: {name: {{ include "mintage.fullname" . }}}}]
  env: {{- include "mintage.variables" . | nindent 4 }}
  resources:
    requests: {cpu: 50m, memory: 96Mi}
    limits: {memory: 256Mi}
  securityContext: {{- include "mintage.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "mintage.configChecksum" -}}
checksum/settings: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
{{- end }}

{{/* Liveness of a worker: its supervisor touches a file. Never ask Celery: it does not answer while it is busy. */}}
{{- define "mintage.workerProbes" -}}
startupProbe:
  exec: {command: [test, -f, /var/lib/mintage/worker-alive]}
  periodSeconds: 5
  failureThreshold: 36
livenessProbe:
  exec: {command: [sh, -c, 'test $(( $(date +%s) - $(stat -c %Y /var/lib/mintage/worker-alive) )) -lt 60']}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}
