#!/usr/bin/env bash
# The one door to this project; `./run.sh help` lists what it does.
# Plain bash 3.2, so that it works with what macOS ships.
#
# Exit codes: 0 done or passed, 1 a check failed, 2 wrong usage,
# 3 the environment is at fault (no cargo, port taken, no service running).
set -euo pipefail

# Settings of the caller's shell that change what our commands print.
unset CDPATH GREP_OPTIONS
unset -f cd 2>/dev/null || true

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

shell_verbs="run test customers custorders ordertotal orderstotal ordersbet neworder seed bench help"
# What the coach knows; its own tests compare this list with its help.
coach_verbs="list checkout check watch hint diff reset solve restore trace doctor prefetch clean"

# A relative CARGO_TARGET_DIR means the folder that the caller is in; cargo is
# started in the project's folder.
if [ -n "${CARGO_TARGET_DIR:-}" ]; then
    case $CARGO_TARGET_DIR in
    /*) ;;
    *) export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR" ;;
    esac
fi

say() { printf '%s\n' "$*" >&2; }

usage_error() {
    say "$*"
    exit 2
}

usage() {
    cat <<'END'
usage: ./run.sh VERB [ARGUMENTS]

The service
  run [--release] [FLAGS]      build and start the finished service
                                 ./run.sh run --addr 127.0.0.1:8080
  run NN [--solution]          start a step's exercise, or its solution
                                 ./run.sh run 05 --solution
                                 ./run.sh run 01 tasks
  seed [--release] --customers N --orders N
                               add generated rows to the database
                                 ./run.sh seed --customers 1000000 --orders 100000
  bench [serve|stream|write|mix|learn]... [--quick] [--rounds N]
        [--out FOLDER]
                               measure the service beside what people would use
                               instead (release build); without a name all of it
                                 ./run.sh bench serve --quick

Ask the running service (prints the curl line, then its answer)
  customers                    all customers
                                 ./run.sh customers
  custorders N                 the orders of customer N
                                 ./run.sh custorders 1
  ordertotal N                 what order N costs
                                 ./run.sh ordertotal 1
  orderstotal [1,2,3]          what several orders cost, in the order asked
                                 ./run.sh orderstotal 3,1
  ordersbet [BEFORE AFTER]     orders placed between two dates, the later date first
                                 ./run.sh ordersbet 2024-03-22 2024-03-17
  neworder [JSON]              place an order
                                 ./run.sh neworder '{"customer_id":2,"items":[{"id":1,"quantity":3}]}'

The steps
  list                         the steps: what is done, minutes, what each teaches
                                 ./run.sh list
  checkout [NN]                make a step the current one and show its page
                                 ./run.sh checkout 05
  check [NN|NN.K] [--solution] [--brief] [--all] [--json] [FILTER]
                               check a step, or one task of it
                                 ./run.sh check 05
                                 ./run.sh check 05.2
  watch [NN] [--poll] [--all]  check a step at every save; keys for hint, diff, next step
                                 ./run.sh watch 05
  hint [NN|NN.K] [more]        help with a task, a little more each time
                                 ./run.sh hint 05.2 more
  diff [NN] [--stat]           from your exercise to the solution, as a patch
                                 ./run.sh diff 05
  diff NN MM                   from one step's solution to another's
                                 ./run.sh diff 04 05
  reset NN                     the exercise as it was published (yours is saved first)
                                 ./run.sh reset 05
  solve NN                     the solution in place of your exercise (saved first)
                                 ./run.sh solve 05
  restore [BACKUP]             bring back what was saved, or list it
                                 ./run.sh restore
  trace NN [PROGRAM] [--solution] [--svg FILE]
                               run a step's program and draw what ran when
                                 ./run.sh trace 01 tasks

The project
  test [PART...]               every check of the project, as CI runs them, or some
                               parts: format, clippy, spelling, tests, tutorial
                                 ./run.sh test
                                 ./run.sh test format clippy
  doctor                       what this machine lacks, and what to do about it
                                 ./run.sh doctor
  prefetch [--no-build]        get everything while there is a network
                                 ./run.sh prefetch
  clean                        remove what was built; your work stays
                                 ./run.sh clean
  help [VERB]                  this text, or one verb's
                                 ./run.sh help check

Environment: MARKETSVC_ADDR (default 127.0.0.1:9090) and DATABASE_URL (default
sqlite://marketdb.sqlite; a relative path starts in the project's folder).
Exit codes: 0 passed, 1 a check failed, 2 wrong usage, 3 the environment is at fault.
END
}

need_cargo() {
    command -v cargo >/dev/null 2>&1 && return
    say "cargo was not found: install Rust from https://rustup.rs, open a new terminal and try again"
    exit 3
}

# build BIN [--release]: builds one program and leaves its path in $exe.
#
# `--workspace --bin` resolves the dependencies' features for the workspace as
# a whole. With `-p` cargo would resolve them for that package alone and, where
# the result differs, build the same dependencies a second time.
build() {
    local bin=$1 messages colour=never
    shift
    need_cargo
    if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then colour=always; fi
    # Not `-q`: cargo would then wait for another cargo without a word.
    messages=$(cd "$root" && {
        CARGO_TERM_QUIET=false CARGO_TERM_VERBOSE=false CARGO_TERM_PROGRESS_WHEN=never \
            cargo build --color $colour --workspace --bin "$bin" "$@" \
            --message-format=json-render-diagnostics 2>&1 1>&3 | concerns_us "$bin"
    } 3>&1) || {
        left_over
        return 1
    }
    # Cargo names the file, so that no setting of the target folder needs to be guessed.
    exe=$(printf '%s\n' "$messages" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
}

# A newer version may have renamed a step while a file of the learner's own was in
# its folder. Git leaves that there, and cargo takes it for a package.
left_over() {
    local folder
    for folder in "$root"/steps/*/exercise; do
        [ -f "$folder/Cargo.toml" ] && continue
        folder=${folder#"$root"/}
        folder=${folder%/exercise}
        say "$folder is left of an older version of the project, with files of yours; cargo cannot"
        say "build while it is there. Move it away: mv $folder ../${folder##*/}-of-before"
    done
}

