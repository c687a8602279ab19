# Sourced by the programs beside it: where everything of the node is, below CACHE, their first argument.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
cache=$(realpath -m "${1:?usage: ${0##*/} CACHE}")

# Kept from run to run.
bin=$cache/bin
images=$cache/images
pki=$cache/pki

# Of one run.
state=$cache/node
cgroup=seccomp-agent-$(printf %s "$state" | sha256sum | cut -c1-8)

# Known only in the node's own network namespace.
address=10.177.0.1
pods=10.177.0.0/24
services=10.178.0.0/24
api=10.178.0.1

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# The node's process 1 as it is called out here; nothing if there is no node.
node_pid() {
    local pid
    pid=$(cat "$state/pid" 2>/dev/null) || return 0
    # A number that is somebody else's by now is in another pid namespace.
    if [ "$(readlink "/proc/$pid/ns/pid")" = "$(cat "$state/pid-namespace")" ]; then
        echo "$pid"
    fi
}
