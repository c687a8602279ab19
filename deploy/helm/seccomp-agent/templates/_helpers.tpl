{{- /* A file that is a string, or that was written as YAML where one was expected. */}}
{{- define "text" }}
{{- kindIs "string" . | ternary . (toPrettyJson .) | toJson }}
{{- end }}

{{- define "image" }}
{{- $image := .Values.image }}
{{- if kindIs "float64" $image.tag }}{{ fail "image.tag is a number, of which YAML keeps no zeros: put it in quotes" }}{{ end }}
{{- $tag := printf ":%v" ($image.tag | default .Chart.AppVersion) }}
{{- $digest := $image.digest | default "" | printf "@%s" }}
{{- printf "%s%s" $image.repository ($image.digest | empty | ternary $tag $digest) | toJson }}
{{- end }}