# concerns_us BIN: passes cargo's messages on to stderr, without its lines of
# status unless the build is a long one.
concerns_us() {
    local line compiled=0
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        # Held for a moment only.
        *' Blocking'*'package cache'*) ;;
        *' Blocking'*'waiting for file lock'*)
            say "another cargo is building (an editor's, or one in a second terminal): waiting for it"
            ;;
        *' Compiling'*' v'[0-9]*)
            compiled=$((compiled + 1))
            [ $compiled -ne 3 ] || say "building $1; the first build takes a minute or two"
            [ $compiled -lt 3 ] || say "$line"
            ;;
        *' Finished'*' profile '* | *') generated '*' warning'*) ;;
        *) say "$line" ;;
        esac
    done
}

# step_folder TEXT: sets $slug ("05-engine") for 5, 05, 05-engine, steps/05-engine/exercise.
step_folder() {
    local text=${1%/} number folder
    text=${text#"$root"/}
    text=${text#./}
    text=${text#steps/}
    text=${text%/exercise}
    text=${text%/solution}
    slug=
    for folder in "$root"/steps/[0-9]*-*/; do
        folder=${folder%/}
        folder=${folder##*/}
        number=${folder%%-*}
        # 10# because 08 would be a malformed octal number
        if [ "$text" = "$folder" ] || [ "$text" = "$number" ] ||
            { is_number "$text" && [ "$((10#$text))" -eq "$((10#$number))" ]; }; then
            slug=$folder
            return
        fi
    done
    say "there is no step \"$1\"; the steps are:"
    for folder in "$root"/steps/[0-9]*-*/; do
        folder=${folder%/}
        say "  ${folder##*/}"
    done
    exit 2
}

# At most nine digits, so that bash can compute with it.
is_number() {
    case $1 in
    '' | *[!0-9]* | ??????????*) return 1 ;;
    esac
}

run_service() {
    local step='' side=exercise release='' bin=marketsvc slug exe
    case ${1:-} in
    '' | -*) ;;
    *)
        step=$1
        shift
        ;;
    esac
    local -a rest
    rest=()
    while [ $# -gt 0 ]; do
        case $1 in
        --release) release=--release ;;
        --solution) side=solution ;;
        --)
            shift
            rest+=("$@")
            break
            ;;
        *) rest+=("$1") ;;
        esac
        shift
    done
    if [ -n "$step" ]; then
        step_folder "$step"
        bin="step${slug%%-*}-$side"
        # A step's service has no flags and would not look at any. A step without
        # a service has programs, whose names its own binary knows.
        if [ ${#rest[@]} -gt 0 ] && [ -f "$root/steps/$slug/solution/src/server.rs" ]; then
            say "run ${slug%%-*} takes only --solution, not $(quoted "${rest[0]}");"
            usage_error "the address is MARKETSVC_ADDR, the database DATABASE_URL: MARKETSVC_ADDR=127.0.0.1:9191 ./run.sh run ${slug%%-*}"
        fi
    elif [ "$side" = solution ]; then
        usage_error "--solution needs a step: ./run.sh run 05 --solution"
    fi
    # shellcheck disable=SC2086 # $release is one word or none
    if ! build "$bin" $release; then
        [ -n "$step" ] && exit 1
        exit 3
    fi
    cd "$root"
    # The service takes this shell's place: Ctrl-C and kill reach it directly,
    # its exit code is ours, and nothing can be left behind.
    exec "$exe" ${rest[@]+"${rest[@]}"}
}

# The work is done by SQLite, so an optimised build is worth its minute only for
# tens of millions of rows.
seed_database() {
    local release='' exe
    if [ "${1:-}" = --release ]; then
        release=--release
        shift
    fi
    # shellcheck disable=SC2086 # one word or none
    build marketsvc $release || exit 3
    cd "$root"
    exec "$exe" seed "$@"
}

bench() {
    local exe
    # Those that take part as programs of their own lie beside it.
    build bench --release --bin marketsvc --bin bench-hello --bin bench-axum-rusqlite || exit 3
    exec "${exe%/*}/bench" "$@"
}

# Verbs that help where nothing builds any more, so that an older coach is
# better than none.
rescue_verbs="reset solve restore doctor clean"

# Where cargo builds: its configuration may name any folder.
target_folder() {
    local folder
    folder=$(cd "$root" && cargo metadata --no-deps --offline --format-version 1 2>/dev/null |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p') || true
    printf '%s' "${folder:-${CARGO_TARGET_DIR:-$root/target}}"
}

coach() {
    local exe built
    if [ "$1" = clean ] && ! [ -d "$(target_folder)" ]; then
        echo "nothing to clean: nothing has been built"
        exit 0
    fi
    if ! command -v cargo >/dev/null 2>&1 || ! build coach; then
        built=$(target_folder)/debug/coach
        if ! is_one_of "$1" "$rescue_verbs" || ! [ -x "$built" ]; then
            if [ "$1" = doctor ]; then shell_doctor; fi
            need_cargo
            exit 3
        fi
        say "that was about building; $1 is done by the coach that was built before"
        exe=$built
    fi
    # The folder is left as it is: the coach takes a step from it.
    exec "$exe" --root "$root" "$@"
}

# ---- doctor, where the coach cannot be built

# finding STATE CHECK TEXT [ADVICE]: the coach's table, without the coach.
finding() {
    printf '%-4s  %-14s  %s\n' "$1" "$2" "$3"
    if [ -n "${4:-}" ]; then printf '%-4s  %-14s  -> %s\n' '' '' "$4"; fi
}

# at_least NEEDED VERSION: 1.94 and 1.95.0; one that cannot be read is too old.
at_least() {
    awk -v needed="$1" -v found="$2" 'BEGIN {
        split(needed, n, "."); split(found, f, ".")
        exit !(f[1] + 0 > n[1] + 0 || (f[1] + 0 == n[1] + 0 && f[2] + 0 >= n[2] + 0))
    }'
}

# What can be looked at with a shell alone; always ends with 3, since the coach
# is what did not build.
shell_doctor() {
    local program needed found address folder
    local rust="install Rust from https://rustup.rs and open a new terminal"
    echo
    for program in cargo rustc; do
        if ! command -v $program >/dev/null 2>&1; then
            finding FIX $program "$program was not found" "$rust"
        elif ! found=$($program --version 2>&1); then
            finding FIX $program "${found%%$'\n'*}" "$rust"
        else
            needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
            program=${found%% *}
            found=${found#* }
            if [ "$program" = rustc ] && ! at_least "${needed:-0}" "${found%% *}"; then
                finding FIX rustc "$found; $needed or later is needed" "rustup update stable"
            else
                finding ok "$program" "$found"
            fi
        fi
    done
    if command -v "${CC:-cc}" >/dev/null 2>&1; then
        finding ok "C compiler" "${CC:-cc} is there"
    else
        finding FIX "C compiler" "${CC:-cc} was not found" \
            "apt install build-essential, dnf install gcc, on macOS xcode-select --install"
    fi
    if command -v curl >/dev/null 2>&1; then
        finding ok curl "is there"
    else
        finding FIX curl "curl was not found" "apt install curl, or brew install curl"
    fi
    address=${MARKETSVC_ADDR:-127.0.0.1:9090}
    # Whoever listens lets us connect; bash does that by itself.
    if (exec 3<>"/dev/tcp/${address%:*}/${address##*:}") 2>/dev/null; then
        finding FIX port "$address is taken" "end who listens there, or set MARKETSVC_ADDR=127.0.0.1:9191"
    else
        finding ok port "nobody listens at $address"
    fi
    folder=${CARGO_TARGET_DIR:-$root/target}
    # Where it will be made, if it is not there yet.
    while ! [ -e "$folder" ]; do folder=$(dirname "$folder"); done
    for folder in "$root" "$folder"; do
        if [ -d "$folder" ] && [ -w "$folder" ]; then
            finding ok "write access" "$folder"
        else
            finding FIX "write access" "$folder cannot be written to" \
                "make it yours (chown -R), or set CARGO_TARGET_DIR to a folder that is"
        fi
    done
    printf '\nthe coach, which looks at more, could not be built: see above\n'
    exit 3
}

# ---- the curl verbs

# Where the service listens, as a client has to write it.
service_address() {
    local address=${MARKETSVC_ADDR:-127.0.0.1:9090}
    case $address in
    *:0) usage_error "MARKETSVC_ADDR is $address: with port 0 the system picks the port; set MARKETSVC_ADDR to the address that the service printed" ;;
    *:*) ;;
    *) usage_error "MARKETSVC_ADDR is $address: it needs a host and a port, like 127.0.0.1:9090" ;;
    esac
    case $address in
    0.0.0.0:*) address="127.0.0.1:${address##*:}" ;;
    '[::]':*) address="[::1]:${address##*:}" ;;
    esac
    printf '%s' "$address"
}

