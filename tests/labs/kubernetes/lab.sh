# Sourced by the programs of this lab: where everything is, and what they share.
#
#   DAAS_CACHE           as for scripts/test: the programs are kept in its labs/kubernetes/bin
#   DAAS_KUBERNETES_LAB  the cluster's folder (default: labs/kubernetes/run of DAAS_CACHE); several run side by side

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=kubernetes-lab
# shellcheck source=scripts/common.sh
source "$here/../../../scripts/common.sh"
if ((EUID == 0)); then
  cache=${DAAS_CACHE:-/var/cache/jupyterhub-daas}
else
  cache=${DAAS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jupyterhub-daas}
fi
home=$cache/labs/kubernetes
bin=$home/bin
# Everything that a cluster writes. There are Unix sockets in it, whose paths have a limit.
run=${DAAS_KUBERNETES_LAB:-$home/run}
((${#run} <= 60)) || run=/var/lib/daas-kubernetes-lab-$(cksum <<<"$run" | cut -d' ' -f1)

# What is printed on stdout is read by eval.
say() { printf '%s %4ds: %s\n' "$program" $SECONDS "$*" >&2; }
die() { say "FAILED: $*"; exit 1; }

# A daemon of this very cluster, not of another one that got its process id.
alive() {
  local pid
  pid=$(cat "$run/pid/$1" 2>/dev/null) && [[ -n $pid && -d /proc/$pid ]] &&
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$run"
}

until_ok() { # SECONDS WHAT COMMAND…
  local left=$(($1 * 20)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((--left > 0)) || die "$what is not ready; see $run/log"
    sleep 0.05
  done
}
