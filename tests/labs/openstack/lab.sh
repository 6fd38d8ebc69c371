# Sourced by the programs of this lab: where everything is, and what they share.
#
#   DAAS_CACHE          as for scripts/test: packages and empty databases are kept in its labs/openstack
#   DAAS_OPENSTACK_LAB  the cloud's folder (default: labs/openstack/run of DAAS_CACHE); several run side by side

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=openstack-lab
# shellcheck source=scripts/common.sh
source "$here/../../../scripts/common.sh"
if ((EUID == 0)); then
  cache=${DAAS_CACHE:-/var/cache/jupyterhub-daas}
else
  cache=${DAAS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jupyterhub-daas}
fi
home=$cache/labs/openstack
run=${DAAS_OPENSTACK_LAB:-$home/run}
venv=$home/venv
# The services know their configuration by variables, and their databases under their own names.
unset "${!OS_@}" http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
export no_proxy='*'
# What is imported is compiled, once, and nothing is written beside this file.
export PYTHONPYCACHEPREFIX=$home/compiled
unset PYTHONDONTWRITEBYTECODE

# What is printed on stdout is read by eval.
say() { printf '%s %4ds: %s\n' "$program" $SECONDS "$*" >&2; }
die() { say "FAILED: $*"; exit 1; }