# quoted WORD: as one would type it in a shell.
quoted() {
    case $1 in
    *[!A-Za-z0-9_./:=,%-]*)
        local text=$1 out=
        while [ "${text#*\'}" != "$text" ]; do
            out="$out${text%%\'*}'\\''"
            text=${text#*\'}
        done
        printf "'%s'" "$out$text"
        ;;
    *) printf '%s' "$1" ;;
    esac
}

# ask SECONDS PATH [CURL OPTIONS…]
# The curl line goes to stderr, so that the answer alone reaches a pipe. What
# the line leaves out is only the time limit, the proxy rule, the status, and -q:
# curl then does not read the caller's ~/.curlrc.
ask() {
    local limit=$1 path=$2 address line word report status code
    shift 2
    address=$(service_address)
    command -v curl >/dev/null 2>&1 || {
        say "curl was not found: install it (apt install curl, brew install curl)"
        exit 3
    }
    line="curl -sS"
    for word in "$@" "http://$address$path"; do line="$line $(quoted "$word")"; done
    say "$line"
    exec 3>&1
    status=0
    # The body goes straight to our stdout (fd 3); curl's complaints and, on the
    # last line, the HTTP status are collected.
    report=$({ curl -q -sS --noproxy '*' --globoff --max-time "$limit" -w '%{stderr}\n%{http_code}' \
        "$@" "http://$address$path" 2>&1 1>&3; }) || status=$?
    code=${report##*$'\n'}
    report=${report%$'\n'*}
    case $status in
    0) ;;
    # The reader closed the pipe (head, less): it had enough.
    23) exit 0 ;;
    6 | 7)
        say "nothing answers at $address: start the service first, in another terminal: ./run.sh run"
        exit 3
        ;;
    28)
        say "no complete answer from $address within $limit s"
        exit 3
        ;;
    *)
        echo
        say "$report"
        exit 1
        ;;
    esac
    echo
    case $code in
    [45]*) say "HTTP $code" ;;
    esac
}

