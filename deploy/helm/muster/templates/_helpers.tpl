{{/* The release's name, followed by the chart's unless it contains it. Truncated so that names with suffixes have at most 63 characters. */}}
{{- define "muster.fullname" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* (list $ "agent"): the immutable labels that select this component's pods. */}}
{{- define "muster.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "muster.labels" -}}
{{- $root := index . 0 -}}
{{ include "muster.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "muster.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The name of the ConfigMap with the workload's files; empty for the sample in the image. */}}
{{- define "muster.workload" -}}
{{- if .Values.workload.existingConfigMap -}}
{{ .Values.workload.existingConfigMap }}
{{- else if .Values.workload.files -}}
{{ include "muster.fullname" . }}-workload
{{- end -}}
{{- end }}

{{/* The restricted profile: the pod's part and the container's part. fsGroup lets this user read secrets and write the volume of runs. */}}
{{- define "muster.podSecurity" -}}
automountServiceAccountToken: false
# Otherwise Kubernetes would set MUSTER_COORDINATOR_PORT and similar variables, which are not options of the programs.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "muster.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* (list $ $.Values.agents $defaultAffinity): the scheduling constraints of the pods. */}}
{{- define "muster.placement" -}}
{{- $root := index . 0 -}}
{{- $of := index . 1 -}}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
