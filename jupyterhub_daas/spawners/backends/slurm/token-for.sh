#!/bin/sh
# Print a token of Slurm for one person, as the forced command of a hub's key on a login node:
#
#     restrict,command="/usr/local/libexec/daas-token-for" ssh-ed25519 AAAA... hub
#
# The hub's account becomes the person by sudo and asks as that person: neither the hub nor this program has
# the key that Slurm signs with. Exit status 77: this person gets none. Set SLURM_CONF in front where Slurm's
# configuration is not in its usual place.
set -eu
PATH=/usr/bin:/bin
name=${SSH_ORIGINAL_COMMAND-${1-}}
case $name in
'' | *[!a-z0-9._-]* | [!a-z]*) exit 77 ;;
esac
set -- /usr/bin/scontrol token lifespan=900
[ "$name" = "$(id -un)" ] && exec "$@"
sudo -n -l -u "$name" -- "$@" >/dev/null 2>&1 || exit 77
exec sudo -n -u "$name" -- "$@"
