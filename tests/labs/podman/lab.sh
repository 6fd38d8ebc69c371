# shellcheck shell=bash
# Sourced by the programs of this lab: where everything is, and what they share.
#
#   DAAS_CACHE       as for scripts/test: the base image is kept in its labs/podman
#   DAAS_PODMAN_LAB  the lab's folder (default: labs/podman/run of DAAS_CACHE); several run side by side

set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program='lab podman'
as_account=()
# shellcheck source=scripts/common.sh
source "$here/../../../scripts/common.sh"

home=${DAAS_CACHE:-/var/cache/jupyterhub-daas}/labs/podman
run=${DAAS_PODMAN_LAB:-$home/run}
socket=$run/podman.sock
# All that Podman would otherwise look for and write in the folders of the system.
export CONTAINERS_CONF=$run/containers.conf CONTAINERS_STORAGE_CONF=$run/storage.conf TMPDIR=$run/tmp

# The service of this very lab, not another process that got its number.
runs() {
  local pid
  pid=$(cat "$run/pid" 2>/dev/null) && tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "unix://$socket"
}
