#!/usr/bin/env bash
# A cluster of three PostgreSQL servers that Patroni looks after, with etcd and HAProxy, all
# on loopback and in one temporary folder. README.md explains it.
#
#     ./cluster.sh with COMMAND…   starts the cluster, runs the command, removes the cluster
#
# The command finds the URLs in PROXY_URL and SERVER_URLS, and may call:
#
#     ./cluster.sh kill            kills the primary's PostgreSQL and its Patroni
#     ./cluster.sh rejoin          starts what was killed, and waits until all is well
#
# With DISASTER=1, `kill` first kills both standbys, and 10 s later the primary, whose data is
# lost then; and makes a standby the primary by force. With STRICT=false, the primary goes on
# without standbys.
set -euo pipefail
self=$(readlink -f "$0")
strict=${STRICT:-true}
base=${MARKET_PATRONI_PORT:-17000} # the first of the ports, all below the next 100
etcd=127.0.0.1:$base
bin=$(find /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1 | xargs dirname)

postgres_port() { echo $((base + 10 + $1)); }
patroni_port() { echo $((base + 20 + $1)); }

# start NAME PROGRAM…: in the background, and not as root: PostgreSQL refuses that.
start() {
    local name=$1 as=()
    shift
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=postgres --regid=postgres --init-groups)
    (cd "$folder" && exec setsid "${as[@]}" "$@" >>"$folder/$name.log" 2>&1 </dev/null) &
    echo $! >"$folder/$name.pid"
    disown # Otherwise the shell would report its end.
}

