#!/usr/bin/env bash
# Kills primaries that Patroni looks after, under 32 writers, and counts what became of their
# orders. README.md explains what it shows.
#
#     ./failover.sh [KILLS]
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
export here KILLS=${1:-3}

# failover URL KILLS
failover() {
    "$here/../../../run.sh" run 16 failover --solution \
        --kills "$2" --url "$1" --command "$here/cluster.sh"
}
export -f failover

# The variables belong to the shell that the cluster starts.
# shellcheck disable=SC2016
"$here/cluster.sh" with bash -euc '
    echo "The service knows HAProxy:"
    failover "$PROXY_URL" "$KILLS"
    echo "The service knows the three servers:"
    failover "$SERVER_URLS" "$KILLS"'

export DISASTER=1
echo "Two failures, synchronous_mode_strict: true:"
# shellcheck disable=SC2016
STRICT=true "$here/cluster.sh" with bash -euc 'failover "$PROXY_URL" 1'

echo "Two failures, synchronous_mode_strict: false:"
# shellcheck disable=SC2016
if STRICT=false "$here/cluster.sh" with bash -euc 'failover "$PROXY_URL" 1'; then
    echo "without strict, nothing was lost: this program does not show what it should" >&2
    exit 1
fi