one_number() {
    [ $# -eq 2 ] || usage_error "usage: ./run.sh $1 N, for example ./run.sh $1 1"
}

# ---- test

# part TITLE COMMAND…: runs it, shows its output, keeps it in $log.
part() {
    local title=$1
    shift
    part_title=$title
    part_start=$SECONDS
    printf '\n== %s (after %d s)\n' "$title" "$((SECONDS - test_start))"
    part_status=0
    # stdin is closed off so that nothing can wait for a key
    (cd "$root" && "$@") </dev/null 2>&1 | tee "$log" || part_status=${PIPESTATUS[0]}
}

# part_done PASSED FAILED: a part that ended badly counts as a failure even if
# it counted none itself.
part_done() {
    local passed=$1 failed=$2 verdict=ok
    if [ "$part_status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    [ "$failed" -eq 0 ] || verdict=FAILED
    printf -- '-- %s: %s, %d s\n' "$part_title" "$verdict" "$((SECONDS - part_start))"
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
}

# yes_or_no: for a part that is one check.
yes_or_no() {
    if [ "$part_status" -eq 0 ]; then part_done 1 0; else part_done 0 1; fi
}

# sum PATTERN: adds up "N passed" and "N failed" over the lines that begin so.
sum() {
    awk -v start="$1" '
        index($0, start) == 1 {
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed[;,.]?$/) passed += $(i - 1)
                if ($i ~ /^failed[;,.]?$/) failed += $(i - 1)
            }
        }
        END { print passed + 0, failed + 0 }' "$log"
}

