#!/usr/bin/env bash
# Records check.svg, the recording in the README: a check, a hint, the code, and the check
# again, in a copy of the project. Needs python3 with venv, npm and a network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ "${1-}" != scene ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet asciinema==2.4.0
    npm install --prefix "$work" --silent --no-audit --no-fund svg-term-cli@2.1.1
    git clone --quiet "$root" "$work/market"
    cd "$work/market"
    export CARGO_TARGET_DIR=$root/target
    # So that the recording does not show a first build.
    ./run.sh check 02 >/dev/null 2>&1 || true
    "$work/venv/bin/asciinema" rec --quiet --cols 112 --rows 24 --idle-time-limit 2 \
        --command "$root/book/pictures/record.sh scene" "$work/check.cast"
    "$work/node_modules/.bin/svg-term" --in "$work/check.cast" --out "$root/book/pictures/check.svg" \
        --window --no-cursor --width 112 --height 24
    exit
fi

# type LINE: as if somebody typed it, then runs it.
type() {
    printf '\033[1;32m$\033[0m '
    for ((i = 0; i < ${#1}; i++)); do
        printf '%s' "${1:i:1}"
        sleep 0.04
    done
    sleep 0.4
    echo
    eval "$1" || true
    sleep "$2"
}

clear
type './run.sh check 02.1 --brief' 2
clear
type './run.sh hint' 2
# Our solution of the task, in place of the learner's.
base=steps/02-raw-queries/exercise/src/db/base.rs
cp "${base/exercise/solution}" "$base"
clear
type '# … you write the function …' 1
type './run.sh check 02.1' 3
