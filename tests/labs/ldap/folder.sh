# shellcheck shell=bash
# The lab's folder: the one that is named, or the one that the last call made.
mark=${XDG_STATE_HOME:-$HOME/.local/state}/jupyterhub-daas/ldap-lab
lab=${DAAS_LDAP_LAB:-}
if [[ -z $lab && -f $mark ]]; then
  lab=$(<"$mark")
  [[ -d $lab ]] || lab=
fi

# slapd removes its file when it ends in order; after a kill the number may be somebody else's.
runs() {
  local pid
  pid=$(cat "$lab/slapd.pid" 2>/dev/null) && tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "$lab/slapd.conf"
}
