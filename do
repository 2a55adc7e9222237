#!/bin/sh
# The developer's entry point: `./do` lists the verbs. Each verb installs the Debian packages that it
# needs (scripts/packages) when they are missing, says so, and touches apt only then; everything it
# makes lies in build*/ and data/. A verb that fails ends with its reason and a status that is not 0.
set -eu
cd "$(dirname "$0")"

verbs() {
    cat <<'EOF'
usage: ./do VERB [ARGUMENTS]

  build               the release program, at build/microcloud
  run [OPTIONS]       build, then run one node here; its data are in ./data unless --data DIR says
                      otherwise; OPTIONS are those of `microcloud run`
  test [STAGE...]     everything that must hold; `./do test --list` names the stages
  bench [NAME...]     the benchmarks, each against its peers in the same run
  demo [--script]     three boxes, plugs and a thermometer on this machine; kills the one that leads
                      and shows what was kept
  torture [SECONDS]   faults at random on three boxes under clients that account for everything
                      (default 60 s); a second number is the seed, and
                      behind it --json FILE writes a summary
  fuzz [SECONDS]      all fuzz targets, the time split among them (default 60)
  coverage            lines that the tests reach; fails where too few
  format              clang-format over the sources
  package             a Debian package, at build-package/
EOF
}

say() {
    printf '==> %s\n' "$*" >&2
}

fail() {
    printf 'do: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root and there is no sudo: $*"
    fi
}

# Prints "PACKAGE FLAG" for each package of the given groups that is not there as it should be.
missing_packages() {
    awk -v groups=" $* " '
        { sub(/#.*/, "") }
        NF >= 2 && index(groups, " " $1 " ") {
            if ($3 == "unless" && system("command -v " $4 " >/dev/null") == 0) next
            print $2, ($3 == "from-backports" ? $3 : "main")
        }' scripts/packages | sort -u | {
        wanted=$(cat)
        # Not installed makes dpkg-query fail; what it prints is what counts.
        # shellcheck disable=SC2046
        installed=$(dpkg-query -W -f='${db:Status-Abbrev}|${Package}|${Version}\n' \
            $(printf '%s\n' "$wanted" | cut -d' ' -f1) 2>/dev/null || true)
        printf '%s\n' "$wanted" | while read -r package flag; do
            version=$(printf '%s\n' "$installed" | sed -n "s/^ii *|$package|//p" | head -n 1)
            [ -n "$package" ] || continue
            [ -n "$version" ] || { printf '%s %s\n' "$package" "$flag"; continue; }
            if [ "$package" = libraft-dev ] && dpkg --compare-versions "$version" lt 0.22; then
                printf '%s %s\n' "$package" "$flag"
            fi
        done
    }
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 \
        -o DPkg::Lock::Timeout=300 "$@" >&2
}

# Debian 12 has the right libraft in its backports only.
add_backports() {
    if apt-cache policy libraft-dev | grep -q ' 0\.2[2-9]'; then
        return
    fi
    list=/etc/apt/sources.list.d/microcloud-backports.list
    say "adding $list: Debian 12 has libraft 0.22 in its backports only"
    printf '%s\n' '# For libraft-dev, added by the ./do of microCloud.' \
        'deb http://deb.debian.org/debian bookworm-backports main' | as_root tee "$list" >/dev/null
    apt_get update
}

# Services that come with packages (mosquitto, avahi-daemon) are peers here: they must not start.
install_packages() {
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || fail "this is no Debian; needed here: $missing"
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME-}")
    main=$(printf '%s\n' "$missing" | sed -n 's/ main$//p' | tr '\n' ' ')
    backports=$(printf '%s\n' "$missing" | sed -n 's/ from-backports$//p' | tr '\n' ' ')
    if [ "$codename" != bookworm ]; then
        main="$main $backports"
        backports=
    fi
    # shellcheck disable=SC2086
    say "installing with apt:" $main $backports
    apt_get update
    policy=/usr/sbin/policy-rc.d
    made_policy=
    if [ ! -e "$policy" ]; then
        made_policy=yes
        trap 'as_root rm -f "$policy"' EXIT
        trap 'exit 1' INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    # shellcheck disable=SC2086
    if [ -n "${main# }" ]; then
        apt_get install --no-install-recommends $main
    fi
    if [ -n "$backports" ]; then
        add_backports
        # shellcheck disable=SC2086
        apt_get install --no-install-recommends -t bookworm-backports $backports
    fi
    if [ -n "$made_policy" ]; then
        as_root rm -f "$policy"
        trap - EXIT INT TERM HUP
        # Nor may they start with the machine.
        for service in mosquitto nats-server keepalived avahi-daemon; do
            case " $main " in
                *" $service "*)
                    if [ -d /run/systemd/system ]; then
                        as_root systemctl disable --quiet "$service" || true
                    fi ;;
            esac
        done
    fi
}

# The release program; the build directory is set up again only when the options change.
build() {
    install_packages build
    options='--buildtype=release -Db_lto=true -Dtests=disabled --prefix=/usr'
    if [ ! -f build/build.ninja ] || [ "$(cat build/options 2>/dev/null)" != "$options" ]; then
        rm -rf build
        # shellcheck disable=SC2086
        CC=gcc meson setup $options build >&2
        printf '%s\n' "$options" >build/options
    fi
    ninja -C build >&2
}

run() {
    build
    for argument; do
        case $argument in
            --data | --data=*) exec build/microcloud run "$@" ;;
            -h | --help) exec build/microcloud run --help ;;
        esac
    done
    say "data directory: $PWD/data"
    exec build/microcloud run --data "$PWD/data" "$@"
}

test_all() {
    install_packages build check
    case ${1-} in
        --list) exec /usr/bin/python3 scripts/stages --list ;;
    esac
    install_packages build check test
    exec /usr/bin/python3 scripts/stages "$@"
}

bench() {
    build
    install_packages bench
    case ${1-} in
        cluster)
            shift
            install_packages bench test
            as_root bench/cluster --program build/microcloud "$@"
            return ;;
    esac
    exec bench/run "$@"
}

demo() {
    build
    install_packages test
    as_root /usr/bin/python3 tests/lab/demo.py build/microcloud "$@"
}

torture() {
    case ${1-60}${2-1} in
        *[!0-9]* | '') fail "torture: SECONDS and SEED must be whole numbers, got '$*'" ;;
    esac
    build
    install_packages test
    as_root /usr/bin/python3 tests/lab/torture.py build/microcloud "$@"
}

fuzz() {
    case ${1-60} in
        *[!0-9]* | '') fail "fuzz: SECONDS must be a whole number, got '$1'" ;;
    esac
    install_packages build fuzz
    exec /usr/bin/python3 scripts/stages --fuzz-seconds "${1-60}" fuzz
}

coverage() {
    install_packages build check test coverage
    exec /usr/bin/python3 scripts/stages coverage
}

format() {
    install_packages check
    git ls-files --cached --others --exclude-standard '*.c' '*.h' | while read -r file; do
        [ ! -f "$file" ] || printf '%s\n' "$file"
    done | xargs clang-format -i
}

package() {
    build
    install_packages package
    exec packaging/build-deb "$@"
}

verb=${1-}
[ $# -eq 0 ] || shift
case $verb in
    '') verbs ;;
    -h | --help | help) verbs ;;
    test) test_all "$@" ;;
    build | run | bench | demo | torture | fuzz | coverage | format | package) "$verb" "$@" ;;
    *) verbs >&2; fail "unknown verb '$verb'" ;;
esac