# wait_for SECONDS COMMAND…: until it succeeds.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >"$folder/wait.log" 2>&1; do
        if [ $SECONDS -gt $deadline ]; then
            echo "not within time: $*" >&2
            tail -n 5 "$folder"/*.log >&2
            exit 3
        fi
        sleep 0.2
    done
}

patroni_config() {
    cat <<END
scope: market
name: server$1
etcd3: {hosts: $etcd}
restapi: {listen: "127.0.0.1:$(patroni_port "$1")", connect_address: "127.0.0.1:$(patroni_port "$1")"}
bootstrap:
  dcs:
    # The smallest values, in seconds, that newer versions accept. The primary has a lease,
    # which it renews every loop_wait; ttl after the last time, another server takes it.
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: true
    synchronous_mode_strict: $strict
    postgresql:
      use_pg_rewind: true
      use_slots: true
      # Each commit that waits for a missing standby keeps its connection.
      parameters: {max_connections: 500, wal_retrieve_retry_interval: 100ms}
  initdb: [{encoding: UTF8}, {locale: C}, data-checksums]
postgresql:
  listen: 127.0.0.1:$(postgres_port "$1")
  connect_address: 127.0.0.1:$(postgres_port "$1")
  data_dir: $folder/data$1
  bin_dir: $bin
  pgpass: $folder/pgpass$1
  parameters: {unix_socket_directories: $folder}
  # Only programs of this machine can connect, and only while this runs.
  pg_hba: [host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
  authentication: {superuser: {username: market}, replication: {username: replicator}}
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
END
}

haproxy_config() {
    cat <<END
global
    maxconn 500
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout check 1s
END
    for role in primary replica; do
        local port=$((base + 3))
        [ $role = primary ] || port=$((base + 4))
        cat <<END
listen $role
    bind 127.0.0.1:$port
    option httpchk OPTIONS /$role
    http-check expect status 200
    # Otherwise connections to a server that has lost its role would stay open.
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
END
        for n in 1 2 3; do
            echo "    server server$n 127.0.0.1:$(postgres_port $n) check port $(patroni_port $n)"
        done
    done
}

start_server() { start "patroni$1" patroni "$folder/patroni$1.yml"; }

# Ends a server's Patroni and PostgreSQL at once, as a machine without power does.
kill_server() {
    kill -KILL "$(cat "$folder/patroni$1.pid")" || true
    local postmaster
    postmaster=$(head -n 1 "$folder/data$1/postmaster.pid" 2>/dev/null) || return 0
    kill -STOP "$postmaster" || return 0 # it starts no children any more
    pkill -KILL -P "$postmaster" || true
    kill -KILL "$postmaster"
    touch "$folder/killed$1"
}

# Not heard while the lease of the last primary lasts, so it is said again and again.
force_primary() {
    patronictl -c "$folder/patroni$1.yml" failover market --candidate "server$1" --force || true
    sleep 3
    is "$1" primary
}

# Both standbys fail, and later the primary with its disk. Somebody starts the standbys, and
# makes the one that was synchronous the primary by force.
lose_all_but_a_standby() {
    local sync async
    sync=$(server_that_is sync)
    async=$((6 - $1 - sync))
    kill_server "$sync"
    kill_server "$async"
    sleep 10
    kill_server "$1"
    rm -rf "$folder/data$1"
    start_server "$sync"
    rm "$folder/killed$sync"
    wait_for 60 is "$sync" health
    wait_for 90 force_primary "$sync"
    # It may have more than the synchronous one had, and then it cannot follow.
    rm -rf "$folder/data$async"
    start_server "$async"
    rm "$folder/killed$async"
}

# Whether Patroni says of server $1 that it is one of $2: primary, replica, sync, async.
is() { curl -fs -m 1 -o /dev/null "http://127.0.0.1:$(patroni_port "$1")/$2"; }

server_that_is() {
    for n in 1 2 3; do
        if is $n "$1"; then
            echo $n
            return
        fi
    done
    return 1
}

is_whole() { server_that_is primary && server_that_is sync && server_that_is async; }

case ${1:-} in
with)
    shift
    folder=$(mktemp -d "${TMPDIR:-/tmp}/market-patroni-XXXXXX")
    export MARKET_PATRONI=$folder
    remove() {
        for pid in "$folder"/*.pid; do
            kill "$(cat "$pid")" 2>/dev/null || true
        done
        for n in 1 2 3; do
            postmaster=$(head -n 1 "$folder/data$n/postmaster.pid" 2>/dev/null) || continue
            kill -QUIT "$postmaster" 2>/dev/null || true
            timeout 10 tail --pid="$postmaster" -f /dev/null || true
        done
        for pid in "$folder"/*.pid; do
            timeout 10 tail --pid="$(cat "$pid")" -f /dev/null || true
        done
        rm -rf "$folder"
    }
    trap remove EXIT
    trap 'exit 130' INT TERM
    [ "$(id -u)" -ne 0 ] || chown postgres:postgres "$folder"
    start etcd etcd --name market --data-dir "$folder/etcd" \
        --listen-client-urls "http://$etcd" --advertise-client-urls "http://$etcd" \
        --listen-peer-urls "http://127.0.0.1:$((base + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((base + 1))" \
        --initial-cluster "market=http://127.0.0.1:$((base + 1))"
    wait_for 30 curl -fs "http://$etcd/health"
    for n in 1 2 3; do
        patroni_config $n >"$folder/patroni$n.yml"
        start_server $n
    done
    haproxy_config >"$folder/haproxy.cfg"
    start haproxy "$(PATH=$PATH:/usr/sbin command -v haproxy)" -f "$folder/haproxy.cfg"
    wait_for 120 is_whole
    user=postgres://market@127.0.0.1
    export PROXY_URL=$user:$((base + 3))/postgres
    SERVER_URLS=$(for n in 1 2 3; do echo "$user:$(postgres_port $n)/postgres"; done | paste -sd ,)
    export SERVER_URLS
    "$@"
    ;;
kill)
    folder=$MARKET_PATRONI
    primary=$(server_that_is primary)
    if [ "${DISASTER:-}" = "" ]; then
        kill_server "$primary"
    else
        lose_all_but_a_standby "$primary"
    fi
    ;;
rejoin)
    folder=$MARKET_PATRONI
    for n in 1 2 3; do
        [ ! -e "$folder/killed$n" ] || start_server $n
        rm -f "$folder/killed$n"
    done
    wait_for 120 is_whole
    ;;
*)
    sed -n '2,/^set /s/^# \{0,1\}//p' "$self"
    exit 2
    ;;
esac
