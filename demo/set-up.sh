#!/bin/bash
# Second part of scripts/demo: bring the demo's folder up to date, then become the demo.
#
#   DAAS_STATE=folder DAAS_PORT=port set-up.sh PYTHON
#
# Two stamps tell what is done already. A stamp is removed before its work begins and written after it has ended, so
# that whatever was broken off is done again from its beginning. DAAS_VENV and DAAS_NODE_MODULES name ready-made
# folders to use as they are: for the tests, which need not install everything each time.
set -euo pipefail

python=$1
state=$DAAS_STATE
checkout=$state/checkout
venv=${DAAS_VENV:-$state/venv}
node=$state/node
log=$state/set-up.log

program=demo
# shellcheck source=scripts/common.sh
source "$checkout/scripts/common.sh"

umask 077
cd "$state"
# Held by the demo until its last process has ended; what it starts does not inherit it.
exec 9>>"$state/lock"
flock -n 9 || die "a demo is running with $state already. End it, or choose another folder with DAAS_STATE."

# Run a step with its output in the log; $1 is a sed program that picks the lines to show, $2 what to say if it fails.
# It ends when we are ended.
step() {
  local show=$1 advice=$2
  shift 2
  printf '\n$ %s\n' "$*" >>"$log"
  if ! setpriv --pdeathsig TERM "$@" </dev/null 2>&1 9>&- | tee -a "$log" 9>&- | sed -un "$show" 9>&-; then
    grep -hiE '^(error|npm err|npm error|e:)' "$log" | tail -n 3 >&2 || true
    die "$advice The whole output is in $log; start again when it is mended."
  fi
}

install_python() {
  say "Installing the Python packages (some minutes the first time)"
  rm -f -- "$state/python.stamp" "$state/package.stamp"
  [[ ! -e $venv ]] || say "  an earlier set-up was for other versions or was not finished: starting afresh"
  rm -rf -- "$venv"
  step '' "The virtual environment could not be made." "$python" -m venv "$venv"
  step 's/^Collecting \([^ ]*\).*/  \1/p;s/^Building wheel for \([^ ]*\).*/  building \1/p;s/^Installing collected.*/  installing/p' \
    "The Python packages could not be installed. Is the network reachable?" \
    "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar off "$checkout[demo]"
  link_node "$venv"
  # JupyterLab would greet each person with the question whether it may fetch news.
  mkdir -p -- "$venv/etc/jupyter/labconfig"
  printf '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}\n' \
    >"$venv/etc/jupyter/labconfig/page_config.json"
  printf '%s\n' "$package" >"$state/package.stamp"
  printf '%s\n' "$requirements" >"$state/python.stamp"
}

install_package() {
  say "Installing the package anew: its source has changed"
  rm -f -- "$state/package.stamp"
  step '' "The package could not be installed." "$venv/bin/python" -m pip install --no-input \
    --disable-pip-version-check --progress-bar off --no-deps --force-reinstall "$checkout"
  printf '%s\n' "$package" >"$state/package.stamp"
}

install_node_modules() {
  say "Installing the proxy and the identity provider"
  rm -rf -- "$state/node.stamp" "$node"
  mkdir -- "$node"
  cp -- "$checkout/demo/provider/package.json" "$node/"
  step 's/^added.*/  &/p' "The Node packages could not be installed. Is the network reachable?" \
    env PATH="$venv/bin:$PATH" npm install --prefix "$node" --no-package-lock --no-audit --no-fund \
    --no-update-notifier --omit=dev
  printf '%s\n' "$modules" >"$state/node.stamp"
}

# True if a stamp fits and the things that it stands for are still there.
done_already() {
  local stamp=$1 wanted=$2 each
  shift 2
  [[ -f $stamp && $(<"$stamp") == "$wanted" ]] || return 1
  for each in "$@"; do [[ -e $each ]] || return 1; done
}

# True if everything that the package and its extra "demo" ask for is installed.
python_works() {
  "$venv/bin/python" - 2>/dev/null 9>&- <<'PYTHON'
import re
from importlib.metadata import requires, version
for requirement in requires("jupyterhub-daas"):
    name, _, marker = requirement.partition(";")
    if not marker or "demo" in marker:
        version(re.match(r"[\w.-]+", name)[0])
PYTHON
}

: >"$log"
cd "$checkout"
version=$("$python" -c 'import sys; print(sys.executable, sys.version)')
# The number stands for what this script does beside installing: a higher one does all of it again.
requirements=$({ cat setup.cfg pyproject.toml; printf '%s\n' 1 "$venv" "$version"; } | digest)
package=$({ printf '%s\n' "$requirements"; find jupyterhub_daas -type f -print0 | sort -z | xargs -0 sha256sum; } | digest)
modules=$({ cat demo/provider/package.json; printf '%s\n' "$node" "$requirements"; } | digest)
cd "$state"

if [[ -n ${DAAS_VENV:-} ]]; then
  say "Using the virtual environment $venv as it is"
  python_works || die "the virtual environment $venv lacks packages of the demo. Unset DAAS_VENV and start again."
elif ! done_already "$state/python.stamp" "$requirements" "$venv/bin/jupyterhub" "$venv/bin/node" || ! python_works; then
  install_python
elif ! done_already "$state/package.stamp" "$package"; then
  install_package
fi

if [[ -n ${DAAS_NODE_MODULES:-} ]]; then
  say "Using the Node packages in $DAAS_NODE_MODULES as they are"
  mkdir -p -- "$node"
  rm -rf -- "$state/node.stamp" "$node/node_modules"
  ln -s -- "$DAAS_NODE_MODULES" "$node/node_modules"
fi
modules_there=("$node/node_modules/oidc-provider/lib/index.js"
  "$node/node_modules/configurable-http-proxy/bin/configurable-http-proxy")
if [[ -z ${DAAS_NODE_MODULES:-} ]]; then
  done_already "$state/node.stamp" "$modules" "${modules_there[@]}" || install_node_modules
fi
mkdir -p -- "$node/provider"
cp -- "$checkout"/demo/provider/*.mjs "$checkout/demo/provider/package.json" "$node/provider/"

# From the folder of the copy, where the package's own source must not be found before the installed one.
mkdir -p -- "$state/app"
rm -rf -- "$state/app/demo"
cp -R -- "$checkout/demo" "$checkout/jupyterhub_config.py" "$state/app/"
cd "$state/app"
exec "$venv/bin/python" -B -m demo
