#!/bin/sh
# What runs in a desktop session: a light window manager, and a terminal in the proposal's folder.
# The session's tokens are no business of the programs on the desktop.
for name in $(env | sed -n 's/^\(JUPYTERHUB_[A-Z_]*\|JPY_[A-Z_]*\)=.*/\1/p'); do
    unset "$name"
done
cd "${DAAS_FOLDER:-$HOME}" || cd "$HOME" || exit 1
xterm -title "${DAAS_PROPOSAL:-Terminal}" -fa Monospace -fs 12 -geometry 100x30+60+60 &
exec openbox