verify_all() {
    build verify && "$exe" all
}

# The exit code of a part that could not run.
not_run=77

# All words of all files. At home the program may be missing, which is said; the
# gate has it (.ci/run).
spelling() {
    local settings=tools/verify/typos.toml
    if ! command -v typos >/dev/null 2>&1; then
        if [ -n "${CI:-}" ]; then
            say "typos was not found; .ci/run installs it"
            return 1
        fi
        say "typos was not found, so nothing was checked: pipx install typos, brew install"
        say "typos-cli or cargo install --locked typos-cli"
        return $not_run
    fi
    typos --version
    # Exceptions that swallow everything would not be noticed otherwise.
    if printf 'rec%s\n' ieve | typos --config "$settings" - >/dev/null; then
        say "typos accepts a misspelt word: look at $settings"
        return 1
    fi
    typos --config "$settings" --format brief
}

test_all() {
    local log exe counts name known="format clippy spelling tests tutorial"
    for name in "$@"; do
        is_one_of "$name" "$known" ||
            usage_error "there is no part \"$name\"; ./run.sh test takes some of: $known"
    done
    [ $# -gt 0 ] || set -- $known
    local wanted="$*"
    need_cargo
    log=$(mktemp "${TMPDIR:-/tmp}/marketsvc-test.XXXXXX")
    # shellcheck disable=SC2064 # the name is known now and local
    trap "rm -f '$log'" EXIT
    test_start=$SECONDS
    total_passed=0
    total_failed=0
    parts_not_run=

    if is_one_of format "$wanted"; then
        part "format" cargo fmt --all --check
        yes_or_no
    fi
    if is_one_of clippy "$wanted"; then
        part "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
        yes_or_no
    fi
    if is_one_of spelling "$wanted"; then
        part "spelling" spelling
        if [ "$part_status" -eq $not_run ]; then
            parts_not_run="$parts_not_run spelling"
            printf -- '-- spelling: not run\n'
        else
            yes_or_no
        fi
    fi
    if is_one_of tests "$wanted"; then
        # The steps are left out here: exercises are red by design, and verify
        # runs the solutions' checks.
        part "tests" cargo test --workspace --locked --no-fail-fast \
            --exclude 'step*-exercise' --exclude 'step*-solution'
        counts=$(sum "test result:")
        # shellcheck disable=SC2086 # two numbers
        part_done $counts
    fi
    if is_one_of tutorial "$wanted"; then
        part "the tutorial" verify_all
        if grep -q 'diagrams: not run' "$log"; then parts_not_run="$parts_not_run diagrams"; fi
        if grep -q '^verify: [0-9]* passed, [0-9]* failed' "$log"; then
            counts=$(sum "verify:")
            # shellcheck disable=SC2086
            part_done $counts
        else
            # No verdict is not a good one.
            part_done 0 1
        fi
    fi

    printf '\n%d s in all\n' "$((SECONDS - test_start))"
    [ -z "$parts_not_run" ] || printf 'not run:%s\n' "$parts_not_run"
    printf '%d passed, %d failed\n' "$total_passed" "$total_failed"
    [ "$total_failed" -eq 0 ] || exit 1
}

# ---- help and misspelt verbs

# nearest WORD: the verb with the fewest edits, if it is near enough.
nearest() {
    # shellcheck disable=SC2086 # one word per verb
    printf '%s\n' $shell_verbs $coach_verbs | awk -v word="$1" '
        function least(a, b, c) { return a < b ? (a < c ? a : c) : (b < c ? b : c) }
        function distance(s, t,    i, j, d) {
            for (i = 0; i <= length(s); i++) d[i, 0] = i
            for (j = 0; j <= length(t); j++) d[0, j] = j
            for (i = 1; i <= length(s); i++)
                for (j = 1; j <= length(t); j++)
                    d[i, j] = least(d[i - 1, j] + 1, d[i, j - 1] + 1,
                        d[i - 1, j - 1] + (substr(s, i, 1) != substr(t, j, 1)))
            return d[length(s), length(t)]
        }
        length(word) <= 40 {
            n = distance(word, $1)
            if (best == "" || n < fewest) { best = $1; fewest = n }
        }
        END { if (best != "" && fewest <= 3 && fewest < length(best)) print best }'
}

is_one_of() {
    case " $2 " in
    *" $1 "*) ;;
    *) return 1 ;;
    esac
}

