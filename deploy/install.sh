#!/bin/sh
# Installs Postern from a folder of release archives, on the web or on this machine: picks the archive of this platform,
# checks it against SHA256SUMS, tries what is in it, and only then puts it in place, in one step.
#
#   sh install.sh <URL or folder> [--to <folder>] [--sums <SHA-256 of SHA256SUMS>]
#
# The archives and SHA256SUMS are what `bun run build --all` makes. SHA256SUMS beside them shows damage, not malice: give
# its own checksum from another source with --sums.
set -eu

say() { printf '%s\n' "postern: $*"; }
fail() {
  printf '%s\n' "postern: error: $1" >&2
  [ $# -lt 2 ] || printf '%s\n' "postern: hint: $2" >&2
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

platform() {
  case $(uname -s) in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    *) fail "there is no archive for $(uname -s)" "on Windows unpack postern-windows-x64.zip" ;;
  esac
  case $(uname -m) in
    x86_64 | amd64) arch=x64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) fail "there is no archive for the processor $(uname -m)" "from a checkout, bun start runs it" ;;
  esac
  # A terminal that is translated for an Intel processor says the wrong one.
  if [ "$os-$arch" = darwin-x64 ] && [ "$(sysctl -n sysctl.proc_translated 2>/dev/null || true)" = 1 ]; then
    arch=arm64
  fi
  libc=
  if [ "$os" = linux ] && { ldd --version 2>&1 || true; } | grep -qi musl; then libc=-musl; fi
  printf '%s' "$os-$arch$libc"
}

fetch() { # <name> <file>
  case $source in
    http://* | https://*)
      if has curl; then
        curl -fsSL --retry 2 -o "$2" "$source/$1"
      elif has wget; then
        wget -q -O "$2" "$source/$1"
      else
        fail "there is neither curl nor wget" "install one, or name a folder with the archives"
      fi || fail "cannot get $source/$1"
      ;;
    *) cp "$source/$1" "$2" || fail "cannot read $source/$1" ;;
  esac
}

sha256() { # <file>
  if has sha256sum; then
    sha256sum "$1"
  elif has shasum; then
    shasum -a 256 "$1"
  elif has openssl; then
    openssl dgst -sha256 -r "$1"
  else
    fail "nothing here can check a SHA-256" "install coreutils, perl or openssl"
  fi | cut -d ' ' -f 1
}

check() { # <file> <wanted> <name>
  found=$(sha256 "$1")
  [ "$found" = "$2" ] || fail "$3 is not what it should be: its SHA-256 is $found instead of $2" "get it again; if it stays so, do not use it"
}

default_folder() {
  if [ -w /usr/local/bin ]; then printf /usr/local/bin; else printf '%s' "$HOME/.local/bin"; fi
}

main() {
  source='' to='' sums=''
  while [ $# -gt 0 ]; do
    case $1 in
      --to) to=${2:?--to needs a folder} && shift ;;
      --sums) sums=${2:?--sums needs a checksum} && shift ;;
      -*) fail "unknown flag $1" "sh install.sh <URL or folder> [--to <folder>] [--sums <SHA-256>]" ;;
      *) source=${1%/} ;;
    esac
    shift
  done
  [ -n "$source" ] || fail "where are the archives?" "sh install.sh <URL or folder> [--to <folder>] [--sums <SHA-256>]"
  [ -n "$to" ] || to=$(default_folder)

  name=postern-$(platform).tar.xz
  work=$(mktemp -d)
  new=$to/.postern.new.$$
  trap 'rm -rf "$work" "$new"' EXIT
  trap 'exit 1' HUP INT TERM

  fetch SHA256SUMS "$work/SHA256SUMS"
  [ -z "$sums" ] || check "$work/SHA256SUMS" "$sums" SHA256SUMS
  wanted=$(awk -v name="$name" '$2 == name { print $1 }' "$work/SHA256SUMS")
  { [ ${#wanted} = 64 ] && printf '%s' "$wanted" | grep -Eqx '[0-9a-f]+'; } || fail "SHA256SUMS has no checksum of $name"
  fetch "$name" "$work/$name"
  check "$work/$name" "$wanted" "$name"

  has xz || [ "$(uname -s)" = Darwin ] || fail "xz is missing" "install xz-utils (Debian), xz (Alpine, Fedora)"
  (cd "$work" && tar -xJf "$name" postern) || fail "cannot unpack $name"
  version=$("$work/postern" --version) || fail "$name does not run here" "on Alpine: apk add libstdc++"

  mkdir -p "$to" || fail "cannot make the folder $to" "name another one with --to"
  # Beside its place first: a rename within one folder is one step, over a running program too.
  { cp "$work/postern" "$new" && chmod 0755 "$new" && mv -f "$new" "$to/postern"; } ||
    fail "cannot write to $to" "name another folder with --to, or run this with sudo"
  say "$version is in $to"
  case :$PATH: in
    *":$to:"*) ;;
    *) say "$to is not on your PATH: export PATH=\"$to:\$PATH\"" ;;
  esac
}

# Last, so that a script that was cut off on its way does nothing.
main "$@"
