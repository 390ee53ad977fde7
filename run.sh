#!/bin/sh
# The door to this project: builds the coach, which knows all verbs, and hands
# everything over to it. `./run.sh help` lists the verbs. Plain POSIX sh, so that
# `sh run.sh` works too. Exit code 3 means that there is no cargo or no build.
set -eu

# Settings of the caller's shell that change what our commands do.
unset CDPATH BASH_ENV
unset -f cd 2>/dev/null || :

say() { printf '%s\n' "$*" >&2; }

file=$0
while [ -h "$file" ]; do
    link=$(readlink "$file")
    case $link in
    /*) file=$link ;;
    *) file=$(dirname "$file")/$link ;;
    esac
done
root=$(cd "$(dirname "$file")" && pwd -P)

# A relative CARGO_TARGET_DIR means the folder that the caller is in; cargo is
# started in the project's folder.
case ${CARGO_TARGET_DIR:-/} in
/*) ;;
*) export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR" ;;
esac

# Passes cargo's messages on, without its lines of status unless the build is long.
news() {
    compiled=0
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        *' Blocking'*'package cache'* | *' Finished '*) ;; # the first for a moment only
        *' Blocking'*)
            say "another cargo is building (an editor's, or one in a second terminal): waiting for it"
            ;;
        *' Compiling '*' v'[0-9]*)
            compiled=$((compiled + 1))
            [ $compiled -ne 3 ] || say "building the coach; the first build takes a minute or two"
            [ $compiled -lt 3 ] || say "$line"
            ;;
        *) say "$line" ;;
        esac
    done
}

# `--workspace --bin` resolves the dependencies' features for the workspace as a
# whole, so that nothing is built a second time. Not `-q`: cargo would then wait
# for another cargo without a word. Cargo itself says where it has put the coach.
exe=
if command -v cargo >/dev/null 2>&1; then
    exe=$({
        cd "$root" && CARGO_TERM_QUIET=false CARGO_TERM_VERBOSE=false CARGO_TERM_PROGRESS_WHEN=never \
            cargo build --color never --workspace --bin coach \
            --message-format=json-render-diagnostics 2>&1 1>&3 | news
    } 3>&1 | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    cause="the coach could not be built: see above. It needs a recent Rust (rustup update stable),
a linker (apt install build-essential, xcode-select --install) and, the first time, a network"
else
    cause="cargo was not found: install Rust from https://rustup.rs, open a new terminal and try again"
fi

if [ -z "$exe" ]; then
    for folder in "$root"/steps/*/exercise; do
        # Git leaves the learner's own files in the folder of a step that was renamed.
        [ -f "$folder/Cargo.toml" ] && continue
        old=${folder#"$root"/steps/} && old=${old%/exercise}
        cause="steps/$old is left of an older version of the project, with files of yours; cargo cannot
build while it is there. Move it away: mv steps/$old ../$old-of-before"
    done
    # Where nothing builds any more, an older coach is better than none.
    exe=${CARGO_TARGET_DIR:-$root/target}/debug/coach
    case ${1:-} in reset | solve | restore | doctor | clean) ;; *) exe= ;; esac
    [ -x "$exe" ] || { say "$cause" && exit 3; }
    say "that was about building; $1 is done by the coach that was built before"
fi
exec "$exe" --root "$root" "$@"
