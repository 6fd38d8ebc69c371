#!/bin/bash
# Be a machine: guest.sh FOLDER. An address of its own on the lab's bridge, processes and files of its own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
name=$(basename "$folder")
short=${name:0:8}
address=$(<"$folder/address")
ip netns del "daas-os-$short" 2>/dev/null || true
ip netns add "daas-os-$short"
if [[ -n $address ]]; then
  ip link del "do$short" 2>/dev/null || true
  ip link add "do$short" type veth peer name eth0 netns "daas-os-$short"
  ip link set "do$short" master "$LAB_BRIDGE" up
  ip -n "daas-os-$short" addr add "$address/24" dev eth0
  ip -n "daas-os-$short" link set lo up
  ip -n "daas-os-$short" link set eth0 up
  ip -n "daas-os-$short" route add default via "$LAB_GATEWAY"
fi
# The namespace lasts as long as a process is in it; its name is not needed any more once one is.
exec ip netns exec "daas-os-$short" \
  unshare --mount --pid --fork --kill-child "$LAB_PYTHON" "$here/guest.py" "$folder" "daas-os-$short"
