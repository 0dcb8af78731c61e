#!/usr/bin/env bash
# Make .venv with everything csknet needs, ROS 2 included, or leave it alone when it is up to date.
# Source it: the environment is active afterwards and `repository` is set.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$repository/.venv

fail() {
    echo "csknet: $*" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.10 python3.13; do
        if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.10 to 3.13 with venv found; on Debian 12: apt-get install python3 python3-venv"
}

install_everything() {
    local python step
    python=$(find_python)
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail \
        "ROS 2 comes from PyPI for Linux on x86-64 only; elsewhere use your ROS 2 distribution" \
        "(docs/robot.md)"
    echo "csknet: setting up $venv with $($python --version) (about 2 minutes, 2 GB)"
    # A venv that was interrupted has no pip, one that was moved points to its old place.
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
        ! grep -qF "$venv" "$venv/bin/activate"; then
        "$python" -m venv --clear "$venv"
    fi
    # shellcheck disable=SC1091
    source "$venv/bin/activate"
    for step in "setuptools wheel" "--no-build-isolation -e $repository[train,ros,demo,dev]"; do
        echo "csknet: pip install $step"
        # shellcheck disable=SC2086
        (cd "$repository" && pip install --quiet --disable-pip-version-check \
            -c constraints.txt ${step/$repository/.}) ||
            fail "pip install failed, see above; check the network and the disk (df -h)"
    done
}

wanted=$({ echo "$venv"; cat "$repository"/{setup.py,constraints.txt,scripts/setup_env.sh}; } |
    sha256sum)
if [ "$(cat "$venv/csknet.stamp" 2>/dev/null)" != "$wanted" ]; then
    install_everything
    echo "$wanted" >"$venv/csknet.stamp"
fi
# shellcheck disable=SC1091
source "$venv/bin/activate"
unset -f fail find_python install_everything
unset wanted venv

# One graph on this host; large images need the shared-memory profile.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
export FASTDDS_DEFAULT_PROFILES_FILE=$repository/config/fastdds.xml
