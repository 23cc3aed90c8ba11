# Sourced: finds out which programs are missing, and installs them from Debian
# where that is possible.
#
# The caller declares package_of, the Debian package that brings each program it needs.
# shellcheck shell=bash

# Debian keeps some of these where only root looks.
export PATH="$PATH:/usr/sbin:/sbin"

as_root=()
if [[ $(id -u) != 0 ]]; then as_root=(sudo -n); fi

# Debian asks this file whether a service may start when it is installed.
policy=/usr/sbin/policy-rc.d
our_policy=

# To be called at the caller's exit.
clean_up_packages() {
    if [[ -n $our_policy ]]; then "${as_root[@]}" rm -f "$policy"; fi
    our_policy=
}

# Programs of package_of that aren't there.
missing() {
    for program in "${!package_of[@]}"; do
        command -v "$program" >/dev/null || echo "$program"
    done
}

install_packages() {
    echo "Installing $*"
    # Programs are needed, not daemons that go on running on somebody's machine.
    if [[ ! -e $policy ]]; then
        our_policy=yes
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
    fi
    # Where that fails, what is missing is named by the caller.
    local options=(-qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
    "${as_root[@]}" apt-get update "${options[@]}" &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y "${options[@]}" --no-install-recommends "$@" >/dev/null ||
        echo "Installing failed"
    clean_up_packages
}

# Installs what is missing, if this user may.
install_missing() {
    local packages=() program
    for program in $(missing); do packages+=("${package_of[$program]}"); done
    if ((${#packages[@]})) && command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
        install_packages "${packages[@]}"
    fi
}
