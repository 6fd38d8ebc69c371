# What `up` runs inside the lab: start what does not run. Nobody else is in this network, so ports are the usual ones.
set -euo pipefail
nodes=2 cores=16 ssh_port=6667
pg=/var/lib/postgresql/lab

alive() { [[ -s $1 ]] && kill -0 "$(head -n 1 "$1")" 2>/dev/null; }
wait_for() { # SECONDS WHAT COMMAND…
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || { echo "timed out waiting for $what"; exit 1; }
    sleep 0.05
  done
}
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
sql() { as_postgres psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -h /run/postgresql "$@"; }

# --- PostgreSQL; its folder is copied and renamed, so that a start that was cut short leaves none
programs=$(ls -d /usr/lib/postgresql/*/bin)
install -d -o postgres -g postgres /run/postgresql "${pg%/*}"
if [[ ! -s $pg/PG_VERSION ]]; then
  rm -rf "$pg.new"
  as_postgres "$programs/initdb" -A scram-sha-256 --auth-local=peer -D "$pg.new"
  mv "$pg.new" "$pg"
fi
alive "$pg/postmaster.pid" || as_postgres "$programs/pg_ctl" -w -t 120 -s -D "$pg" -l "$pg.log" \
  -o "-k /run/postgresql -c listen_addresses=127.0.0.1 -c fsync=off" start </dev/null

# --- configuration; no job resource manager: it writes control groups
conf=/etc/oar/oar.conf
if ! grep -q '^# lab$' $conf; then
  password=$(head -c 18 /dev/urandom | base64 | tr -d '+/=')
  sed -i -E '/^(DB_BASE_PASSWD|DB_BASE_PASSWD_RO|JOB_RESOURCE_MANAGER_[A-Z_]*|LOG_LEVEL|FINAUD_FREQUENCY)=/d' $conf
  sed -i -E '/^(SCHEDULER_JOB_SECURITY_TIME|SCHEDULER_MIN_TIME_BETWEEN_2_CALLS)=/d' $conf
  cat >>$conf <<END
DB_BASE_PASSWD="$password"
DB_BASE_PASSWD_RO="$password"
SCHEDULER_JOB_SECURITY_TIME="1"
SCHEDULER_MIN_TIME_BETWEEN_2_CALLS="1"
FINAUD_FREQUENCY="0"
LOG_LEVEL="3"
# lab
END
fi
chown oar: $conf
chmod 600 $conf
source $conf
# By the machine's name a job tells the server that it has ended.
for each in "$(hostname)" $(seq -f 'oar%g' $nodes); do
  grep -qw -- "$each" /etc/hosts || echo "127.0.0.1 $each" >>/etc/hosts
done

# --- tables
if [[ -z $(sql -At -c "select 1 from pg_database where datname = 'oar'" postgres) ]]; then
  sql postgres -c "drop database if exists oar_new" -c "drop role if exists oar" -c "drop role if exists oar_ro" \
    -c "create role oar login password '$DB_BASE_PASSWD'" -c "create role oar_ro login password '$DB_BASE_PASSWD'" \
    -c 'create database oar_new owner oar'
  for each in pg_structure pg_default_admission_rules default_data; do
    # They begin by removing what is not there yet.
    PGPASSWORD=$DB_BASE_PASSWD psql -q -h 127.0.0.1 -U oar -d oar_new -f /usr/lib/oar/database/$each.sql
  done
  # What oarproperty and oarnodesetting would do, one core after the other.
  sql oar_new -c 'alter table resources add host varchar(255), add core varchar(255)' \
    -c "insert into resources (network_address, host, core, cpuset, state)
        select 'oar' || node, 'oar' || node, (node - 1) * $cores + core, core - 1, 'Alive'
        from generate_series(1, $nodes) node, generate_series(1, $cores) core" \
    -c 'grant select on all tables in schema public to oar_ro'
  sql postgres -c 'alter database oar_new rename to oar'
fi

# On a busy machine a job may start too late for OAR, which then suspects its node until somebody says otherwise.
sql oar -c "update resources set state = 'Alive', next_state = 'UnChanged' where state = 'Suspected'"

# --- the nodes, which are one sshd for account oar; the server
install -d -m 755 /run/sshd
touch /var/log/oar.log
chown oar: /var/log/oar.log
alive /run/oar-node_sshd.pid || /usr/sbin/sshd -f /etc/oar/sshd_config -o Port=$ssh_port -o ListenAddress=127.0.0.1 \
  -o PidFile=/run/oar-node_sshd.pid
# An ended one may still be there for a moment: whether a new one is needed is asked until one answers.
serves() {
  alive /run/oar-server.pid || /usr/sbin/oar-server
  bash -c '</dev/tcp/127.0.0.1/6666'
}
wait_for 60 Almighty serves
