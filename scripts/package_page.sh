#!/usr/bin/env bash
# Makes the files of the page for serverless/page.yaml, where it calls the HTTP API.
# usage: scripts/package_page.sh [FOLDER]   (default: build/page)
set -Eeuo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
case ${1-} in
  -h | --help) sed -n '2,3s/^# //p' "$0" && exit ;;
  -*) echo >&2 "package_page: $1: unknown option; give a folder, or --help" && exit 2 ;;
esac
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
