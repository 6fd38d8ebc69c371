# Sourced by up and down: sets `lab` to the folder that was given or remembered, empty if there is none, and `mark`.
# shellcheck shell=bash
mark=${XDG_STATE_HOME:-$HOME/.local/state}/jupyterhub-daas/slurm-lab
lab=${DAAS_SLURM_LAB:-$(cat "$mark" 2>/dev/null || true)}
if [[ -z ${DAAS_SLURM_LAB:-} ]] && ! [[ -n $lab && -d $lab && -O $lab ]]; then
  lab=
fi
