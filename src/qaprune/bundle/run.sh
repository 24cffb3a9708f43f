#!/bin/sh
# Runs a bundle on a host without network:  sh run.sh [STEP] [OPTIONS OF SNAKEMAKE]
#
#   check     digests of the parts
#   unpack    check, then unpack into WORK
#   install   unpack, then install the wheels that this host lacks, in a virtual environment in WORK
#   doctor    install, then say what can be measured on this host
#   run       install, then run the config; this is what happens without a STEP
#
# WORK=FOLDER   where everything goes (default: `work` beside this file)
# PYTHON=...    the Python that has torch (default: python3)
#
# Exit codes are those of the command that runs; 1 for anything wrong with the bundle or the host.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

fail() {
    printf 'run.sh: error: %s\n' "$*" >&2
    exit 1
}

say() {
    printf 'run.sh: %s\n' "$*" >&2
}

for name in SHA256SUMS bundle.env; do
    [ -f "$here/$name" ] || fail "$name: missing beside run.sh; copy it again"
done
# shellcheck source=/dev/null
. "$here/bundle.env"

python=${PYTHON:-python3}
work=${WORK:-$here/work}
case $work in /*) ;; *) work=$PWD/$work ;; esac
tree=$work/qaprune
venv=$work/venv

check() {
    command -v sha256sum >/dev/null 2>&1 || fail "sha256sum: not found on this host"
    while read -r digest name; do
        [ -f "$here/$name" ] || fail "$name: missing; copy it again"
        found=$(sha256sum <"$here/$name")
        [ "${found%% *}" = "$digest" ] || fail "$name: wrong digest, damaged on its way; copy it again"
    done <"$here/SHA256SUMS"
    say "digests are right"
}

have_python() {
    command -v "$python" >/dev/null 2>&1 || fail "$python: not found; set PYTHON to a Python $HOST_PYTHON"
}

# Whether this host is the kind that the bundle was made for. It must run on any Python, to say so.
host() {
    have_python
    # shellcheck disable=SC2086
    "$python" - "$python" "$HOST_PYTHON" "$HOST_MACHINE" "$HOST_GLIBC" $HOST_NEEDS <<'PYTHON'
import os
import platform
import re
import sys

name, wanted, machine, glibc = sys.argv[1:5]


def fail(line):
    sys.exit("run.sh: error: " + line)


def number(text):
    return [int(digits) for digits in re.findall(r"\d+", re.match(r"[\d.]*", text).group())]


found = "%d.%d" % sys.version_info[:2]
if found != wanted:
    kind = "too old" if number(found) < number(wanted) else "too new"
    again = ", or pack it again with --python-version " + found if number(found) >= [3, 11] else ""
    fail("%s is Python %s, %s for this bundle: set PYTHON to a Python %s%s" % (name, found, kind, wanted, again))
if (platform.system(), platform.machine()) != ("Linux", machine):
    fail("this host is %s %s, the bundle is for Linux %s" % (platform.system(), platform.machine(), machine))
try:
    library = os.confstr("CS_GNU_LIBC_VERSION")
except (ValueError, OSError):
    library = "no glibc"
if not library.startswith("glibc ") or number(library[6:]) < number(glibc):
    fail("this host has %s, the bundle is for glibc %s or newer: pack it again with an older --platform"
         % (library, glibc))

from importlib import metadata

for need in sys.argv[5:]:
    package, _, least = need.partition(">=")
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        fail("no %s in %s, and the bundle was packed without it: set PYTHON to one that has it" % (package, name))
    if number(version) < number(least):
        fail("%s %s in %s is too old, expected %s or newer" % (package, version, name, least))
PYTHON
}

parts() {
    while read -r _ name; do
        case $name in part-*) cat "$here/$name" ;; esac
    done <"$here/SHA256SUMS"
}

# holds FILE TEXT
holds() {
    [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}

unpack() {
    if holds "$tree/bundled/archive.sha256" "$ARCHIVE_SHA256"; then
        return
    fi
    [ ! -e "$tree" ] || fail "$tree: holds something else than this bundle; remove it, or set WORK=FOLDER"
    check
    have_python
    mkdir -p "$work"
    draft=$work/.qaprune-$$
    trap 'rm -rf "$draft"' EXIT
    trap 'exit 130' INT TERM HUP
    # tar and gzip may be missing where Python is not.
    unpacker='
import hashlib, sys, tarfile, zlib

folder, digest = sys.argv[1:]


class Hashed:
    def __init__(self):
        self.sum = hashlib.sha256()

    def read(self, size):
        data = sys.stdin.buffer.read(size)
        self.sum.update(data)
        return data


stream = Hashed()
safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
try:
    with tarfile.open(fileobj=stream, mode="r|gz") as archive:
        archive.extractall(folder, **safe)
    while stream.read(1 << 20):
        pass
except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
    sys.exit("run.sh: error: %s: cannot be unpacked (%s)" % (folder, error))
if stream.sum.hexdigest() != digest:
    sys.exit("run.sh: error: the parts are not those of this bundle.env; copy all files of the bundle again")
'
    parts | "$python" -c "$unpacker" "$draft" "$ARCHIVE_SHA256"
    printf '%s\n' "$ARCHIVE_SHA256" >"$draft/bundled/archive.sha256"
    mv "$draft" "$tree"
    trap - EXIT INT TERM HUP
    say "unpacked into $tree"
}

# No settings of the host's own pip: a constraint or an index of it would ask for what is not here.
pip_install() {
    for wheel in "$tree"/bundled/wheels/pip-*.whl; do
        "$venv/bin/python" "$wheel/pip" --isolated --quiet --disable-pip-version-check install --no-index \
            --find-links "$tree/bundled/wheels" --no-cache-dir --no-compile --no-warn-script-location "$@" ||
            fail "the wheels and this host's packages do not fit together, see pip's lines above"
    done
}

install() {
    host
    unpack
    # What it was made of: elsewhere, or under another Python, it would run another copy's source or torch.
    ready=$(printf '%s\n%s\n' "$ARCHIVE_SHA256" "$venv" && "$python" -c 'import sys
print(sys.executable, sys.prefix, sys.version, sep="\n")')
    if holds "$venv/.ready" "$ready"; then
        return
    fi
    rm -rf "$venv"
    # pip comes with the bundle: many hosts have no ensurepip.
    "$python" -m venv --without-pip --system-site-packages "$venv" || fail "$python -m venv failed, see above"
    # Where this Python is itself in a virtual environment, its packages are not the system's.
    packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$python" -c 'import sys
for folder in sys.path if sys.prefix != sys.base_prefix else []:
    if folder.endswith(("site-packages", "dist-packages")):
        print("import site; site.addsitedir(%r)" % folder)' >"$packages/host.pth"
    say "installing the wheels that this host lacks"
    pip_install --requirement "$tree/bundled/requirements.txt"
    pip_install --no-deps --no-build-isolation --editable "$tree"
    printf '%s\n' "$ready" >"$venv/.ready"
}

# Nothing is looked for on the network, and nothing is written outside WORK.
start() {
    export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1 GIT_PYTHON_REFRESH=quiet
    export XDG_CACHE_HOME="${XDG_CACHE_HOME:-$work/cache}"
    cd "$tree"
    exec "$venv/bin/python" "$@"
}

step=run
case ${1-} in
check | unpack | install | doctor | run)
    step=$1
    shift
    ;;
help | -h | --help)
    sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p;}' "$0"
    exit 0
    ;;
esac
case $step in
check) check ;;
unpack) unpack ;;
install) install ;;
doctor)
    install
    start -m qaprune doctor "$@"
    ;;
run)
    install
    say "results go to $tree/results/$CONFIG_NAME"
    start -m snakemake --configfile bundled/config.yaml --cores all "$@"
    ;;
esac
