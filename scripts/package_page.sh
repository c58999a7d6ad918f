#!/usr/bin/env bash
# Makes the files of the page for serverless/page.yaml, where it calls the HTTP API.
# usage: scripts/package_page.sh [FOLDER]   (default: build/page)
set -Eeuo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
if [[ ${1-} == -* ]]; then
  sed -n '2,3s/^# //p' "$0"
  [[ $1 == -h || $1 == --help ]] && exit || exit 2
fi
out=${1:-$here/build/page}
if [[ -e $out && ! -e $out/page/page.js ]]; then
  echo >&2 "package_page: $out: exists and is not the page; name another folder"
  exit 1
fi
rm -rf "$out"
mkdir -p "$out"
cp -R "$here/container/page" "$out/page"
sed 's|<meta name="api" content="">|<meta name="api" content="/v1/detect">|' \
  "$out/page/index.html" >"$out/index.html"
rm "$out/page/index.html"
echo "$out"
