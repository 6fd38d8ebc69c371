# shellcheck shell=bash
# Sourced by the programs of this lab: where everything is, and what they share.
#
#   DAAS_CACHE       as for scripts/test: the base image's file is kept in its labs/podman
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
base=localhost/daas-base:1
# All that Podman would otherwise look for and write in the folders of the system.
export CONTAINERS_CONF=$run/containers.conf CONTAINERS_STORAGE_CONF=$run/storage.conf TMPDIR=$run/tmp

# The service of this very lab, not another process that got its number.
runs() {
  local pid
  pid=$(cat "$run/pid" 2>/dev/null) && tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "unix://$socket"
}

# The Debian packages that Podman needs here.
install_podman() {
  local missing
  ((EUID == 0)) || die 'needs root: limits of containers of others need version 2 of cgroups'
  # The installation, too, puts passing files there.
  mkdir -p "$TMPDIR"
  mapfile -t missing < <(missing_packages podman=podman runc=runc conmon=conmon mmdebstrap=mmdebstrap ip=iproute2)
  [[ -x /usr/lib/podman/netavark ]] || missing+=(netavark)
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}" >&2
}

# Podman's own folders and settings, and in its storage what every image stands on: made once from Debian's packages.
make_storage() {
  local packages=python3-venv,tini,ca-certificates stamp lock
  mkdir -p "$home" "$run"/{tmp,networks,volumes}
  chmod 711 "$home" "$run"
  exec {lock}>"$home/lock"
  flock "$lock"
  stamp=$(digest <<<"1 $packages")
  if [[ ! -s $home/base.tar || $(cat "$home/base.stamp" 2>/dev/null) != "$stamp" ]]; then
    rm -f -- "$home/base.stamp"
    mmdebstrap --quiet --variant=minbase --include="$packages" bookworm "$home/base.tar" >"$home/mmdebstrap.log" 2>&1 ||
      die "no base image: see $home/mmdebstrap.log"
    printf '%s\n' "$stamp" >"$home/base.stamp"
  fi
  write_settings
  podman image exists "$base" ||
    podman import --quiet --change 'ENTRYPOINT ["/usr/bin/tini", "-g", "--"]' "$home/base.tar" "$base" \
      >"$run/import.log" 2>&1 || die "no base image: see $run/import.log"
  exec {lock}>&-
}

write_settings() {
  cat >"$CONTAINERS_CONF" <<CONF
[containers]
# This machine may lack the right to raise them.
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
lock_type = "file"
tmp_dir = "$run/tmp"
static_dir = "$run/storage/libpod"
volume_path = "$run/volumes"
[network]
network_backend = "netavark"
network_config_dir = "$run/networks"
CONF
  cat >"$CONTAINERS_STORAGE_CONF" <<CONF
[storage]
driver = "overlay"
graphroot = "$run/storage"
runroot = "$run/containers"
CONF
}
