# Sourced by up: the cluster's certificates, made once, for ten years.

# key NAME
key() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key"
}

# certificate NAME SUBJECT [EXTENSION]
certificate() {
    key "$1"
    openssl req -new -key "$pki/$1.key" -subj "$2" | openssl x509 -req -days 3650 -out "$pki/$1.crt" \
        -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial 2>/dev/null \
        -extfile <(printf '%s\n' 'keyUsage=digitalSignature' 'extendedKeyUsage=serverAuth,clientAuth' "${3-}")
}

# kubeconfig NAME
kubeconfig() {
    cat > "$pki/$1.conf" <<END
apiVersion: v1
kind: Config
current-context: node
clusters:
  - name: node
    cluster: {server: "https://$address:6443", certificate-authority: $pki/ca.crt}
contexts:
  - {name: node, context: {cluster: node, user: $1}}
users:
  - {name: $1, user: {client-certificate: $pki/$1.crt, client-key: $pki/$1.key}}
END
}

make_pki() {
    local name names
    mkdir -p "$pki"
    chmod 700 "$pki"
    key ca
    openssl req -x509 -new -key "$pki/ca.key" -subj /CN=kubernetes -days 3650 -out "$pki/ca.crt"
    key service-account
    openssl ec -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub" 2>/dev/null
    names=IP:$address,IP:$api,IP:127.0.0.1,DNS:localhost
    names=$names,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
    certificate kube-apiserver /CN=kube-apiserver "subjectAltName=$names"
    certificate front-proxy /CN=front-proxy
    certificate admin /O=system:masters/CN=admin
    certificate kubelet /O=system:nodes/CN=system:node:node1
    for name in kube-controller-manager kube-scheduler kube-proxy; do
        certificate "$name" "/CN=system:$name"
    done
    for name in admin kubelet kube-controller-manager kube-scheduler kube-proxy; do
        kubeconfig "$name"
    done
    touch "$pki/done"
}
