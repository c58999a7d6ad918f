#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages of the named commands, if they are missing.
# usage: scripts/install_system.sh nginx|shellcheck|python|docker|registry|podman|chromium|hey ...
set -Eeuo pipefail

missing=()
for thing in "$@"; do
  case "$thing" in
    nginx)
      # sbin is not on every user's PATH
      PATH="$PATH:/usr/sbin:/sbin" command -v nginx >/dev/null || missing+=(nginx)
      [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] || missing+=(libnginx-mod-http-lua)
      compgen -G '/usr/lib/*/lua/5.1/cjson.so' >/dev/null || missing+=(lua-cjson)
      ;;
    shellcheck)
      command -v shellcheck >/dev/null || missing+=(shellcheck)
      ;;
    python)
      command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null ||
        missing+=(python3 python3-venv)
      ;;
    docker)
      # any engine that responds is enough; the client alone is not
      if ! docker info >/dev/null 2>&1; then
        PATH="$PATH:/usr/sbin:/sbin" command -v dockerd >/dev/null || missing+=(docker.io)
      fi
      PATH="$PATH:/usr/sbin:/sbin" command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
      ;;
    registry)
      command -v docker-registry >/dev/null || missing+=(docker-registry)
      ;;
    podman | chromium | hey)
      command -v "$thing" >/dev/null || missing+=("$thing")
      ;;
    *)
      echo >&2 "install_system: $thing: unknown; choose from nginx, shellcheck, python, docker, registry, podman, chromium, hey"
      exit 2
      ;;
  esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  # without a terminal nobody can type a password
  if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=(sudo)
  else
    echo >&2 "install_system: not installed: ${missing[*]}; run as root: apt-get install ${missing[*]}"
    exit 1
  fi
fi
if ! command -v apt-get >/dev/null; then
  echo >&2 "install_system: not installed: ${missing[*]} (Debian's names); this system has no apt-get," \
    "so install nginx 1.22 or later with its Lua module and cjson, or OpenResty, Python 3.10 to 3.12" \
    "with venv, shellcheck, docker.io and mmdebstrap in its own way"
  exit 1
fi

echo >&2 "install_system: installing ${missing[*]}"
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends)
"${as_root[@]}" apt-get update --quiet --quiet
for package in "${missing[@]}"; do
  if ! apt-cache show "$package" >/dev/null 2>&1; then
    echo >&2 "install_system: this release has no package $package (Debian 12, Ubuntu 24.04 and later" \
      "have); on Ubuntu 22.04 install OpenResty from its own repository"
    exit 1
  fi
done
"${install[@]}" "${missing[@]}" >&2

# Debian's package starts a web server on port 80, which petbox does not need.
case " ${missing[*]} " in
  *" nginx "*)
    if [ -d /run/systemd/system ]; then
      "${as_root[@]}" systemctl disable --now nginx >&2
    fi
    ;;
esac