help_for() {
    if is_one_of "$1" "$coach_verbs"; then coach help "$@"; fi
    if is_one_of "$1" "$shell_verbs"; then
        # The entry is the line of the verb and the lines indented further.
        usage | awk -v verb="$1" '
            /^  [a-z]/ { shown = ($1 == verb) }
            /^[^ ]/ || /^$/ { shown = 0 }
            shown'
        return
    fi
    unknown_verb "$1"
}

unknown_verb() {
    local guess
    guess=$(nearest "$1")
    if [ -n "$guess" ]; then
        usage_error "there is no verb \"$1\"; did you mean \"$guess\"? ./run.sh help lists all"
    fi
    usage_error "there is no verb \"$1\"; ./run.sh help lists all"
}

verb=${1:-help}
[ $# -eq 0 ] || shift
case $verb in
run) run_service "$@" ;;
test) test_all "$@" ;;
seed) seed_database "$@" ;;
bench) bench "$@" ;;
customers)
    [ $# -eq 0 ] || usage_error "usage: ./run.sh customers"
    ask 600 /api/customers
    ;;
custorders)
    one_number custorders "$@"
    ask 600 "/api/orders/$1"
    ;;
ordertotal)
    one_number ordertotal "$@"
    ask 30 "/api/order_total/$1"
    ;;
orderstotal)
    # 1,2,3 and [1, 2, 3] are the same
    ids="${*:-1,2,3}"
    ids=${ids//[\[\] ]/}
    ask 30 "/api/orders_total?orders=$ids"
    ;;
ordersbet)
    case $# in
    0) set -- '2024-03-22 00:00:00' '2024-03-17 00:00:00' ;;
    2) ;;
    *) usage_error "usage: ./run.sh ordersbet BEFORE AFTER, for example ./run.sh ordersbet 2024-03-22 '2024-03-17 12:00:00'" ;;
    esac
    ask 600 "/api/orders_between_dates/${1// /%20}/${2// /%20}"
    ;;
neworder)
    [ $# -le 1 ] || usage_error "usage: ./run.sh neworder JSON (in single quotes)"
    # Customer 2, so that an order stored under the first customer is noticed.
    order='{"customer_id":2,"items":[{"id":2,"quantity":4},{"id":3,"quantity":6}]}'
    ask 30 /api/add_new_order -H 'Content-Type: application/json' -d "${1:-$order}"
    ;;
help | -h | --help)
    if [ $# -eq 0 ]; then usage; else help_for "$@"; fi
    ;;
*)
    if is_one_of "$verb" "$coach_verbs"; then coach "$verb" "$@"; fi
    unknown_verb "$verb"
    ;;
esac
