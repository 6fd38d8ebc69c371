# Sourced by the programs of this lab: where everything is, and what they share.
#
#   DAAS_CACHE    as for scripts/test: the root is kept in its labs/oar/root
#   DAAS_OAR_LAB  this lab's folder (default: labs/oar/run of DAAS_CACHE); several run side by side on one root

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=oar-lab
# shellcheck source=scripts/common.sh
source "$here/../../../scripts/common.sh"
PATH=$PATH:/usr/sbin:/sbin
checkout=$(cd "$here/../../.." && pwd)
cache=${DAAS_CACHE:-/var/cache/jupyterhub-daas}
home=$cache/labs/oar
root=$home/root
run=${DAAS_OAR_LAB:-$home/run}

# What is printed on stdout is read by eval.
say() { printf '%s %4ds: %s\n' "$program" $SECONDS "$*" >&2; }
die() { say "FAILED: $*"; exit 1; }

# The process that holds the lab's namespaces, if it is still that one and not another with its number.
keeper() {
  local pid
  pid=$(cat "$run/keeper.pid" 2>/dev/null) && [[ -n $pid ]] &&
    [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == "daas-oar-keeper $run "* ]] && echo "$pid"
}
